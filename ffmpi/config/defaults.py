"""What a configuration begins with: the defaults, the preset's values, and each family member's own."""

from __future__ import annotations

from typing import Any

import msgspec

from .convert import fields_of, table_in
from .fields import Table
from .presets import PRESETS
from .registry import OneOf, defaults_of
from .schema import Config


def usual(given: dict[str, Any]) -> dict[str, Any]:
    """Return the values that `given` ones change, as nested tables; in a family's table those of all its members.

    A preset's values hold for another member of a family than the preset's, too, unless the two differ in the default.
    """
    return _table(Config, given, PRESETS[given.get("preset", "")])


def _table(table: type[Table], given: dict[str, Any], preset: dict[str, Any]) -> dict[str, Any]:
    values = msgspec.to_builtins(defaults_of(table)) | preset
    for key, kind in fields_of(table).items():
        inner = table_in(kind)
        if inner is not None:
            make = _member if isinstance(inner, OneOf) else _table
            values[key] = make(inner, given.get(key, {}), preset.get(key, {}))  # type: ignore[arg-type]
    return values


def _member(family: OneOf, given: dict[str, Any], preset: dict[str, Any]) -> dict[str, Any]:
    first = preset.get("name", family.default)
    chosen = given.get("name", first)
    if chosen not in family.registry.names:  # of any type: building the table names it
        chosen = first
    values: dict[str, Any] = {}
    for name in (*family.registry.names, first, chosen):
        values |= family.defaults_of(name)
    before, now = family.defaults_of(first), family.defaults_of(chosen)
    values |= {key: value for key, value in preset.items() if before.get(key) == now.get(key, before.get(key))}
    return values | {"name": first}
