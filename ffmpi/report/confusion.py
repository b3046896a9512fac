"""Which class is taken for which, as a table for reading: of many classes those that are mixed up most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .page import Cell, Row, Table

#: More classes than these are no table that anybody reads.
_MOST, _MOST_PAIRS = 20, 20


def confusion_table(names: Sequence[str], matrix: np.ndarray, method: str, source: str) -> Table:
    """Return a table of `matrix` (classes, classes), samples of each class by the class they are taken for."""
    right, whole = int(matrix.trace()), int(matrix.sum())
    title = f"Confusion by {method}"
    note = f"{100 * right / max(whole, 1):.2f} % of {source} are right."
    if len(names) > _MOST:
        wrong = matrix - np.diag(matrix.diagonal())
        places = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
        pairs = [divmod(int(place), len(names)) for place in places if wrong.flat[place]]
        rows = [
            Row(f"{names[true]} for {names[taken]}", [Cell(str(wrong[true, taken])), Cell(str(matrix[true].sum()))])
            for true, taken in pairs
        ]
        return Table(title, ["taken", "samples", "of"], rows, f"The pairs mixed up most. {note}", numbers=True)
    rows = []
    for index, (name, line) in enumerate(zip(names, matrix.tolist(), strict=True)):
        count = max(sum(line), 1)
        cells = [
            Cell(str(value or "·"), "right" if column == index else "", value / count)
            for column, value in enumerate(line)
        ]
        rows.append(Row(name, [*cells, Cell(f"{100 * line[index] / count:.1f} %" if sum(line) else "")]))
    note = f"A row for each class, a column for each that is taken for it. {note}"
    return Table(title, ["true", *names, "right"], rows, note, numbers=True)
