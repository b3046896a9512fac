"""Learning rules: how a layer's activities become one coefficient a row, and the loss they are measured by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .config import Rule

#: A coefficient smaller than this, against float32's 2^-126, would only make denormal products: the row takes no part.
SMALLEST = 2.0**-100


@dataclass(frozen=True)
class Judgement:
    """What the goodness rule says of one batch; sums are over the rows, float64."""

    coefficients: np.ndarray  # (positives + negatives,) float32
    loss: float
    positive_goodness: float
    negative_goodness: float


def goodness(rule: Rule, total: np.ndarray, units: int) -> np.ndarray:
    """Return g, (rows,) float32: sum or mean over the units of the squared activities, from their sums `total`."""
    return total if rule.goodness == "sum" else total / np.float32(units)


def judge(rule: Rule, total: np.ndarray, units: int, positives: int) -> Judgement:
    """Judge the rows `total` (rows,) float32, of which the first `positives` are positive, the others negative.

    Loss per row softplus(-s (g - theta)), s = +1 positive, -1 negative; dLoss/dW = (c a)^T h with
    c = -s sigmoid(-s (g - theta)) (2, or 2/units for mean) / rows (design, section 4; paper, equation 1).
    """
    rows = len(total)
    g = goodness(rule, total, units).astype(np.float64)
    sign = np.where(np.arange(rows) < positives, 1.0, -1.0)
    x = -sign * (g - rule.threshold * units)
    tail = np.exp(-np.abs(x))
    sigmoid = np.where(x >= 0, 1.0, tail) / (1.0 + tail)
    slope = 2.0 if rule.goodness == "sum" else 2.0 / units
    c = -sign * sigmoid * (slope / rows)
    return Judgement(
        coefficients=np.where(np.abs(c) < SMALLEST, 0.0, c).astype(np.float32),
        loss=float(np.sum(np.maximum(x, 0) + np.log1p(tail))),
        positive_goodness=float(g[:positives].sum()),
        negative_goodness=float(g[positives:].sum()),
    )
