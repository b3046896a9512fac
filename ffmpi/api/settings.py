"""Configurations as objects, with the names that the TOML has; they hold what was given, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from .. import config
from ..config import schema
from ..config.convert import check_names, fields_of, table_in
from ..config.registry import OneOf
from ..errors import UserError


class Settings:
    """A table of settings: ``Train(epochs=10)`` is ``[train] epochs = 10``; what is not given keeps its default.

    Raises UserError for a setting that the table does not have. Values are checked when the configuration is used.
    """

    _table: ClassVar[Any]
    given: dict[str, Any]

    def __init__(self, **given: Any) -> None:
        values = plain(given)
        check_names(self._table, values, type(self).__name__)
        self.given = values

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["given"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} was not given {name!r}") from None

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Settings) and self.given == other.given

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.given.items())})"


class _Member(Settings):
    """A table of a family: its first argument is the member's name."""

    def __init__(self, name: str | None = None, **given: Any) -> None:
        super().__init__(**({} if name is None else {"name": name}), **given)


class Data(Settings):
    """Table [data]."""

    _table = schema.Data


class Network(Settings):
    """Table [network]: ``Network(layers=[500, 500])``."""

    _table = schema.Network


class Head(Settings):
    """Table [head]."""

    _table = schema.Head


class Classify(Settings):
    """Table [classify]."""

    _table = schema.Classify


class Train(Settings):
    """Table [train]: ``Train(epochs=10, batch_size=100)``."""

    _table = schema.Train


class Shards(Settings):
    """Table [shards]."""

    _table = schema.Shards


class Checkpoint(Settings):
    """Table [checkpoint]."""

    _table = schema.Checkpoint


def _family(key: str) -> OneOf:
    found = table_in(fields_of(schema.Config)[key])
    assert isinstance(found, OneOf)
    return found


class Rule(_Member):
    """Table [rule]: ``Rule("goodness", threshold=0.5)``."""

    _table = _family("rule")


class Negatives(_Member):
    """Table [negatives]: ``Negatives("adaptive")``."""

    _table = _family("negatives")


class Optimizer(_Member):
    """Tables [optimizer] and [head.optimizer]: ``Optimizer("adam", learning_rate=0.001)``."""

    _table = _family("optimizer")


class LearningRate(_Member):
    """Table [learning_rate]: ``LearningRate("cosine")``."""

    _table = _family("learning_rate")


class Schedule(_Member):
    """Table [schedule]: ``Schedule("all-layers", threads=2)``."""

    _table = _family("schedule")


class Config(Settings):
    """A whole configuration: ``Config(network=Network(layers=[500, 500]), train={"epochs": 10})``.

    A table is one of the objects of this module, a dict, or, where it has a name, that name alone.
    """

    _table = schema.Config


#: What `ffmpi.fit` takes as a configuration.
AnyConfig = Config | schema.Config | Mapping[str, Any] | str | Path | None


def plain(value: Any) -> Any:
    """Return `value` as TOML would have it: tables as dicts, sequences as lists, NumPy's numbers as Python's."""
    if isinstance(value, Settings):
        return value.given
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def read_config(path: str | Path, *settings: str) -> schema.Config:
    """Return the whole configuration in a TOML file, changed by settings such as ``"train.epochs=3"``.

    Raises UserError for whatever is wrong with it.
    """
    found: schema.Config = config.read(str(path), list(settings), tell=True)
    return found


def complete(given: AnyConfig) -> schema.Config:
    """Return the whole configuration of what was `given`, a path being that of a TOML file, for samples in memory.

    Raises UserError for whatever is wrong with it.
    """
    if isinstance(given, str | Path):
        given = read_config(given)
    if isinstance(given, schema.Config):
        data = msgspec.structs.replace(given.data, name="memory", path="")
        return msgspec.structs.replace(given, data=data)
    if given is not None and not isinstance(given, Config | Mapping):
        raise UserError(f"config: is {type(given).__name__}; expected ffmpi.Config, a dict, or the path of a TOML file")
    values = {} if given is None else plain(given)
    data = values.get("data", {})
    if isinstance(data, dict):  # otherwise its own error will say so
        values = values | {"data": data | {"name": "memory"}}
    return config.from_values(values, "config")
