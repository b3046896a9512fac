"""Records as a table, for those who have pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import UserError


def _flat(value: Any, name: str) -> Iterable[tuple[str, Any]]:
    """Yield the numbers and texts in a record with names such as ``layers.1.loss``; layers and ranks as they count."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flat(one, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        first = 1 if name == "layers" else 0
        for index, one in enumerate(value, first):
            yield from _flat(one, f"{name}.{index}")
    else:
        yield name, value


def frame(history: Sequence[Mapping[str, Any]]) -> Any:
    """Return records as a pandas DataFrame with a column for each number. Raises UserError without pandas."""
    try:
        import pandas
    except ImportError:
        raise UserError("a frame needs pandas, which is not installed: pip install pandas") from None
    return pandas.DataFrame([dict(_flat(record, "")) for record in history])
