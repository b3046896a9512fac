"""Earlier names of settings and arrays, which files, checkpoints and the command line may still use."""

from __future__ import annotations

import re
from typing import Any

from ..errors import UserError

#: The name of now by an earlier one. A name that became a table's shorthand, as network.normalise, needs no entry.
ALIASES = {
    "network.eps": "network.normalise.epsilon",
    "network.epsilon": "network.normalise.epsilon",
    "negatives.kind": "negatives.name",
    "negatives.redraw": "negatives.resample",
    "optimizer.rate": "optimizer.learning_rate",
    "optimizer.decay": "optimizer.weight_decay",
    "optimizer.eps": "optimizer.epsilon",
    "head.optimizer.rate": "head.optimizer.learning_rate",
    "head.optimizer.decay": "head.optimizer.weight_decay",
    "head.optimizer.eps": "head.optimizer.epsilon",
    "train.batch": "train.batch_size",
    "train.constant": "learning_rate.constant",
    "shards.held_out": "shards.test_path",
}


#: Patterns of the names of arrays in a checkpoint, and the names they had up to the given format.
ARRAYS = {r"layers/(\d+)/classifier/(.+)": (2, r"classifiers/\1/\2")}


def array_name(name: str, file_format: int) -> str:
    """Return the name that the array `name` has in a checkpoint of `file_format`."""
    for pattern, (last, earlier) in ARRAYS.items():
        if file_format <= last:
            name = re.sub(f"^{pattern}$", earlier, name)
    return name


def renamed(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Return `values`, nested tables that came from `source`, under the names of now; what has no other stays.

    Raises UserError if an earlier name stands beside the one of now.
    """
    result = _copied(values)
    for earlier, now in ALIASES.items():
        *path, key = earlier.split(".")
        table = _table(result, path)
        if table is None or key not in table:
            continue
        *path, name = now.split(".")
        target = _table(result, path, make=True)
        if target is None:  # something other than a table stands there, which its own error will name
            continue
        if name in target:
            raise UserError(f"{source}: {earlier} is an earlier name of {now}; expected one of the two")
        if target is table:
            entries = [(name if one == key else one, value) for one, value in table.items()]  # in the same order
            table.clear()
            table.update(entries)
        else:
            target[name] = table.pop(key)
    return result


def _copied(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in values.items()}


def _table(values: dict[str, Any], path: list[str], make: bool = False) -> dict[str, Any] | None:
    """Return the table at `path`, made if it is missing; None if there is none."""
    for key in path:
        if make:
            values.setdefault(key, {})
        found = values.get(key)
        if not isinstance(found, dict):
            return None
        values = found
    return values
