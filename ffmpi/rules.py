"""Learning rules: how a layer's activities become one coefficient a row, and the loss they are measured by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import kernels
from .config import Rule

#: A row takes no part in the update if its coefficient is less than REACH of the batch's largest: beside a product of
#: the largest row with equal activities, its own is 2^-7 of half a unit in float32's last place. This is part of the
#: algorithm, not a rounding identity: where the largest rows' activities are zero, the row would have left a trace.
REACH = 2.0**-32
#: Nor if it is less than this in itself, against float32's 2^-126: its products would be denormal.
SMALLEST = 2.0**-100


@dataclass(frozen=True)
class Judgement:
    """What the goodness rule says of one batch; sums are over the rows, float64."""

    coefficients: np.ndarray  # (positives + negatives,) float32
    loss: float
    positive_goodness: float
    negative_goodness: float
    active: int  # rows that take part in the update


def goodness(rule: Rule, total: np.ndarray, units: int) -> np.ndarray:
    """Return g, (rows,) float32: sum or mean over the units of the squared activities, from their sums `total`."""
    return total if rule.goodness == "sum" else total / np.float32(units)


def judge(rule: Rule, total: np.ndarray, units: int, positives: int) -> Judgement:
    """Judge the rows `total` (rows,) float32, of which the first `positives` are positive, the others negative.

    Loss per row softplus(-s (g - theta)), s = +1 positive, -1 negative; dLoss/dW = (c a)^T h with
    c = -s sigmoid(-s (g - theta)) (2, or 2/units for mean) / rows (design, section 4; paper, equation 1).
    """
    slope = 2.0 if rule.goodness == "sum" else 2.0 / units
    c = np.empty(len(total), np.float32)
    theta = rule.threshold * units
    return Judgement(c, *kernels.judge(goodness(rule, total, units), positives, theta, slope, REACH, SMALLEST, c))
