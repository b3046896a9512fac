"""Where the numbers lie: matrices in column panels of sixteen (docs/design.md, section 2).

Activations of shape (rows, units) are kept as (panels, rows, 16), weights of shape (inputs, units) as
(panels, inputs, 16), so that a kernel only ever walks forward in memory and nothing is packed per call. Units and
inputs are padded to a multiple of 16, rows to a multiple of 8; padded weights and activations are zero and stay zero.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .constants import LANES

ROWS = 8
_LINE = 64


@lru_cache(1024)
def panels_of(units: int) -> int:
    """Return how many panels hold `units` columns."""
    return -(-units // LANES)


@lru_cache(1024)
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
