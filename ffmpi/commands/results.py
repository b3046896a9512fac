"""What runs have reached, one row a configuration and way to classify: over its seeds, by split."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from ..run.differences import differing
from ..run.results import Result, common, grouped, over_seeds, same
from . import paper

#: Settings that are no column: what they say stands in others, or says nothing of a result.
_NO_COLUMN = ("seed", "checkpoint.", "data.name", "schedule.name", "train.epochs", "negatives.lag")


def rows_of(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return a row for each configuration and way to classify, those of the paper's tables first and in their order.

    Runs of one configuration are one row, with mean and standard deviation over their seeds; where several have the
    same seed, as to compare times, those on other ranks, machines or commits stay apart.
    """
    order = list(dict.fromkeys((row.data, row.model) for row in paper.ROWS))
    columns = differing((result.settings for result in results), _NO_COLUMN)
    rows = [
        _row(group, method, columns)
        for group in grouped(results)
        for method in dict.fromkeys(method for split in group[0].accuracies.values() for method in split)
    ]
    _choose(rows)

    def place(row: dict[str, Any]) -> tuple[int, str, str, int]:
        key = row["data"], row["model"]
        if key not in order:  # as they were given
            return len(order), row["data"], "", 0
        return order.index(key), row["data"], row["implementation"], row["epochs"]

    return sorted(rows, key=place)


def _row(group: Sequence[Result], method: str, columns: Iterable[str]) -> dict[str, Any]:
    first = group[0]
    config = first.config
    name, model = common([result.name for result in group]), paper.model_of(config, method)
    implementation = paper.implementation_of(config)
    # The paper's schedules are one algorithm (for one lag): where it has no such row its sequential one is next.
    by_name = {(row.data, row.model, row.implementation): row for row in paper.ROWS}
    alike = [by_name.get((config.data.name, model or "", how)) for how in (implementation, "Sequential")]
    theirs = next((row for row in alike if row), None)
    test = over_seeds(group, "test", method)
    return {
        "data": config.data.name,
        "name": name,
        "model": model or f"{name}, {method}",
        "method": method,
        "implementation": implementation,
        "lag": config.negatives.lag if config.negatives.adaptive else None,
        "epochs": config.train.epochs,
        "epochs done": first.epochs,
        "settings": {key: same(result.settings.get(key) for result in group) for key in columns},
        "seeds": [result.config.seed for result in group],
        "runs": [str(result.path) for result in group],
        "validation": over_seeds(group, "validation", method),
        "test": test,
        "best": False,
        "paper": theirs and theirs.accuracy,
        "difference": theirs and test and test["mean"] - theirs.accuracy,
        "seconds": statistics.fmean(result.seconds for result in group),
        "paper seconds": theirs and theirs.seconds,
        "paper implementation": theirs and theirs.implementation,
        "data.validation": config.data.validation,
        "data.path": first.settings.get("data.path"),
        **{key: same(result.where[key] for result in group) for key in first.where},
    }


def _choose(rows: Sequence[dict[str, Any]]) -> None:
    """Mark the row of the greatest mean on the validation samples, of finished runs that had the same to choose by.

    Never on the test samples: they are to say how good what was chosen is.
    """
    groups: dict[Hashable, list[dict[str, Any]]] = {}
    for row in rows:
        if row["validation"] and row["epochs done"] == row["epochs"]:
            groups.setdefault((row["data"], row["data.path"], row["data.validation"]), []).append(row)
    for group in groups.values():
        if len(group) > 1:
            max(group, key=lambda row: row["validation"]["mean"])["best"] = True
