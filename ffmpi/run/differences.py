"""Which settings differ between runs, and in which words that is told: one place for tables, plots and reports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..config.defaults import usual
from ..config.read import flat
from ..config.registries import FORMATS
from ..config.schema import Config

#: Where known data lie is all the same.
_PLACES = ("data.path", "shards.test_path")
#: Settings that say nothing of what a run computes, but how often, how long, and on what.
CARRIED_OUT = ("schedule.depth", "schedule.threads", "schedule.timeout", "checkpoint.")
#: Settings that may differ between runs that count as one configuration with several seeds.
FREE = ("seed", *CARRIED_OUT)


def settings_of(config: Config) -> dict[str, Any]:
    """Return a configuration as one table, {"train.epochs": 3}, without the places of known data."""
    places = () if FORMATS[config.data.name].own else _PLACES
    return {key: value for key, value in flat(msgspec.to_builtins(config)).items() if key not in places}


def differing(settings: Iterable[Mapping[str, Any]], without: tuple[str, ...] = FREE) -> list[str]:
    """Return the keys of which two of the `settings` have different values, but for those that begin as `without`.

    What only one member of a family has, such as one rule, does not differ: the members' names do.
    """
    found: dict[str, set[str]] = {}
    for values in settings:
        for key, value in values.items():
            found.setdefault(key, set()).add(repr(value))
    return [key for key, values in found.items() if len(values) > 1 and not key.startswith(without)]


def changed(config: Config) -> dict[str, Any]:
    """Return the settings that are not as the preset has them, or the default; what ``auto`` became is left out."""
    expected = flat(usual(msgspec.to_builtins(config)))
    found = {key: value for key, value in settings_of(config).items() if key != "preset"}
    return {key: value for key, value in found.items() if expected.get(key) not in (value, "auto")}


def setting_text(value: object) -> str:
    """Return a setting's value as it is written in a table; one that a run does not have is empty."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def labels(configs: Sequence[Config], without: tuple[str, ...] = FREE) -> list[str]:
    """Return what tells each of the `configs` from the others, such as ``rule.name swish, seed 3``.

    The same for those that differ in the settings `without` only, as over seeds; empty if that is all of them.
    """
    settings = [settings_of(config) for config in configs]
    keys = differing(settings, without)
    return [", ".join(f"{key} {setting_text(values[key])}" for key in keys if key in values) for values in settings]
