"""Reading a run's configuration from TOML; an error names the key and what is allowed.

Values come from four places, the later ones winning: the defaults in schema.py, the preset, the file, ``--set`` on the
command line.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from ..errors import UserError, warn
from . import unused, validate
from .aliases import renamed
from .convert import BadValue, build, check_names, spelt_out
from .defaults import usual
from .presets import PRESETS
from .registries import FORMATS
from .schema import SHARD, Config


def read(path: str, settings: list[str] | None = None, *, tell: bool = False) -> Config:
    """Return the configuration in the TOML file `path`, changed by `settings` such as ``train.epochs=3``.

    With `tell` settings without effect are named in a warning. Raises UserError for a file that cannot be read, an
    unknown key, a wrong type or an impossible value.
    """
    config, given = _read(_text(path), path, settings or [])
    if tell:
        # What stands in a file as it would be without it, as all does that a run has left, need not be told.
        expected = flat(usual(given))
        named = {key for setting in settings or [] for key in keys_of(setting)}
        _tell(config, {k: v for k, v in flat(given).items() if k in named or v != expected.get(k)})
    return config


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")  # a byte-order mark is none of the text
    except UnicodeDecodeError as error:
        reason = f"no UTF-8 text at byte {error.start}; save it as UTF-8"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise UserError(f"{path}: cannot be read as a configuration ({reason}); expected a TOML file")


def _tell(config: Config, given: dict[str, Any]) -> None:
    for sentence in unused.without_effect(config, given):
        warn(sentence)


def parse(text: str, source: str, settings: list[str]) -> Config:
    """Return the configuration in `text`, which came from `source`; see `read`."""
    return _read(text, source, settings)[0]


def _read(text: str, source: str, settings: list[str]) -> tuple[Config, dict[str, Any]]:
    """Return the configuration, and what of it `text` and `settings` gave."""
    try:
        given = tomllib.loads(text)
    except ValueError as error:  # also of a number of more digits than Python reads
        raise UserError(f"{source}: not valid TOML: {error}") from None
    except RecursionError:
        raise UserError(f"{source}: not valid TOML: nested too deeply") from None
    return _settle(given, source, settings)


def from_values(values: dict[str, Any], source: str) -> Config:
    """Return the configuration of nested tables as TOML has them, which came from `source`; see `read`.

    Settings without effect are named in a warning.
    """
    config, given = _settle(values, source, [])
    _tell(config, flat(given))
    return config


def _settle(given: dict[str, Any], source: str, settings: list[str]) -> tuple[Config, dict[str, Any]]:
    base = given = _current(given, source)
    for setting in settings:
        given = _merge(given, _parse_setting(setting))
    try:
        if given.get("preset", "") not in list(PRESETS):
            build(Config, {"preset": given["preset"]})  # refuses it
        config = build(Config, _merge(usual(given), given))
    except BadValue as error:
        raise UserError(f"{_origin(source, settings, [error.key])}: {error}") from None
    try:
        validate.check(config, source)
    except UserError as error:
        reason = str(error).removeprefix(f"{source}: ")
        keys = _KEY.findall(reason)
        raise UserError(f"{_origin(source, settings, keys, _guilty(base, source, settings))}: {reason}") from None
    return _standardised(_expanded(config), given), given


def _current(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Return `values`, which came from `source`, in today's names. Raises UserError for a key that there is none of."""
    values = renamed(spelt_out(Config, values), source)
    check_names(Config, values, source)
    return values


#: A key as it stands in a sentence about the configuration.
_KEY = re.compile(r"\b[a-z]+(?:\.[a-z_0-9]+)+\b")


def _origin(source: str, settings: list[str], keys: list[str], others: Sequence[str] = ()) -> str:
    """Say where the values of `keys`, the first of which is wrong, came from; the last setting of a key counts.

    If none of them was set, one of the settings `others` is to blame.
    """
    last = {key: setting for setting in settings for key in keys_of(setting)}
    named = list(dict.fromkeys(f"--set {last[key]}" for key in keys if key in last))
    if not named:
        named = [f"--set {setting}" for setting in others]
    return ", ".join(named if keys and keys[0] in last else [source, *named])


def _guilty(given: dict[str, Any], source: str, settings: list[str]) -> list[str]:
    """Return the settings if what is wrong is not wrong without them."""
    try:
        if settings:
            _settle(given, source, [])
    except UserError:
        return []
    return settings


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, {"train.epochs": 3}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """Return the values in which two configurations differ, by key such as ``train.epochs``.

    Settings that only one of two members of a family has are left out: the names differ, too.
    """
    ours, theirs = (flat(msgspec.to_builtins(config)) for config in (one, other))
    return {key: (ours[key], theirs[key]) for key in ours if key in theirs and ours[key] != theirs[key]}


def replaced(config: Config, other: Config, keys: Sequence[str]) -> Config:
    """Return `config` with those of `keys` that `other` has as they are there."""
    values, theirs = msgspec.to_builtins(config), flat(msgspec.to_builtins(other))
    for key in keys:
        if key in theirs:
            values = _merge(values, _nested(key, theirs[key]))
    made: Config = build(Config, values)
    return made


def located(config: Config) -> Config:
    """Return `config` with absolute paths, as a run keeps it: another working directory finds its data, too."""
    data, shards = config.data, config.shards
    if data.path:
        data = msgspec.structs.replace(data, path=os.path.abspath(data.path))
    if shards.test_path:
        shards = msgspec.structs.replace(shards, test_path=os.path.abspath(shards.test_path))
    return msgspec.structs.replace(config, data=data, shards=shards)


def check_places(config: Config, source: str) -> None:
    """Refuse a data.path or shards.test_path that leads nowhere; it led somewhere where `config` was, in `source`."""
    for key, path in (("data.path", config.data.path), ("shards.test_path", config.shards.test_path)):
        if path and SHARD not in path and not os.path.lexists(path):
            raise UserError(
                f"{source}: its {key} is {path}, which is not there (looked from {os.getcwd()}); expected the place of "
                f"the data now, with --set {key}=PATH"
            )


def _expanded(config: Config) -> Config:
    """Return `config` with ``~`` in its paths replaced: no shell does that after ``data.path=``."""
    data = msgspec.structs.replace(config.data, path=os.path.expanduser(config.data.path))
    shards = msgspec.structs.replace(config.shards, test_path=os.path.expanduser(config.shards.test_path))
    return msgspec.structs.replace(config, data=data, shards=shards)


def _standardised(config: Config, given: dict[str, Any]) -> Config:
    """Resolve whether pixels are measured: those of own data are, unless mean or standard deviation are `given`."""
    data = config.data
    if data.standardise != "auto":
        return config
    measured = FORMATS[data.name].own and not {"mean", "std"} & given.get("data", {}).keys()
    data = msgspec.structs.replace(data, standardise="set" if measured else "fixed")
    return msgspec.structs.replace(config, data=data)


def change(config: Config, source: str, settings: list[str]) -> Config:
    """Return `config`, which came from `source`, with `settings` in it; see `read`. Those without effect are named."""
    changed = parse(dump(config), source, settings)
    _tell(changed, {key: value for setting in settings for key, value in flat(_parse_setting(setting)).items()})
    return changed


def dump(config: Config) -> str:
    """Return `config` as TOML text that `parse` reads back to an equal configuration."""
    return tomli_w.dumps(msgspec.to_builtins(config))


def _merge(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `other` in it, table by table; neither is changed."""
    merged = dict(base)
    for key, value in other.items():
        table = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if table else value
    return merged


def keys_of(setting: str) -> list[str]:
    """Return the keys that ``--set setting`` changes, mostly one; UserError if it is none."""
    return list(flat(_parse_setting(setting)))


def _parse_setting(setting: str) -> dict[str, Any]:
    """Return ``a.b=1`` as {"a": {"b": 1}}; a value that is not TOML is taken as a string."""
    key, equals, text = setting.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise UserError(f"--set {setting}: expected table.key=value, for example train.epochs=10")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        parsed = {}
    bare = text.strip()
    if not parsed and (bare.startswith(("'", '"')) or bare.endswith(("'", '"'))):
        raise UserError(f"--set {setting}: a quote that does not fit; expected one at each end of the value, or none")
    value = parsed["value"] if len(parsed) == 1 else text
    return _current(_nested(".".join(parts), value), f"--set {setting}")


def _nested(key: str, value: Any) -> dict[str, Any]:
    """Return {"a": {"b": value}} for the key ``a.b``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    found: dict[str, Any] = value
    return found
