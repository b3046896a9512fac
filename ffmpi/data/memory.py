"""Samples that a Python program hands over, in arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from ..errors import UserError
from . import arrays
from .files import CHUNK
from .format import Format
from .known import DataSet, Fields


class _Array:
    """An array in memory."""

    def __init__(self, name: str, values: np.ndarray) -> None:
        self.name, self._values = name, values
        self.shape, self.dtype = values.shape, values.dtype

    @property
    def kind(self) -> str:
        """The type of its elements as one would call it."""
        return "Python objects" if self.dtype.hasobject else "text" if self.dtype.kind in "US" else str(self.dtype)

    def read(self) -> np.ndarray:
        """Return it."""
        return self._values

    def read_into(self, array: np.ndarray) -> Iterator[slice]:
        """Copy all of it into `array`, of the same shape and perhaps another type; yield the rows that are done."""
        rows = max(1, CHUNK * len(array) // max(1, array.nbytes))
        for first in range(0, len(array), rows):
            part = slice(first, min(first + rows, len(array)))
            with np.errstate(over="ignore", invalid="ignore"):  # what is too large is found as infinite
                array[part] = self._values[part]
            yield part


class Arrays:
    """Arrays by name as a store: images, labels, and what else a program gives, of each split."""

    where, expected = "the arrays", "images and labels, of the same number of samples"

    def __init__(self, held: Mapping[str, np.ndarray], names: tuple[str, ...] = ()) -> None:
        """Hold arrays such as ``train/images``; `names` are those of the classes, if they have names."""
        self._held, self._names = held, names

    def exists(self, name: str) -> bool:
        """Return whether there is an array called `name`, or a split."""
        return any(one == name or one.startswith(f"{name}/") for one in self._held)

    def open(self, name: str) -> _Array:
        """Return the array `name`. Raises UserError if it is not there, or empty."""
        if name not in self._held:
            raise UserError(f"{self.where}: {name!r} was not given; expected {self.expected}")
        array = self._held[name]
        if array.size == 0:
            raise UserError(f"{self.where}: {name!r} is empty, expected at least one sample")
        return _Array(name, array)

    def arrays(self) -> dict[str, arrays.Array]:
        """Return all arrays by name."""
        return {name: _Array(name, array) for name, array in self._held.items()}

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, if they were given."""
        return self._names


_current: ContextVar[Arrays] = ContextVar("samples in memory")


@contextmanager
def holding(store: Arrays) -> Iterator[None]:
    """Let ``data.name = "memory"`` mean the samples of `store` within the block."""
    token = _current.set(store)
    try:
        yield
    finally:
        _current.reset(token)


class Memory(Format):
    """Arrays that `holding` has been given."""

    own = True
    reads = ("images", "labels", "weights")

    def load(self, path: Path, split: str, images: bool, fields: Fields) -> DataSet:
        """Return a split; test samples need not be given, then there are none of them."""
        store = _current.get(None)
        if store is None:
            raise UserError(
                "data.name = 'memory': the samples were arrays of a Python program, which are gone; expected a data "
                "set's name, and its data.path"
            )
        if split == "test" and not store.exists("test"):
            train = arrays.load(store, "train", False, fields)
            none = np.empty((0, int(np.prod(train.shape))), np.uint8) if images else None
            return dataclasses.replace(train, images=none, classes=train.classes[:0], weights=None)
        return arrays.load(store, split, images, fields)

    def splits(self, path: Path, fields: Fields) -> tuple[str, ...]:
        """Return which splits were given."""
        store = _current.get(None)
        return tuple(split for split in ("train", "test") if store and store.exists(split))


FORMAT = Memory("memory", "arrays of a Python program, for ffmpi.fit")
