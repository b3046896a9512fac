"""The command `info --settings`: every setting, what may stand in it and what it means."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from ..config import describe
from ..config.describe import Setting
from ..errors import UserError, nearest


def settings(table: str | None, as_json: bool) -> None:
    """Print all settings, or those of `table` and the tables in it. Raises UserError if there is no such table."""
    every = describe.settings()
    chosen = [one for one in every if table is None or f"{one.key}.".startswith(f"{table}.")]
    if not chosen:
        known = list(dict.fromkeys(_table(one) for one in every if _table(one)))
        raise UserError(f"info --settings {table}: expected a table, {', '.join(known)}{nearest(str(table), known)}")
    if as_json:
        print(json.dumps([one.as_json() for one in chosen]))
        return
    width = min(120, shutil.get_terminal_size((120, 0)).columns)
    for name, group in groupby(chosen, _table):
        if name:
            print(f"[{name}]")
        for line in _lines(list(group), width):
            print(line)
        print()


def _table(setting: Setting) -> str:
    return setting.key.rpartition(".")[0]


def _lines(group: Sequence[Setting], width: int) -> list[str]:
    """Return a table's settings: name, default, what may stand in it, and below it what it means."""
    lines, margin = [], 6 * " "
    for one in group:
        name = one.key.rpartition(".")[2]
        where = f"; with name = {json.dumps(one.member)}" if one.member else ""
        lines.append(
            f"  {name} = {_toml(one.default)}  # {one.expected}{where}{f'; unit: {one.unit}' if one.unit else ''}"
        )
        # A family's choices are a line each.
        for text in one.description.split("; ") if name == "name" else [one.description]:
            lines += textwrap.wrap(text, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)
    return lines


def _toml(value: Any) -> str:
    return json.dumps(value)  # the same for the numbers, strings and lists that there are
