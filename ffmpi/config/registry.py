"""Families of things that are chosen by name: learning rules, schedules, optimisers and so on."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from msgspec import NODEFAULT, Struct, structs

from ..errors import UserError, nearest
from .fields import Member


class Registry:
    """The members of a family: the one called ``a-name`` is the class of that tag in the module ``package.a_name``.

    Or, of a family without settings of their own, the object that is called `thing` there.

    A module is imported when its member is first asked for, so that whoever only reads names needs none of them.
    """

    def __init__(self, kind: str, package: str, names: Sequence[str], thing: str = "") -> None:
        """Say what a member is, as in 'rule', the package of the members' modules, and their names."""
        self.kind, self.package, self.names, self.thing = kind, package, tuple(names), thing

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Any:
        """Return the member called `name`. Raises UserError for a name that is none of the family's."""
        if name not in self.names:
            raise UserError(
                f"unknown {self.kind} {name!r}, expected one of {', '.join(self.names)}{nearest(name, self.names)}"
            )
        module = importlib.import_module(f"{self.package}.{name.replace('-', '_')}")
        if self.thing:
            return getattr(module, self.thing)
        return _member_in(module, name)

    def members(self) -> dict[str, Any]:
        """Return all members by name."""
        return {name: self[name] for name in self.names}


@cache
def _member_in(module: ModuleType, name: str) -> type[Member]:
    return next(value for value in vars(module).values() if _is_tagged(value, name))


def _is_tagged(value: object, name: str) -> bool:
    return isinstance(value, type) and issubclass(value, Member) and value.__struct_config__.tag == name


@dataclass(frozen=True, eq=False)
class NameIn:
    """The type of a string that is one of some names: a family's, or those of a table of presets."""

    names: Iterable[str]


@dataclass(frozen=True, eq=False)
class OneOf:
    """The type of a table that holds a member of a family; calling it makes the one that is there by default.

    `defaults` are those in which members differ here from what they say themselves, by name and field.
    """

    registry: Registry
    default: str
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __call__(self) -> Any:
        """Return the default member."""
        return self.registry[self.default](**self.defaults.get(self.default, {}))

    def defaults_of(self, name: str) -> dict[str, Any]:
        """Return the fields of the member called `name` with their defaults here."""
        return defaults_of(self.registry[name]) | dict(self.defaults.get(name, {}))


@dataclass(frozen=True, eq=False)
class ListOf:
    """The type of an array of tables, each of which holds a member of a family."""

    registry: Registry


def defaults_of(table: type[Struct]) -> dict[str, Any]:
    """Return the defaults of a table's fields, of tables in it the objects."""
    values: dict[str, Any] = {}
    for one in _fields_of(table):
        make: Any = one.default_factory
        values[one.name] = one.default if make is NODEFAULT else make()
    return values


@cache  # reading annotations takes long
def _fields_of(table: type[Struct]) -> tuple[structs.FieldInfo, ...]:
    return structs.fields(table)
