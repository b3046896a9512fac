"""What runs have reached: each read from its directory, and together over the seeds of one configuration."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.read import read
from ..config.schema import Config
from ..errors import UserError, why_missing
from .differences import FREE, settings_of
from .directory import RunDirectory
from .progress import accuracies_of
from .sweep import SweepDirectory


@dataclass(frozen=True)
class Result:
    """A run, as far as it has come.

    Attributes
    ----------
    settings : its configuration as one table, see `settings_of`
    epochs : that are done
    accuracies : after them, in percent by split, then by way to classify
    seconds : of training
    where : ranks, machine and commit
    """

    path: Path
    config: Config
    settings: dict[str, Any]
    epochs: int
    accuracies: dict[str, dict[str, float]]
    seconds: float
    where: dict[str, Any]

    def key(self, without: tuple[str, ...]) -> Hashable:
        """Return what runs have in common that differ in the settings `without` at most."""
        return self.epochs, repr({key: value for key, value in self.settings.items() if not key.startswith(without)})

    @property
    def name(self) -> str:
        """The name of its directory, or of the sweep that it is part of, whose settings tell the rest."""
        whole = self.path.resolve()
        return whole.parent.name if SweepDirectory(whole.parent).exists() else whole.name


def result_of(path: Path, unfinished: bool = False) -> Result:
    """Return what the run at `path` has reached; UserError unless it is finished, or `unfinished` and has begun."""
    run = RunDirectory(path)
    if why := why_missing(path / "config.toml"):
        raise UserError(f"{path}: no such run directory ({path / 'config.toml'}: {why})")
    config, records = read(str(path / "config.toml")), run.records()
    done = records[-1]["epoch"] if records else 0
    if not done or (done < config.train.epochs and not unfinished):
        raise UserError(
            f"{path}: {done} of {config.train.epochs} epochs are done; expected a finished run: wait, or use "
            f"'ffmpi resume {path}'"
        )
    environment = run.facts()
    legs = [environment, *environment.get("continued", [])]
    ranks = {leg.get("ranks") for leg in legs}
    return Result(
        path,
        config,
        settings_of(config),
        done,
        accuracies_of(records[-1]),
        sum(record["seconds"] for record in records),
        {
            "ranks": ranks.pop() if len(ranks) == 1 else ", then ".join(str(leg.get("ranks")) for leg in legs),
            "machine": f"{environment.get('processor')}, {environment.get('cores')} cores",
            "commit": environment.get("commit"),
        },
    )


def grouped(results: Sequence[Result]) -> list[list[Result]]:
    """Return the runs that count as one configuration, each seed once; the same seed on other ranks is another."""
    keys: list[Callable[[Result], Hashable]] = [
        lambda result: result.key(FREE),
        lambda result: (result.key(("seed",)), *result.where.values()),
        lambda result: str(result.path),
    ]
    groups = [list(results)]
    for key in keys:
        apart: list[list[Result]] = []
        for group in groups:
            if key is keys[0] or len({result.config.seed for result in group}) < len(group):
                found: dict[Hashable, list[Result]] = {}
                for result in group:
                    found.setdefault(key(result), []).append(result)
                apart += found.values()
            else:
                apart.append(group)
        groups = apart
    return [sorted(group, key=lambda result: result.config.seed) for group in groups]


def over_seeds(group: Sequence[Result], split: str, method: str) -> dict[str, Any] | None:
    """Return mean, standard deviation (none of one seed) and values of an accuracy in percent, if all runs have it."""
    values = [result.accuracies.get(split, {}).get(method) for result in group]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": statistics.fmean(known), "deviation": deviation, "values": known}


def same(values: Iterable[Any]) -> Any:
    """Return the value that all of `values` are, or None."""
    first, *others = values
    return first if all(value == first for value in others) else None


def common(names: Sequence[str]) -> str:
    """Return what `names` begin with, as if they ended in the numbers of seeds."""
    if len(set(names)) == 1:
        return names[0]
    return os.path.commonprefix(list(names)).rstrip("-_. 0123456789") or "runs"  # noqa: RUF071 - of names, not of paths
