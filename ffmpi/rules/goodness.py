"""Learning rules: how a layer's activities become one coefficient a row, and the loss they are measured by."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from .. import kernels
from ..config.fields import Positive
from . import Rule

#: A row whose coefficient is smaller takes no part in the update, since no float32 weight that matters would change: of
#: a gradient c a h with a h up to 1000, even if it is the first that Adam ever sees (eps 1e-8 stands below it then), a
#: step at rate 0.01 is less than half a unit in the last place of any weight above 0.002; SGD's is far smaller still.
SMALLEST = 2.0**-64


class Loss(NamedTuple):
    """What the goodness rule says of one batch; sums are over the rows, float64."""

    coefficients: np.ndarray  # (positives + negatives,) float32
    loss: float
    positive_goodness: float
    negative_goodness: float
    active: int  # rows that take part in the update


class Goodness(Rule, frozen=True, kw_only=True, tag="goodness"):
    """A layer raises its goodness on positive inputs and lowers it on negative ones."""

    goodness: Annotated[
        Literal["sum", "mean"], Meta(description="Sum or mean over the units of the squared activities.")
    ] = "sum"
    threshold: Annotated[
        Positive, Meta(description="What goodness is compared with, times units.", extra={"unit": "goodness / units"})
    ] = 1.0

    layout: ClassVar[str] = "pairs"
    methods: ClassVar[tuple[str, ...]] = ("softmax", "goodness")


def _per(rule: Goodness, units: int) -> np.float32:
    return np.float32(1 if rule.goodness == "sum" else units)


def goodness(rule: Goodness, total: np.ndarray, units: int) -> np.ndarray:
    """Return g, (rows,) float32: sum or mean over the units of the squared activities, from their sums `total`."""
    g: np.ndarray = total / _per(rule, units)
    return g


def goodness_loss(rule: Goodness, total: np.ndarray, units: int, positives: int) -> Loss:
    """Judge the rows `total` (rows,) float32, of which the first `positives` are positive, the others negative.

    Loss per row softplus(-s (g - theta)), s = +1 positive, -1 negative; dLoss/dW = (c a)^T h with
    c = -s sigmoid(-s (g - theta)) (2, or 2/units for mean) / rows (design, section 4; paper, equation 1).
    """
    per, c = _per(rule, units), np.empty(len(total), np.float32)
    theta, slope = rule.threshold * units, 2.0 / float(per)
    return Loss(c, *kernels.goodness_loss(total, per, positives, theta, slope, SMALLEST, c))


def ranked(total: np.ndarray, pairs: int) -> int:
    """Return in how many of `pairs` the positive has more goodness than the negative of the same sample.

    total : (2 x pairs,) float32, the positives' sums of squared activities, then the negatives'.
    """
    return int(np.count_nonzero(total[:pairs] > total[pairs : 2 * pairs]))
