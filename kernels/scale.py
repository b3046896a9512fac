"""The normalisation of rows: one factor a row, which the products fold in."""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .compose import NEUTRAL


@compiled(error_model="numpy")
def row_scale(total, rows, divisor, eps, scale):  # type: ignore[no-untyped-def]
    """Write scale = 1 / (sqrt(total / divisor) + eps) for the first `rows` rows; all float32.

    `total` (rows,) is each row's sum of squares; `divisor` is the row's length for rms, 1 for l2 (design, section 4).
    """
    for row in range(rows):
        scale[row] = np.float32(1.0) / (np.sqrt(total[row] / divisor) + eps)


@compiled(error_model="numpy")
def row_scale_labelled(total, source, labels, classes, divisor, eps, scale):  # type: ignore[no-untyped-def]
    """Do the same for rows that show the images `source` with `labels`, which add 1, or 1/classes if NEUTRAL."""
    neutral = np.float32(1.0) / np.float32(classes)
    for row in range(len(source)):
        square = total[source[row]] + (neutral if labels[row] == NEUTRAL else np.float32(1.0))
        scale[row] = np.float32(1.0) / (np.sqrt(square / divisor) + eps)
