"""The SymBa rule: a sample's positive row against its own negative one, without a threshold.

Lee and Song, "SymBa: Symmetric Backpropagation-Free Contrastive Learning with Forward-Forward Algorithm for Optimizing
Convergence", arXiv 2303.08418.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from msgspec import Meta

from .. import kernels
from ..config.fields import Positive
from . import Formula, Loss, Measure, Rates, Rule, Squares, Targets
from .goodness import SMALLEST, Goodness

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..network.activations import Activations
    from ..network.layer import Layer

Alpha = Annotated[
    Positive, Meta(description="What the difference between the goodness of a pair's two rows is multiplied by.")
]


class Symba(Rule, frozen=True, kw_only=True, tag="symba"):
    """The softplus of alpha times how much more goodness, the mean square, the negative has than the positive.

    With D = g+ - g- of a sample's two rows and v = -alpha D the loss of the pair is softplus(v), averaged over the B
    pairs; dLoss/dW = (c a)^T h with c = -alpha sigmoid(v) 2 / (units B) for the positive and -c for the negative
    (docs/design.md, section 3.3).
    """

    alpha: Alpha = 4.0

    weighs: ClassVar[bool] = True
    measures: ClassVar[tuple[Measure, ...]] = Goodness.measures

    def score_layers(self, config: Config) -> tuple[int, ...]:
        """Return the layers whose goodness is added up: all but the first, unless the configuration names others."""
        return config.goodness_layers

    def pair_loss(self, v: np.ndarray, tail: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the loss of each pair and its derivative by v; `tail` is exp(-|v|) and `s` sigmoid(v), all float64."""
        return np.maximum(v, 0) + np.log1p(tail), s

    def coefficients(
        self, total: np.ndarray, units: int, pairs: int, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, float]:  # fmt: skip
        """Return c of each row, float32, and the sum of the losses of the pairs.

        total : (2 x pairs,) float32, sums of squares of the positives, then of the negatives of the same samples
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what has overflowed gives a loss that is not finite
            g = total.astype(np.float64) / units
            v = self.alpha * (g[pairs:] - g[:pairs])
            tail = -np.abs(v)
            kernels.exponentials(tail)
            loss, slope = self.pair_loss(v, tail, np.where(v >= 0, 1, tail) / (1 + tail))
            c = slope * (-2 * self.alpha / (units * pairs))
            if weights is not None:
                c, loss = c * weights, loss * weights
            c[np.abs(c) < SMALLEST] = 0
        return np.concatenate([c, -c]).astype(np.float32), float(loss.sum())

    def learn(
        self, layer: Layer, a: Activations, out: Activations, sums: np.ndarray, targets: Targets, rates: Rates
    ) -> Loss:  # fmt: skip
        """Take a step on all pairs that are not decided yet; each row of a pair has the pair's loss."""
        pairs, total = targets.count, out.total[: 2 * targets.count]
        c, loss = self.coefficients(total, layer.units, pairs, targets.weights)
        flop = layer.update(a, out.h, c, rates.layer) if math.isfinite(loss) else 0.0
        positive, negative = (float(part.sum(dtype=np.float64)) / layer.units for part in np.split(total, [pairs]))
        measured = positive, negative, kernels.ranked(total, pairs)
        return Loss(2 * loss, measured, 2 * pairs, int(np.count_nonzero(c)), flop)

    def scores(self, layer: Layer, out: Activations, sums: np.ndarray, rows: int) -> np.ndarray:
        """Return the goodness, (rows, 1) float32."""
        g: np.ndarray = out.total[:rows] / np.float32(layer.units)
        return g[:, None]

    def formula(self, classes: int) -> Formula:
        """Return that of the goodness."""
        return Formula(Squares(1, mean=True))
