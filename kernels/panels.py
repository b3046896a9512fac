"""Where the numbers lie: matrices in column panels of sixteen.

Activations of shape (rows, units) are kept as (panels, rows, 16), weights of shape (inputs, units) as
(panels, inputs, 16), so that a kernel only ever walks forward in memory and nothing is packed per call. Units and
inputs are padded to a multiple of 16, rows to a multiple of 8; padded weights and activities are zero and stay zero.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .simd import LANES, load, prefetch, store

ROWS = 8
_LINE = 64


def panels_of(units: int) -> int:
    """Return how many panels hold `units` columns."""
    return -(-units // LANES)


def padded_rows(rows: int) -> int:
    """Return `rows` rounded up to what a forward tile takes."""
    return -(-rows // ROWS) * ROWS


def zeros(*shape: int) -> np.ndarray:
    """Return a float32 array of zeros that starts on a cache line: a vector never straddles two lines."""
    size = int(np.prod(shape, dtype=np.int64))
    raw = np.zeros(size * 4 + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + size * 4].view(np.float32).reshape(shape)


def to_panels(matrix: np.ndarray, pitch: int | None = None) -> np.ndarray:
    """Return `matrix` (rows, columns) float32 as new zero-padded panels (panels, pitch or rows, 16)."""
    rows, columns = matrix.shape
    panels = zeros(panels_of(columns), pitch or rows, LANES)
    for panel, start in enumerate(range(0, columns, LANES)):
        part = matrix[:, start : start + LANES]
        panels[panel, :rows, : part.shape[1]] = part
    return panels


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
