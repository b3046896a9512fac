"""Rows of panels, copied: into a row-major matrix, or to the beginning of other panels."""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .simd import LANES, load, prefetch, store


@compiled
def _from_panels(panels, first, matrix):  # type: ignore[no-untyped-def]
    rows, columns = matrix.shape
    for row in range(rows):
        for column in range(columns):
            matrix[row, column] = panels[column >> 4, first + row, column & 15]


def from_panels(panels: np.ndarray, rows: int, columns: int, first: int = 0) -> np.ndarray:
    """Return `rows` rows from row `first` on and the first `columns` of panels (panels, pitch, 16), row-major, new."""
    matrix = np.empty((rows, columns), np.float32)
    _from_panels(panels, first, matrix)
    return matrix


@compiled
def copy_rows(source, total, first, count, target, target_total):  # type: ignore[no-untyped-def]
    """Copy `count` rows from row `first` on, with their sums of squares, to the first rows of `target`.

    source, target : (panels, pitch of their own, 16) float32; total, target_total : (pitch,) float32
    """
    pitch, target_pitch = source.shape[1], target.shape[1]
    for panel in range(len(source)):
        start = (panel * pitch + first) * LANES
        for row in range(count):
            prefetch(source, start + (pitch + row) * LANES)  # the next panel's
            store(target, (panel * target_pitch + row) * LANES, load(source, start + row * LANES))
    for row in range(count):
        target_total[row] = total[first + row]
