"""The command `table`: runs summed up, beside the paper's results where it has any."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from ..errors import UserError, note, ranges
from ..run.differences import setting_text
from ..run.results import Result, result_of
from ..run.sweep import runs_in
from .results import rows_of

_ABOUT = ("data", "model", "implementation", "lag", "epochs")
_FOUND = ("seeds", "validation %", "test %", "best", "paper", "difference", "seconds", "paper seconds",
          "paper implementation", "ranks", "machine", "commit")  # fmt: skip
_ALWAYS = ("data", "model", "implementation")
_TITLE = (*_ALWAYS, "setting")  # of a row that stands on lines of its own

#: More columns of settings than these nobody can read side by side; they are a table of their own, with a column for
#: each configuration unless these are too many, too.
_MOST_SETTINGS = 8
_MOST_COMPARED = 6
_MOST_LEFT_OUT = 5  # runs that are named
_GLUE = "\x00"  # a space that no line is broken at


def table(runs: list[str], as_json: bool, as_markdown: bool, unfinished: bool = False) -> None:
    """Print a row for each configuration of the `runs` that are finished, or have begun if `unfinished` ones count.

    A sweep's directory stands for its runs.
    """
    rows = rows_of(_results(runs, unfinished))
    if as_json:
        print(json.dumps(rows))
    else:
        show(rows, as_markdown)


def _results(runs: list[str], unfinished: bool) -> list[Result]:
    """Return what there is of `runs`, and say which are left out; UserError if that is all of them."""
    found: list[Result] = []
    missing: list[UserError] = []
    for path in runs_in(map(Path, runs)):
        try:
            found.append(result_of(path, unfinished))
        except UserError as error:
            missing.append(error)
    if not found:
        raise missing[0] if missing else UserError(f"{', '.join(runs)}: holds no run; expected run directories")
    for reason in missing[:_MOST_LEFT_OUT]:
        print(f"ffmpi: left out: {reason}", file=sys.stderr)
    if len(missing) > _MOST_LEFT_OUT:
        print(f"ffmpi: left out: {len(missing) - _MOST_LEFT_OUT} more runs that are not finished", file=sys.stderr)
    return found


def show(rows: Sequence[dict[str, Any]], as_markdown: bool = False) -> None:
    """Print rows of `rows_of`: what is the same in all in a line of its own, but not in Markdown."""
    settings = list(rows[0]["settings"])
    if all(row["paper"] for row in rows):
        settings = []  # the paper's words say what differs
    compared: list[str] = []
    if len(settings) > _MOST_SETTINGS:
        settings, compared = [], settings
    columns = [*_ABOUT, *settings, *_FOUND]
    cells = [_cells(row, settings) for row in rows]
    columns = [name for name in columns if name in _ALWAYS or any(row[name] for row in cells)]
    if len(rows) > 1 and not as_markdown:
        columns = _without_same(columns, cells)
    _print(columns, cells, as_markdown)
    if compared:
        _compare(rows, compared, as_markdown)


def _without_same(columns: Sequence[str], cells: Sequence[dict[str, str]]) -> list[str]:
    """Print what is the same in all rows in a line of its own, and return the other columns."""
    same = [name for name in columns if len({row[name] for row in cells}) == 1 and name not in _FOUND[1:4]]
    if same:
        told = "; ".join(f"{name} {cells[0][name]}" for name in same)
        console = Console()
        width = console.width if console.is_terminal else len(told) + len("all: ")
        print("\n".join(textwrap.wrap(f"all: {told}", width, subsequent_indent="  ", break_on_hyphens=False)))
    return [name for name in columns if name not in same]


def _compare(rows: Sequence[dict[str, Any]], settings: Sequence[str], as_markdown: bool) -> None:
    """Print a row for each setting that differs, and a column for each configuration."""
    each = list({tuple(row["runs"]): row for row in rows}.values())
    if len(each) > _MOST_COMPARED:
        note(f"{len(settings)} settings differ between these runs, too many for columns; --json has them all")
        return
    names = [row["name"] for row in each]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    cells = [
        {"setting": key} | {name: setting_text(row["settings"][key]) for name, row in zip(names, each, strict=True)}
        for key in settings
    ]
    print()
    _print(["setting", *names], cells, as_markdown)


def _print(columns: Sequence[str], cells: Sequence[dict[str, str]], as_markdown: bool) -> None:
    """Print a table of `columns`, or on a narrow terminal each row on lines of its own."""
    if as_markdown:
        for line in (columns, ["---"] * len(columns), *([row[name] for name in columns] for row in cells)):
            print("| " + " | ".join(line) + " |")
        return
    console = Console(highlight=False, markup=False, emoji=False)
    widths = [max(cell_len(text) for text in (name, *(row[name] for row in cells))) for name in columns]
    whole = sum(widths) + 2 * (len(widths) - 1)
    if whole > console.width and console.is_terminal:
        _stack(columns, cells, console.width)
        return
    console.width = max(whole, console.width)
    shown = Table(box=None, pad_edge=False)
    for column in columns:
        shown.add_column(column, no_wrap=True)
    for row in cells:
        shown.add_row(*(row[name] for name in columns))
    console.print(shown)


def _stack(columns: Sequence[str], cells: Sequence[dict[str, str]], width: int) -> None:
    """Print each row on lines of its own, where a table would cut numbers off."""
    for row in cells:
        print(", ".join(row[name] for name in _TITLE if name in columns) or row["model"])
        parts = [f"{name} {row[name]}" for name in columns if name not in _TITLE and row[name]]
        # A number stays beside its name.
        glued = ", ".join(part.replace(" ", _GLUE) if len(part) < width // 2 else part for part in parts)
        lines = textwrap.wrap(
            glued, width, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        print("\n".join(lines).replace(_GLUE, " "))


def _cells(row: dict[str, Any], settings: Sequence[str]) -> dict[str, str]:
    """Return what stands in each column."""
    cells = {name: _text(row.get(name)) for name in (*_ABOUT, *_FOUND)}
    cells |= {name: setting_text(row["settings"].get(name)) for name in settings}
    if row["epochs done"] < row["epochs"]:
        cells["epochs"] = f"{row['epochs done']} of {row['epochs']}"
    for split in ("validation", "test"):
        cells[f"{split} %"] = accuracy_text(row[split])
    cells["seeds"] = f"{len(row['seeds'])}: {ranges(row['seeds'])}"
    cells["best"] = "on validation" if row["best"] else ""
    return cells


def accuracy_text(found: dict[str, Any] | None) -> str:
    """Return an accuracy of `rows_of` in words: its mean, and its deviation where there is one."""
    if found is None:
        return ""
    deviation = found["deviation"]
    return f"{found['mean']:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def _text(value: object) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
