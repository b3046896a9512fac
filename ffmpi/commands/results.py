"""What finished runs have reached, one row a configuration and way to classify: over its seeds, by split."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..config.read import flat, read
from ..config.registries import FORMATS
from ..config.schema import Config
from ..errors import UserError, why_missing
from ..run.directory import RunDirectory
from ..run.progress import accuracies_of
from ..run.sweep import SweepDirectory
from . import paper

#: Where known data lie is all the same.
_PLACES = ("data.path", "shards.test_path")
#: Settings that may differ between runs that count as one configuration with several seeds.
_FREE = ("seed", "schedule.depth", "schedule.threads", "schedule.timeout", "checkpoint.")
#: Those that are no column: what they say stands in others, or says nothing of a result.
_NO_COLUMN = ("seed", "checkpoint.", "data.name", "schedule.name", "train.epochs", "negatives.lag")


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes
    ----------
    values : its configuration as one table, {"train.epochs": 3}, without the places of known data
    accuracies : in percent by split, then by way to classify
    where : ranks, machine and commit
    """

    path: Path
    config: Config
    values: dict[str, Any]
    accuracies: dict[str, dict[str, float]]
    seconds: float
    where: dict[str, Any]

    def key(self, without: tuple[str, ...]) -> Hashable:
        """Return what runs have in common that differ in the settings `without` at most."""
        return repr({key: value for key, value in self.values.items() if not key.startswith(without)})

    @property
    def name(self) -> str:
        """The name of its directory, or of the sweep that it is part of, whose settings tell the rest."""
        whole = self.path.resolve()
        return whole.parent.name if SweepDirectory(whole.parent).exists() else whole.name


def result_of(path: Path) -> Result:
    """Return what the run at `path` has reached; UserError if it is not finished."""
    run = RunDirectory(path)
    if why := why_missing(path / "config.toml"):
        raise UserError(f"{path}: no such run directory ({path / 'config.toml'}: {why})")
    config, records = read(str(path / "config.toml")), run.records()
    if not records or records[-1]["epoch"] < config.train.epochs:
        done = records[-1]["epoch"] if records else 0
        raise UserError(
            f"{path}: {done} of {config.train.epochs} epochs are done; expected a finished run: wait, or use "
            f"'ffmpi resume {path}'"
        )
    environment = run.facts()
    legs = [environment, *environment.get("continued", [])]
    ranks = {leg.get("ranks") for leg in legs}
    places = () if FORMATS[config.data.name].own else _PLACES
    return Result(
        path,
        config,
        {key: value for key, value in flat(msgspec.to_builtins(config)).items() if key not in places},
        accuracies_of(records[-1]),
        sum(record["seconds"] for record in records),
        {
            "ranks": ranks.pop() if len(ranks) == 1 else ", then ".join(str(leg.get("ranks")) for leg in legs),
            "machine": f"{environment.get('processor')}, {environment.get('cores')} cores",
            "commit": environment.get("commit"),
        },
    )


def rows_of(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return a row for each configuration and way to classify, those of the paper's tables first and in their order.

    Runs of one configuration are one row, with mean and standard deviation over their seeds; where several have the
    same seed, as to compare times, those on other ranks, machines or commits stay apart.
    """
    order = list(dict.fromkeys((row.data, row.model) for row in paper.ROWS))
    differing = _differing(results)
    rows = [
        _row(group, method, differing)
        for group in _groups(results)
        for method in dict.fromkeys(method for split in group[0].accuracies.values() for method in split)
    ]
    _choose(rows)

    def place(row: dict[str, Any]) -> tuple[int, str, str, int]:
        key = row["data"], row["model"]
        if key not in order:  # as they were given
            return len(order), row["data"], "", 0
        return order.index(key), row["data"], row["implementation"], row["epochs"]

    return sorted(rows, key=place)


def _groups(results: Sequence[Result]) -> list[list[Result]]:
    """Return the runs that count as one, each seed once."""
    keys: list[Callable[[Result], Hashable]] = [
        lambda result: result.key(_FREE),
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


def _differing(results: Iterable[Result]) -> list[str]:
    """Return the settings of which two of the runs have different values, and that no other column tells."""
    found: dict[str, set[str]] = {}
    for result in results:
        for key, value in result.values.items():
            found.setdefault(key, set()).add(repr(value))
    return [key for key, values in found.items() if len(values) > 1 and not key.startswith(_NO_COLUMN)]


def _row(group: Sequence[Result], method: str, differing: Iterable[str]) -> dict[str, Any]:
    first = group[0]
    config = first.config
    model = paper.model_of(config, method)
    implementation = paper.implementation_of(config)
    # The paper's schedules are one algorithm (for one lag): where it has no such row its sequential one is next.
    by_name = {(row.data, row.model, row.implementation): row for row in paper.ROWS}
    alike = [by_name.get((config.data.name, model or "", how)) for how in (implementation, "Sequential")]
    theirs = next((row for row in alike if row), None)
    test = _over_seeds(group, "test", method)
    return {
        "data": config.data.name,
        "model": model or f"{_common([result.name for result in group])}, {method}",
        "method": method,
        "implementation": implementation,
        "lag": config.negatives.lag if config.negatives.adaptive else None,
        "epochs": config.train.epochs,
        "settings": {key: _same(result.values.get(key) for result in group) for key in differing},
        "seeds": [result.config.seed for result in group],
        "runs": [str(result.path) for result in group],
        "validation": _over_seeds(group, "validation", method),
        "test": test,
        "best": False,
        "paper": theirs and theirs.accuracy,
        "difference": theirs and test and test["mean"] - theirs.accuracy,
        "seconds": statistics.fmean(result.seconds for result in group),
        "paper seconds": theirs and theirs.seconds,
        "paper implementation": theirs and theirs.implementation,
        "data.validation": config.data.validation,
        "data.path": first.values.get("data.path"),
        **{key: _same(result.where[key] for result in group) for key in first.where},
    }


def _over_seeds(group: Sequence[Result], split: str, method: str) -> dict[str, Any] | None:
    """Return mean, standard deviation (none of one seed) and values of an accuracy in percent, if all runs have it."""
    values = [result.accuracies.get(split, {}).get(method) for result in group]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": statistics.fmean(known), "deviation": deviation, "values": known}


def _choose(rows: Sequence[dict[str, Any]]) -> None:
    """Mark the row of the greatest mean on the validation samples, of those that had the same to choose by.

    Never on the test samples: they are to say how good what was chosen is.
    """
    groups: dict[Hashable, list[dict[str, Any]]] = {}
    for row in rows:
        if row["validation"]:
            groups.setdefault((row["data"], row["data.path"], row["data.validation"]), []).append(row)
    for group in groups.values():
        if len(group) > 1:
            max(group, key=lambda row: row["validation"]["mean"])["best"] = True


def _same(values: Iterable[Any]) -> Any:
    """Return the value that all of `values` are, or None."""
    first, *others = values
    return first if all(value == first for value in others) else None


def _common(names: Sequence[str]) -> str:
    """Return what `names` begin with, as if they ended in the numbers of seeds."""
    if len(set(names)) == 1:
        return names[0]
    return os.path.commonprefix(list(names)).rstrip("-_. 0123456789") or "runs"  # noqa: RUF071 - of names, not of paths
