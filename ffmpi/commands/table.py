"""The command `table`: finished runs beside the paper's results."""

from __future__ import annotations

import json
import os
import statistics
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from ..config.read import flat, read
from ..errors import UserError, why_missing
from ..run.directory import RunDirectory
from . import paper

COLUMNS = (
    "data", "model", "implementation", "lag", "epochs", "seed", "split", "accuracy", "deviation", "paper",
    "difference", "seconds", "paper seconds", "paper implementation", "ranks", "machine", "commit",
)  # fmt: skip


#: Settings that may differ between runs that count as one configuration with several seeds.
_FREE = ("seed", "data.path", "schedule.depth", "schedule.threads", "schedule.timeout", "checkpoint.")
_GLUE = "\x00"  # a space that no line is broken at


def table(runs: list[str], as_json: bool, as_markdown: bool) -> None:
    """Print the runs in the order of the paper's rows, those without a row of the paper after them.

    Several seeds of one configuration are followed by a row of their means, with the accuracy's standard deviation.
    """
    found, missing = [], []
    for run in runs:
        try:
            found += rows_of(Path(run))
        except UserError as error:
            missing.append(error)
    if missing and not found:
        raise missing[0]
    for reason in missing:
        print(f"ffmpi: left out: {reason}", file=sys.stderr)
    order = list(dict.fromkeys((row.data, row.model) for row in paper.ROWS))
    found = _with_means(sorted(found, key=lambda row: (*_place(row, order), row["implementation"], row["epochs"])))
    if as_json:
        print(json.dumps(found))
        return
    cells = [[_text(row[column]) for column in COLUMNS] for row in found]
    if as_markdown:
        for line in (COLUMNS, ["---"] * len(COLUMNS), *cells):
            print("| " + " | ".join(line) + " |")
        return
    console = Console(highlight=False, markup=False, emoji=False)
    widths = [max(map(cell_len, column)) for column in zip(COLUMNS, *cells, strict=True)]
    whole = sum(widths) + 2 * (len(widths) - 1)
    if whole > console.width and console.is_terminal:
        _stack(cells, console.width)
        return
    console.width = max(whole, console.width)
    shown = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        shown.add_column(column, no_wrap=True)
    for row in cells:
        shown.add_row(*row)
    console.print(shown)


def _stack(cells: list[list[str]], width: int) -> None:
    """Print each run on lines of its own, where a table would cut numbers off."""
    for row in cells:
        data, model, implementation, *rest = row
        parts = [f"{name} {text}" for name, text in zip(COLUMNS[3:], rest, strict=True) if text]
        print(f"{data}: {model}, {implementation}")
        # A number stays beside its name.
        glued = ", ".join(part.replace(" ", _GLUE) if len(part) < width // 2 else part for part in parts)
        lines = textwrap.wrap(
            glued, width, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        print("\n".join(lines).replace(_GLUE, " "))


def _with_means(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of one configuration together, by seed, and after several seeds their means."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        groups.setdefault(row.pop("configuration"), []).append(row)
    rows = []
    for group in groups.values():
        rows += sorted(group, key=lambda row: int(row["seed"]))
        if len({row["seed"] for row in group}) > 1:
            rows.append(_mean(rows[-len(group) :]))
    return rows


def _mean(group: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the means of several runs; what differs in them and has no mean is left out."""
    same = {key: value if all(row[key] == value for row in group) else None for key, value in group[0].items()}
    models = os.path.commonprefix([row["model"].rpartition(", ")[0] for row in group]).rstrip("-_. 0123456789")  # noqa: RUF071 - of names, not of paths
    method = group[0]["model"].rpartition(", ")[2]
    accuracies = [row["accuracy"] for row in group]
    accuracy, theirs = statistics.fmean(accuracies), same["paper"]
    return same | {
        "model": same["model"] or f"{models or 'runs'}, {method}",
        "seed": [row["seed"] for row in group],
        "accuracy": accuracy,
        "deviation": statistics.stdev(accuracies),
        "difference": theirs and accuracy - theirs,
        "seconds": statistics.fmean(row["seconds"] for row in group),
    }


def _place(row: dict[str, Any], order: list[tuple[str, str]]) -> tuple[int, str, str]:
    key = row["data"], row["model"]
    return order.index(key) if key in order else len(order), *key


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"mean of {len(value)}"
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return a row for each split and way in which the run at `path` is read out; UserError if it is not finished.

    The paper's results are of tests. Rows of one `configuration` differ in the seed at most.
    """
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
    seconds = sum(record["seconds"] for record in records)
    by_name = {(row.data, row.model, row.implementation): row for row in paper.ROWS}
    where = ranks.pop() if len(ranks) == 1 else ", then ".join(str(leg.get("ranks")) for leg in legs)
    rows = []
    values = flat(msgspec.to_builtins(config))
    alike = repr({key: value for key, value in values.items() if not key.startswith(_FREE)})
    last = records[-1]
    measured = [("test", *item) for item in last["accuracy"].items()]
    measured += [("validation", *item) for item in last.get("validation", {}).items()]
    for split, method, accuracy in measured:
        model = paper.model_of(config, method) or f"{path.resolve().name}, {method}"
        implementation = paper.implementation_of(config)
        # The paper's schedules are one algorithm (for one lag): where it has no such row its sequential one is next.
        same = [by_name.get((config.data.name, model, how)) for how in (implementation, "Sequential")]
        theirs = next((row for row in same if row), None) if split == "test" else None
        rows.append(
            {
                "data": config.data.name,
                "model": model,
                "implementation": implementation,
                "lag": config.negatives.lag if config.negatives.adaptive else None,
                "epochs": config.train.epochs,
                "seed": config.seed,
                "split": split,
                "accuracy": accuracy,
                "deviation": None,
                "paper": theirs and theirs.accuracy,
                "difference": theirs and accuracy - theirs.accuracy,
                "seconds": seconds,
                "paper seconds": theirs and theirs.seconds,
                "paper implementation": theirs and theirs.implementation,
                "ranks": where,
                "machine": f"{environment.get('processor')}, {environment.get('cores')} cores",
                "commit": environment.get("commit"),
                "configuration": f"{split}, {method}: {alike}",
            }
        )
    return rows
