"""What runs have measured, chapter by chapter, for those who look at several: checked, and grouped over seeds."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from ..config.read import read
from ..config.schema import Config
from ..errors import UserError, why_missing
from .differences import FREE, labels, settings_of
from .directory import RankRow, RunDirectory
from .results import common
from .sweep import runs_in

#: More words than these of settings that differ are no name.
_LONG = 90


class Chapter(msgspec.Struct):
    """A line of metrics.jsonl (docs/design.md, section 12)."""

    epoch: int
    seconds: float
    accuracy: dict[str, float]
    ranks: Annotated[list[RankRow], Meta(min_length=1)]
    samples: float = 0.0
    samples_per_second: float = 0.0
    layers: list[dict[str, float]] = []
    head: dict[str, float] = {}
    validation: dict[str, float] = {}
    ideal_speedup: float | None = None
    warnings: list[str] = []

    @property
    def rank_count(self) -> int:
        """How many ranks there were."""
        return sum(row.ranks for row in self.ranks)

    def accuracies(self, split: str) -> dict[str, float]:
        """Return the accuracy in percent on 'test' or 'validation' by method."""
        return self.accuracy if split == "test" else self.validation


@dataclass(frozen=True)
class History:
    """A run with at least one chapter done."""

    path: Path
    config: Config
    chapters: list[Chapter]

    @property
    def name(self) -> str:
        """The name of its directory."""
        return self.path.resolve().name

    def key(self, without: tuple[str, ...] = FREE) -> Hashable:
        """Return what runs have in common that differ in the settings `without` at most."""
        return repr({key: value for key, value in settings_of(self.config).items() if not key.startswith(without)})


def history(path: Path) -> History:
    """Return the run at `path`, finished or not; UserError if it has done no chapter, or is damaged."""
    if why := why_missing(path / "config.toml"):
        raise UserError(f"{path}: no such run directory ({path / 'config.toml'}: {why})")
    config, run = read(str(path / "config.toml")), RunDirectory(path)
    try:
        chapters = msgspec.convert(run.records(), list[Chapter])
    except msgspec.ValidationError as error:
        raise UserError(f"{run.metrics}: {error}; expected the metrics as a run leaves them") from None
    if not chapters:
        raise UserError(f"{path}: no chapter is done, so there is nothing to show; expected a run that has measured")
    return History(path, config, chapters)


def histories(paths: Iterable[str]) -> list[History]:
    """Return the runs in `paths`, of which a sweep's directory stands for all its runs that have begun."""
    given = [Path(path) for path in paths]
    begun = [path for path in runs_in(given) if path in given or (path / "config.toml").exists()]
    if not begun:
        raise UserError(f"{', '.join(map(str, given))}: holds no run; expected run directories")
    return [history(path) for path in begun]


def by_configuration(runs: Sequence[History], without: tuple[str, ...] = FREE) -> list[list[History]]:
    """Return the runs in groups that differ in the settings `without` at most, in their order."""
    groups: dict[Hashable, list[History]] = {}
    for run in runs:
        groups.setdefault(run.key(without), []).append(run)
    return list(groups.values())


def names_of(groups: Sequence[Sequence[History]], without: tuple[str, ...] = FREE) -> list[str]:
    """Return a name for each group: its settings that differ from those of others or, if these are many, its place."""
    by_settings = labels([group[0].config for group in groups], without)
    if all(by_settings) and max(map(len, by_settings)) <= _LONG:
        return by_settings
    return [common([run.name for run in group]) for group in groups]
