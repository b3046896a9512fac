"""Learning rules: how a layer's activities become one coefficient a row, and the loss they are measured by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import kernels
from .tables import Rule

#: A row whose coefficient is smaller takes no part in the update, since no float32 weight that matters would change: of
#: a gradient c a h with a h up to 1000, even if it is the first that Adam ever sees (eps 1e-8 stands below it then), a
#: step at rate 0.01 is less than half a unit in the last place of any weight above 0.002; SGD's is far smaller still.
SMALLEST = 2.0**-64


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
    return Judgement(c, *kernels.judge(goodness(rule, total, units), positives, theta, slope, SMALLEST, c))
