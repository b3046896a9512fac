"""The goodness rule: every row's coefficient and loss (docs/design.md, section 3.1)."""

from __future__ import annotations

import math

import numpy as np

from .compiled import compiled
from .powers import exponentials


@compiled
def ranked(total, pairs):  # type: ignore[no-untyped-def]
    """Return in how many of `pairs` the positive has more goodness than the negative of the same sample.

    total : (2 x pairs or more,) float32, the positives' sums of squared activations, then the negatives'.
    """
    count = 0
    for row in range(pairs):
        count += total[row] > total[pairs + row]
    return count


@compiled(error_model="numpy")
def goodness_loss(total, per, positives, theta, slope, smallest, c, weights):  # type: ignore[no-untyped-def]
    """Write each row's coefficient; return the sums of loss, positive and negative goodness, and two counts.

    Of pairs that are `ranked`, and of rows whose coefficient is not zero; see `reference.goodness_loss`.

    Parameters
    ----------
    total : (rows,) float32, sums of squared activations; the first `positives` rows are positive
    per : float32; goodness is total / per
    theta : threshold
    slope : d goodness / d h is slope x h
    smallest : a coefficient below it becomes zero
    c : (rows,) float32, written
    weights : (positives,) float32, how often the loss of each positive and of its negative counts; None: once
    """
    loss, positive, negative, active, rows = 0.0, 0.0, 0.0, 0, len(total)
    tails = np.empty(rows)
    for row in range(rows):
        tails[row] = -abs(np.float64(total[row] / per) - theta)
    exponentials(tails)
    for row in range(rows):
        g, tail = total[row] / per, tails[row]
        sign = 1.0 if row < positives else -1.0
        x = -sign * (np.float64(g) - theta)
        exact = -sign * (1.0 if x >= 0 else tail) / (1.0 + tail) * slope / rows
        part = (0.0 if x < 0 else x) + math.log1p(tail)  # a NaN stays one
        if weights is not None:
            weight = weights[row if row < positives else row - positives]
            exact, part = exact * weight, part * weight
        c[row] = 0.0 if abs(exact) < smallest else exact
        active += c[row] != 0
        loss += part
        if row < positives:
            positive += g
        else:
            negative += g
    return loss, positive, negative, ranked(total, min(positives, rows - positives)), active
