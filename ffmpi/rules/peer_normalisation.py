"""Goodness with peer normalisation: no unit stays idle, and none does all the work."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from .. import kernels
from ..config.fields import Fraction, Positive
from ..network.parameters import Array, Block
from ..schedule.cost import RuleCost
from . import Loss, Rates, Targets
from .goodness import SMALLEST, Goodness, Threshold, Workspace

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..network.activations import Activations
    from ..network.layer import Layer


class _Workspace(NamedTuple):
    threshold: Threshold
    c: np.ndarray  # (rows,) float32
    dz: np.ndarray  # (panels, pitch, 16) float32
    taking_part: np.ndarray  # (rows,) float32


class PeerNormalisation(Goodness, frozen=True, kw_only=True, tag="peer-normalisation"):
    """Goodness, and each unit's running mean activation is drawn to the mean of its layer's, as in Hinton's code.

    m_u follows the mean of h_u over the positives. Descent on positive rows adds strength (mean of m - m_u) / positives
    to z_u, also where h_u is zero, so that idle units come back (docs/design.md, section 3.1).
    """

    strength: Annotated[
        Positive, Meta(description="How hard a unit's mean activation is drawn to that of its layer.")
    ] = 0.03  # fmt: skip
    momentum: Annotated[
        Fraction, Meta(description="What a unit's running mean activation keeps of itself in a step.")
    ] = 0.9  # fmt: skip

    def blocks(self, config: Config, units: int, classes: int) -> dict[str, Block]:
        """Return the units' running mean activations, which begin with a half."""
        means = Array("means", (units,), learnt=False, inference=False, start=0.5, nonnegative=True)
        return {"peers": Block((means,))}

    def cost(self, config: Config, index: int, classes: int, batches: float) -> RuleCost:
        """Return that of goodness, but that all positives learn."""
        found = super().cost(config, index, classes, batches)
        return replace(found, active=(1 + found.active) / 2)

    def workspace(self, config: Config, layer: Layer, rows: int, classes: int) -> Any:
        """Return room for a batch's derivatives."""
        panels = len(layer.panels) if layer.learns else 0
        dz = kernels.zeros(panels, kernels.padded_rows(rows), kernels.LANES)
        own: Workspace = super().workspace(config, layer, rows, classes)
        return _Workspace(own.threshold, own.c, dz, np.empty(rows, np.float32))

    def share_size(self, units: int, rows: int, classes: int, learning: bool) -> int:
        """Return that there is one more number to learn."""
        return int(learning)

    def learning_partial(self, layer: Layer, out: Activations, targets: Targets, rows: int) -> np.ndarray:
        """Return the sum of the running means over the units, which follow the positives."""
        means, momentum = layer.blocks["peers"].panels["means"], np.float32(self.momentum)
        sums = np.empty((layer.tree.count, 1), np.float32)
        kernels.peer_means(out.h, targets.count, momentum, means, targets.weights, layer.tree.adds, sums)
        return sums

    def learn(
        self, layer: Layer, a: Activations, out: Activations, sums: np.ndarray, targets: Targets, rates: Rates
    ) -> Loss:  # fmt: skip
        """Take a step on all positives, and on the negatives that are not decided yet."""
        count, rows, weights, flop = targets.count, 2 * targets.count, targets.weights, 0.0
        work: _Workspace = layer.workspace
        (per, theta, slope), c = work.threshold, work.c[:rows]
        loss, positive, negative, ranked, active = kernels.goodness_loss(
            out.total[:rows], per, count, theta, slope, SMALLEST, c, weights
        )
        if math.isfinite(loss + positive + negative):
            taking_part, means = work.taking_part[:rows], layer.blocks["peers"].panels["means"]
            mean, strength = sums[0] / np.float32(layer.units), np.float32(self.strength)
            numbers = layer.own_units, means, mean, strength
            kernels.peer_gradient(out.h, c, count, *numbers, work.dz, taking_part, weights)
            flop, active = layer.update(a, work.dz, taking_part, rates.layer), int(taking_part.sum())
        return Loss(loss, (positive, negative, ranked), rows, active, flop)
