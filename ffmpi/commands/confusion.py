"""What a network says of each class: accuracies and the confusion matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def confusion_matrix(classes: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """Return how many samples of each of `count` classes (rows) are taken for each (columns), (count, count) int64.

    classes, predicted : (samples,) of any integer type
    """
    pairs = classes.astype(np.int64) * count + predicted
    return np.bincount(pairs, minlength=count * count).reshape(count, count)


def class_accuracies(matrix: np.ndarray) -> list[float | None]:
    """Return the accuracy in percent on the samples of each class; None for a class that has none."""
    rows = matrix.sum(axis=1)
    right = matrix.diagonal()
    return [100.0 * int(hits) / int(total) if total else None for hits, total in zip(right, rows, strict=True)]


def class_table(names: Sequence[str], matrices: dict[str, np.ndarray]) -> Iterator[str]:
    """Yield the lines of a table of the accuracy on each class by each method."""
    counts = next(iter(matrices.values())).sum(axis=1)
    accuracies = [class_accuracies(matrix) for matrix in matrices.values()]
    rows = [
        (name, str(counts[index]), *("" if each[index] is None else f"{each[index]:.2f} %" for each in accuracies))
        for index, name in enumerate(names)
    ]
    return aligned([("class", "samples", *matrices), *rows])


def confusion_table(names: Sequence[str], matrix: np.ndarray) -> Iterator[str]:
    """Yield the lines of a confusion matrix: a row for each true class, a column for each predicted one."""
    rows = [(name, *map(str, row)) for name, row in zip(names, matrix.tolist(), strict=True)]
    return aligned([("true \\ predicted", *names), *rows])


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines with columns of equal width, the first to the left, the others to the right; nothing is cut."""
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, *cells in rows:
        numbers = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        yield "  ".join([name.ljust(first), *numbers]).rstrip()
