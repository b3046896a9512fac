"""The normalisation of rows: one factor a row, which the products fold in."""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .constants import NEUTRAL

#: What rows are normalised by: their sums of squares, divisor, eps, and memory for the factors.
Norm = tuple[np.ndarray, np.float32, np.float32, np.ndarray]


@compiled(error_model="numpy")
def row_scale(total, rows, divisor, eps, scale):  # type: ignore[no-untyped-def]
    """Write scale = 1 / (sqrt(total / divisor) + eps) for the first `rows` rows; all float32.

    `total` (rows,) is each row's sum of squares; `divisor` is the row's length for rms, 1 for l2 (docs/design.md,
    section 2). A divisor of 0 leaves `scale` as it is.
    """
    if divisor == np.float32(0.0):
        return
    for row in range(rows):
        scale[row] = np.float32(1.0) / (np.sqrt(total[row] / divisor) + eps)


@compiled(error_model="numpy")
def row_scale_labelled(total, source, labels, classes, value, divisor, eps, scale):  # type: ignore[no-untyped-def]
    """Do the same for rows that show the images `source` with `labels`, whose value is `value`, float32.

    A label adds its square, a NEUTRAL one, which shares the value among all classes, a part of it.
    """
    if divisor == np.float32(0.0):
        return
    square_of_label = value * value
    neutral = square_of_label / np.float32(classes)
    for row in range(len(source)):
        square = total[source[row]] + (neutral if labels[row] == NEUTRAL else square_of_label)
        scale[row] = np.float32(1.0) / (np.sqrt(square / divisor) + eps)
