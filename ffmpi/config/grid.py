"""The grid of a sweep: a configuration for every combination of the values that settings are given, and every seed."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Container, Sequence
from dataclasses import dataclass

import msgspec

from ..errors import UserError
from .read import keys_of, read
from .schema import Config

#: At most so many runs: more is a comma at the wrong place.
MOST = 10_000

#: Strings of TOML are one piece: a comma in them separates nothing.
_PIECE = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'|.', re.DOTALL)

_LONGEST = 150  # characters of a name, which is to be one of a directory


@dataclass(frozen=True)
class Point:
    """One run of a grid.

    Attributes
    ----------
    name : what differs from other runs, fit for a directory: ``optimizer.learning_rate=0.01,seed=3``
    config : complete
    """

    name: str
    config: Config


def grid(path: str, settings: Sequence[str], seeds: Sequence[int]) -> list[Point]:
    """Return every combination of `settings`, which may have several values, and `seeds`, the seeds changing first.

    `path` is the configuration file that they change; without `seeds` its own is the only one. Settings without effect
    are named in a warning. Raises UserError if a combination is not valid, or the same as another.
    """
    axes = [_axis(setting) for setting in settings]
    _check_keys(axes, bool(seeds))
    if seeds:
        axes.append(seeded := [f"seed={seed}" for seed in seeds])
    else:
        seeded = []
    count = 1
    for axis in axes:
        count *= len(axis)
    if count == 1 and not seeds:
        raise UserError(
            "nothing to vary; expected several values, as in --set optimizer.learning_rate=0.001,0.003, or --seeds 5"
        )
    if count > MOST:
        raise UserError(f"{count} combinations; expected at most {MOST} (a string with commas wants quotes)")
    points: dict[str, Config] = {}
    known: dict[str, str] = {}
    for chosen in itertools.product(*axes):
        named = [setting for setting, axis in zip(chosen, axes, strict=True) if len(axis) > 1 or axis is seeded]
        name = _name(named, points)
        config = read(path, list(chosen), tell=True)
        if same := known.get(text := repr(msgspec.to_builtins(config))):
            raise UserError(f"{same} and {name}: one configuration twice; expected values that differ")
        known[text] = name
        points[name] = config
    return [Point(name, config) for name, config in points.items()]


def seeds_of(text: str) -> list[int]:
    """Return the seeds that ``--seeds text`` means: 0, 1, 2 for ``3``, and those of a list such as ``3,5,8`` or ``3,``.

    Raises UserError for anything else.
    """
    parts = [part.strip() for part in text.split(",")]
    several = len(parts) > 1
    if several and not parts[-1]:
        parts.pop()
    if not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
        raise UserError(f"--seeds {text}: expected how many, such as 5, or which, such as 3,5,8")
    numbers = [int(part) for part in parts]
    if several:
        return numbers
    if not 1 <= numbers[0] <= MOST:
        raise UserError(f"--seeds {text}: expected 1 to {MOST} seeds, or which, such as 3,5,8 or 3,")
    return list(range(numbers[0]))


def _axis(setting: str) -> list[str]:
    """Return ``a.b=1,2`` as ``a.b=1`` and ``a.b=2``; a comma in brackets or quotes is part of a value."""
    key, equals, text = setting.partition("=")
    values = split(text)
    if len(values) > 1 and not all(values):
        raise UserError(f"--set {setting}: a value is empty; expected one on each side of a comma")
    return [f"{key.strip()}{equals}{value}" for value in values]


def split(text: str) -> list[str]:
    """Return the values in `text`, which stand between commas outside of brackets and quotes."""
    values, depth = [""], 0
    for piece in _PIECE.findall(text):
        depth = max(0, depth + (piece in "[{") - (piece in "]}"))
        if piece == "," and not depth:
            values.append("")
        else:
            values[-1] += piece
    return [value.strip() for value in values]


def _check_keys(axes: Sequence[Sequence[str]], seeds: bool) -> None:
    """Refuse a key that is given several values and then others, and a seed that is set twice."""
    fixed: set[str] = set()
    varied = {"seed"} if seeds else set()
    for axis in axes:
        keys = set(keys_of(axis[0]))
        if again := keys & (varied | fixed if len(axis) > 1 else varied):
            raise UserError(
                f"--set {axis[0]}: {min(again)} is varied and set twice; expected all its values in one option"
            )
        (varied if len(axis) > 1 else fixed).update(keys)


def _name(settings: Sequence[str], taken: Container[str]) -> str:
    """Return a name for the run with these settings that is not `taken`, of characters that mean nothing to a shell."""
    parts = []
    for setting in settings:
        key, _, text = setting.partition("=")
        bare = re.sub(r"[\s\"'\[\]{}]+", "", text)
        parts.append(key + "=" + (re.sub(r"[^\w.+-]+", "-", bare) or "none"))
    name = ",".join(parts)
    if len(name.encode()) <= _LONGEST and name not in taken:
        return name
    mark = f"-{zlib.crc32(','.join(settings).encode()):08x}"
    return name.encode()[: _LONGEST - len(mark)].decode(errors="ignore") + mark
