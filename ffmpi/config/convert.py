"""From tables of plain values, as TOML has them, to the configuration's classes.

A table is described by its class or, where a member of a family stands, by a `OneOf`.
"""

from __future__ import annotations

import math
import types
import typing
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ..errors import UserError, nearest
from .fields import Member, Table
from .registry import ListOf, NameIn, OneOf

#: Positive float32 numbers that are not denormal.
_SMALLEST, _LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127


class BadValue(Exception):
    """A value that the setting `key` does not allow; the text says so, but not where it came from."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


@cache
def fields_of(table: type[Struct] | OneOf) -> dict[str, Any]:
    """Return a table's fields with their annotated types; of a family's those of all members, and ``name``."""
    if isinstance(table, OneOf):
        kinds: dict[str, Any] = {"name": Literal[table.registry.names]}
        for member in table.registry.members().values():
            kinds = fields_of(member) | kinds
        return {"name": kinds.pop("name"), **kinds}
    hints = typing.get_type_hints(table, include_extras=True)
    return {name: hints[name] for name in table.__struct_fields__}


def table_in(kind: Any) -> type[Table] | OneOf | None:
    """Return the table that stands in a field of type `kind`; None if a value does."""
    if isinstance(kind, type) and issubclass(kind, Table):
        return kind
    return next((part for part in getattr(kind, "__metadata__", ()) if isinstance(part, OneOf)), None)


def list_in(kind: Any) -> ListOf | None:
    """Return the family whose members' tables are listed in a field of type `kind`; None if they are not."""
    return next((part for part in getattr(kind, "__metadata__", ()) if isinstance(part, ListOf)), None)


def check_names(table: type[Table] | OneOf, values: dict[str, Any], source: str, prefix: str = "") -> None:
    """Refuse keys of `values`, which came from `source`, that no table has, and values in the place of tables."""
    kinds = fields_of(table)
    for key, value in values.items():
        if key not in kinds:
            where = f"table [{prefix[:-1]}]" if prefix else "the configuration"
            raise UserError(
                f"{source}: unknown key {prefix + key!r}{nearest(key, kinds)}; {where} has {', '.join(kinds)}"
            )
        inner = table_in(kinds[key])
        if family := list_in(kinds[key]):
            _check_list(family, value, source, prefix + key)
        elif inner is not None:
            if not isinstance(value, dict):
                names = f", or one of {', '.join(map(repr, inner.registry))}" if isinstance(inner, OneOf) else ""
                raise UserError(f"{source}: {prefix}{key} = {value!r}: expected a table [{prefix}{key}]{names}")
            check_names(inner, value, source, f"{prefix}{key}.")


def _check_list(family: ListOf, values: Any, source: str, key: str) -> None:
    """Refuse what is no array of tables, each with the name of a member and with keys of its own."""
    names = family.registry.names
    if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
        raise UserError(f"{source}: {key} = {values!r}: expected a list of tables [[{key}]], or of names")
    for index, one in enumerate(values):
        where, name = f"{key}[{index}]", one.get("name")
        if name not in names:
            hint = nearest(name, names) if isinstance(name, str) else ""
            raise UserError(f"{source}: {where}.name = {name!r}: expected one of {', '.join(map(repr, names))}{hint}")
        known = ("name", *fields_of(family.registry[name]))
        for unknown in (field for field in one if field not in known):
            raise UserError(
                f"{source}: unknown key '{where}.{unknown}'{nearest(unknown, known)}; {name!r} has {', '.join(known)}"
            )


def spelt_out(table: type[Table] | OneOf, values: dict[str, Any]) -> dict[str, Any]:
    """Return `values` with tables in the place of names: ``optimizer = "adam"`` means ``{name = "adam"}``.

    So does a name in a list of tables.
    """
    kinds, result = fields_of(table), dict(values)
    for key, value in values.items():
        inner = table_in(kinds.get(key))
        if list_in(kinds.get(key)) and isinstance(value, list | str):
            every = [value] if isinstance(value, str) else value
            result[key] = [{"name": one} if isinstance(one, str) else one for one in every]
        elif isinstance(inner, OneOf) and isinstance(value, str):
            result[key] = {"name": value}
        elif inner is not None and isinstance(value, dict):
            result[key] = spelt_out(inner, value)
    return result


def build(table: type[Table] | OneOf, values: dict[str, Any], prefix: str = "") -> Any:
    """Return the table with `values`, complete but for what has a default; keys of other members are left out.

    Raises BadValue for the first value of a wrong type or beyond its limits, also among those left out.
    """
    kinds, owner = fields_of(table), table
    if isinstance(table, OneOf):
        owner = table.registry[_value(kinds["name"], values["name"], f"{prefix}name")]
        kinds = kinds | fields_of(owner)
    assert not isinstance(owner, OneOf)
    made = {}
    for key in (key for key in kinds if key in values):
        inner, where = table_in(kinds[key]), prefix + key
        if family := list_in(kinds[key]):
            found: Any = tuple(_listed(family, one, f"{where}[{at}]") for at, one in enumerate(values[key]))
        else:
            found = _value(kinds[key], values[key], where) if inner is None else build(inner, values[key], f"{where}.")
        if key in owner.__struct_fields__:
            made[key] = found
    return owner(**made)


def _listed(family: ListOf, values: dict[str, Any], where: str) -> Any:
    """Return the member in an array of tables, see `build`."""
    table = family.registry[values["name"]]
    try:
        return build(table, {key: value for key, value in values.items() if key != "name"}, f"{where}.")
    except BadValue as error:
        raise BadValue(where.partition("[")[0], str(error)) from None


def _value(kind: Any, value: Any, key: str) -> Any:
    try:
        found = msgspec.convert(value, kind)
        if bare(kind) is str and choices_of(kind) and found not in choices_of(kind):
            raise msgspec.ValidationError
    except msgspec.ValidationError:
        raise BadValue(key, _describe(kind, value, key)) from None
    for number in found if isinstance(found, list | tuple) else [found]:
        if isinstance(number, float):
            _check_number(number, key)
    return found


def _check_number(number: float, key: str) -> None:
    """Refuse TOML's inf and nan, and what float32 does not hold."""
    if not math.isfinite(number):
        raise BadValue(key, f"{key} = {number}: expected a finite number")
    if number and not _SMALLEST <= abs(number) <= _LARGEST:
        raise BadValue(key, f"{key} = {number}: expected 0 or between {_SMALLEST:g} and {_LARGEST:g} (float32)")


def _describe(kind: Any, value: Any, key: str) -> str:
    allowed = choices_of(kind)
    wrong = next((v for v in value if v not in allowed), value) if isinstance(value, list) else value
    hint = nearest(wrong, [name for name in allowed if name]) if isinstance(wrong, str) else ""
    try:
        shown = repr(value)
    except ValueError:  # hexadecimal, so it could be read
        shown = "a number of thousands of digits"
    return f"{key} = {shown}: expected {expected(kind)}{hint}"


def bare(kind: Any) -> Any:
    """Return a type without its annotations."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind


def choices_of(kind: Any) -> tuple[str, ...]:
    """Return the strings that a type, or a list's entries, are chosen from; none if they are free."""
    for part in getattr(kind, "__metadata__", ()):
        if isinstance(part, NameIn | ListOf):
            return tuple(part.names if isinstance(part, NameIn) else part.registry)
    inner = bare(kind)
    inner = bare(typing.get_args(inner)[0]) if typing.get_origin(inner) in (list, tuple) else inner
    return typing.get_args(inner) if typing.get_origin(inner) is Literal else ()


def metas_of(kind: Any) -> list[Meta]:
    """Return what a field's annotations say of it: limits, description, unit."""
    return [part for part in getattr(kind, "__metadata__", ()) if isinstance(part, Meta)]


def expected(kind: Any) -> str:
    """Say in words what a field's type allows."""
    inner = bare(kind)
    origin, arguments = typing.get_origin(inner), typing.get_args(inner)
    if family := list_in(kind):
        return f"a list of tables, each with a name of {', '.join(map(repr, family.registry.names))}"
    if origin in (list, tuple):
        lengths = next((m for m in metas_of(kind) if m.min_length is not None), None)
        each = expected(arguments[0])
        many = f" of {lengths.min_length} to {lengths.max_length} entries" if lengths else ""
        return f"a list{many}, each {each}" if many else f"a list, each entry {each}"
    if origin is types.UnionType or origin is typing.Union:
        return " or ".join(expected(argument) for argument in arguments)
    if origin is Literal and len(arguments) == 1:
        return repr(arguments[0])
    if origin is Literal or (inner is str and choices_of(kind)):
        return "one of " + ", ".join(repr(choice) for choice in choices_of(kind))
    word = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}.get(inner, str(inner))
    signs = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))
    limits = [
        f"{words} {getattr(meta, name)}" for name, words in signs for meta in metas_of(kind) if hasattr(meta, name)
        and getattr(meta, name) is not None
    ]  # fmt: skip
    return " ".join([word, " and ".join(limits)]) if limits else word


def members_of(table: Table, prefix: str = "") -> dict[str, Member]:
    """Return the members chosen in `table` and the tables in it, by their own tables' names such as head.optimizer."""
    found: dict[str, Member] = {}
    for key in table.__struct_fields__:
        value = getattr(table, key)
        if isinstance(value, Member):
            found[prefix + key] = value
        elif isinstance(value, tuple):
            found |= {f"{prefix}{key}[{at}]": one for at, one in enumerate(value) if isinstance(one, Member)}
        elif isinstance(value, Table):
            found |= members_of(value, f"{prefix}{key}.")
    return found
