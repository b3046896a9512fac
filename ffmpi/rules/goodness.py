"""The goodness rule: up for positives, down for negatives (Hinton 2022; the paper, equation 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from .. import kernels
from ..config.fields import Positive
from ..schedule.cost import RuleCost
from . import Formula, Loss, Measure, Rates, Rule, Squares, Targets

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..network.activations import Activations
    from ..network.layer import Layer

#: A row whose coefficient is smaller takes no part in the update, since no float32 weight that matters would change: of
#: a gradient c a h with a h up to 1000, even if it is the first that Adam ever sees (eps 1e-8 stands below it then), a
#: step at rate 0.01 is less than half a unit in the last place of any weight above 0.002; SGD's is far smaller still.
SMALLEST = 2.0**-64
#: Share of rows that learn times the threshold: a row learns while its goodness is within 44 of that. Measured: 60 to
#: 100 % of the rows with a threshold of 256 (digits) for as long as 60 epochs, 20 to 30 % in the first of 1000 (MNIST).
LEARNING = 220.0
#: Of wide layers, the first, others that learn batch by batch with it, and others that learn when those below have
#: learnt for a chapter: after how many batches half of the rows learn where the threshold is 1000, and the power of the
#: batches by which the rows that do not outgrow those that do. Measured on MNIST, over 10 epochs and over chapters: in
#: the first layer 34 % after 225 batches, 15 % after 2700, 10 % after 5700; in the others 30, 7, 4 %, or 22 % at first.
UNDECIDED = (50.0, 0.45), (63.0, 0.73), (38.0, 0.74)
#: And the share of its activations that are not zero in the end, how much more at first, and after how many batches
#: half of that is gone. Measured there: 57 % in the first epoch and 46 % in the tenth; in the others 20 % at first, or
#: 27 %, and 15 % later, or 25 %.
NONZERO = (0.42, 0.175, 1800.0), (0.146, 0.35, 17.0), (0.245, 0.04, 300.0)


class Threshold(NamedTuple):
    """How `kernels.goodness_loss` is to compare a layer's sums of squares.

    Attributes
    ----------
    per : what they are divided by to be goodness
    theta : what that is compared with
    slope : its derivative by an activation, over that activation
    """

    per: np.float32
    theta: float
    slope: float


class Workspace(NamedTuple):
    """A layer's threshold, and memory for the coefficients of the rows that it learns from, (rows,) float32."""

    threshold: Threshold
    c: np.ndarray


#: Places of a run at which its mean is taken.
_PLACES = 100


def _mean(batches: float, at: Callable[[float], float]) -> float:
    """Return the mean over so many batches of what is expected at each."""
    return sum(at(batches * (place + 0.5) / _PLACES) for place in range(_PLACES)) / _PLACES


class Goodness(Rule, frozen=True, kw_only=True, tag="goodness"):
    """Goodness is the sum or mean of the squared activations, compared with threshold x units.

    Loss of a row: softplus(-s (g - theta)), s = +1 for a positive, -1 for a negative; dLoss/dW = (c a)^T h with
    c = -s sigmoid(-s (g - theta)) (2, or 2/units for the mean) / rows (docs/design.md, "Goodness").
    """

    goodness: Annotated[
        Literal["sum", "mean"], Meta(description="Sum or mean over the units of the squared activations.")
    ] = "sum"
    threshold: Annotated[
        Positive, Meta(description="What goodness is compared with, times units.", extra={"unit": "goodness / units"})
    ] = 1.0

    weighs: ClassVar[bool] = True
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("positive_goodness", 2), Measure("negative_goodness", 2), Measure("pairwise_accuracy", 200),
    )  # fmt: skip

    def score_layers(self, config: Config) -> tuple[int, ...]:
        """Return the layers whose goodness is added up: all but the first, unless the configuration names others."""
        return config.goodness_layers

    def loss_scale(self, units: int, classes: int) -> float:
        """Return the threshold."""
        return self.threshold * units

    def boundary(self, units: int) -> float | None:
        """Return the threshold."""
        return self.threshold * units

    def cost(self, config: Config, index: int, classes: int, batches: float) -> RuleCost:
        """Return how many rows are expected to be undecided, and how many activations not to be zero.

        The goodness of the rows spreads in proportion to the threshold. A first layer keeps half of its units active;
        wide layers after it become sparse within some hundred batches, narrow ones, whose rows all learn, do not.
        """
        theta = self.threshold * config.network.layers[index]
        active, density = min(1.0, LEARNING / theta), 0.55
        if active <= 0.5:
            which = 0 if index == 0 else 1 if config.schedule.by_batch else 2
            half, power = UNDECIDED[which]
            half *= (1000 / theta) ** (1 / power)
            active = _mean(batches, lambda batch: 1 / (1 + (batch / half) ** power))
            end, more, gone = NONZERO[which]
            density = end + _mean(batches, lambda batch: more / (1 + batch / gone))
        return replace(super().cost(config, index, classes, batches), active=active, density=density)

    def compared(self, units: int) -> Threshold:
        """Return what a layer of `units` is compared with."""
        per = 1 if self.goodness == "sum" else units
        return Threshold(np.float32(per), self.threshold * units, 2.0 / per)

    def workspace(self, config: Config, layer: Layer, rows: int, classes: int) -> Any:
        """Return a `Workspace`; what a rule derived from this one returns has at least that."""
        return Workspace(self.compared(layer.units), np.empty(rows if layer.learns else 0, np.float32))

    def learn(
        self, layer: Layer, a: Activations, out: Activations, sums: np.ndarray, targets: Targets, rates: Rates
    ) -> Loss:  # fmt: skip
        """Take a step on all rows that are not decided yet."""
        count, rows, flop = targets.count, 2 * targets.count, 0.0
        work: Workspace = layer.workspace
        (per, theta, slope), c = work.threshold, work.c[:rows]
        loss, positive, negative, ranked, active = kernels.goodness_loss(
            out.total[:rows], per, count, theta, slope, SMALLEST, c, targets.weights
        )
        # A loss of zero may come from a goodness that has overflowed; the sum is not finite then.
        if math.isfinite(loss + positive + negative):
            flop = layer.update(a, out.h, c, rates.layer)
        return Loss(loss, (positive, negative, ranked), rows, active, flop)

    def scores(self, layer: Layer, out: Activations, sums: np.ndarray, rows: int) -> np.ndarray:
        """Return the goodness, (rows, 1) float32."""
        g: np.ndarray = out.total[:rows] / self.compared(layer.units).per
        return g[:, None]

    def formula(self, classes: int) -> Formula:
        """Return that of goodness."""
        return Formula(Squares(1, mean=self.goodness == "mean"))
