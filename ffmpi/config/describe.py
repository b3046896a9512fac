"""All settings with what may stand in them: made from the tables and the registries, for people and for tests."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from .convert import choices_of, expected, fields_of, list_in, metas_of, table_in
from .fields import Table
from .registry import ListOf, NameIn, OneOf, Registry, defaults_of
from .schema import Config


@dataclass(frozen=True)
class Setting:
    """One setting; `member` is the one of a family that it belongs to, '' if all have it or it is none's."""

    key: str
    member: str
    type: Any
    default: Any
    description: str
    unit: str

    @property
    def expected(self) -> str:
        """What may stand in it, in words."""
        return expected(self.type)

    def as_json(self) -> dict[str, Any]:
        """Return what JSON says of it."""
        return {
            "key": self.key, "member": self.member, "default": self.default, "expected": self.expected,
            "choices": list(choices_of(self.type)), "unit": self.unit, "description": self.description,
        }  # fmt: skip


def settings() -> list[Setting]:
    """Return every setting, table by table; those that all members of a family have come before each one's own."""
    return list(_settings(Config, ""))


def families() -> dict[str, OneOf]:
    """Return the families by the tables in which one of their members stands, such as ``head.optimizer``."""
    return dict(_families(Config, ""))


def summary(thing: type) -> str:
    """Return the first sentence of what a class says of itself."""
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def _tables(table: type[Table], prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield key, type and inner table, if there is one, of each field: values first, as in a file of TOML."""
    fields = [(prefix + name, kind, table_in(kind)) for name, kind in fields_of(table).items()]
    yield from sorted(fields, key=lambda field: field[2] is not None)


def _settings(table: type[Table], prefix: str) -> Iterator[Setting]:
    defaults = defaults_of(table)
    for key, kind, inner in _tables(table, prefix):
        if isinstance(inner, OneOf):
            yield from _of_family(inner, f"{key}.")
        elif inner is not None:
            yield from _settings(inner, f"{key}.")
        else:
            yield _setting(key, "", kind, defaults[key.removeprefix(prefix)])
            if family := list_in(kind):
                yield from _of_list(family, f"{key}.")


def _of_family(family: OneOf, prefix: str) -> Iterator[Setting]:
    members, registry = family.registry.members(), family.registry
    yield Setting(f"{prefix}name", "", fields_of(family)["name"], family.default, _choice(registry), "")
    shared = {
        name for name in set.intersection(*(set(fields_of(member)) for member in members.values()))
        if len({repr(family.defaults_of(member).get(name)) for member in members}) == 1
    }  # fmt: skip
    for member, table in members.items():
        defaults = family.defaults_of(member)
        for name, kind in fields_of(table).items():
            if name not in shared:
                yield _setting(prefix + name, member, kind, defaults[name])
            elif member == registry.names[0]:
                yield _setting(prefix + name, "", kind, defaults[name])


def _of_list(family: ListOf, prefix: str) -> Iterator[Setting]:
    names: Any = Annotated[str, NameIn(family.registry)]
    yield Setting(f"{prefix}name", "", names, family.registry.names[0], _choice(family.registry), "")
    for member, table in family.registry.members().items():
        defaults = defaults_of(table)
        yield from (_setting(prefix + name, member, kind, defaults[name]) for name, kind in fields_of(table).items())


def _choice(registry: Registry) -> str:
    return "; ".join(f"{name}: {summary(member)}" for name, member in registry.members().items())


def _setting(key: str, member: str, kind: Any, default: Any) -> Setting:
    metas = metas_of(kind)
    description = next((meta.description for meta in reversed(metas) if meta.description), "")
    unit = next((meta.extra["unit"] for meta in metas if meta.extra), "")
    return Setting(key, member, kind, msgspec.to_builtins(default), description, unit)


def _families(table: type[Table], prefix: str) -> Iterator[tuple[str, OneOf]]:
    for key, _, inner in _tables(table, prefix):
        if isinstance(inner, OneOf):
            yield key, inner
        elif inner is not None:
            yield from _families(inner, f"{key}.")
