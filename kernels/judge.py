"""The goodness rule: every row's coefficient and loss."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def judge(g, positives, theta, slope, reach, smallest, c):  # type: ignore[no-untyped-def]
    """Write each row's coefficient; return the sums of loss, positive and negative goodness, see `reference.judge`.

    And how many coefficients are not zero.

    Parameters
    ----------
    g : (rows,) float32, goodness; the first `positives` rows are positive
    theta : threshold
    slope : d goodness / d h is slope x h
    reach, smallest : a coefficient below `smallest`, or below `reach` of the largest, becomes zero
    c : (rows,) float32, written
    """
    loss, positive, negative, largest, rows = 0.0, 0.0, 0.0, 0.0, len(g)
    exact = np.empty(rows)
    for row in range(rows):
        sign = 1.0 if row < positives else -1.0
        x = -sign * (np.float64(g[row]) - theta)
        tail = math.exp(-abs(x))
        exact[row] = -sign * (1.0 if x >= 0 else tail) / (1.0 + tail) * slope / rows
        if abs(exact[row]) > largest:
            largest = abs(exact[row])
        loss += (0.0 if x < 0 else x) + math.log1p(tail)  # a NaN stays one
        if row < positives:
            positive += g[row]
        else:
            negative += g[row]
    active = 0
    for row in range(rows):
        size = abs(exact[row])
        c[row] = 0.0 if size < smallest or size < reach * largest else exact[row]
        active += c[row] != 0
    return loss, positive, negative, active
