"""Goodness with layer collaboration: a layer learns what the layers below it have not decided yet.

Lorberbom, Gat, Adi, Schwing and Hazan, "Layer Collaboration in the Forward-Forward Algorithm", arXiv 2305.12393, with
their gamma of the earlier layers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .. import kernels
from ..schedule.cost import RuleCost
from . import Loss, Rates, Rule, Targets
from .goodness import SMALLEST, Goodness, Workspace

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..network.activations import Activations
    from ..network.layer import Layer


class Collaboration(Goodness, frozen=True, kw_only=True, tag="collaboration"):
    """Goodness, to which that of all layers below is added before it is compared with the sum of their thresholds.

    Loss of a row: softplus(-s (g + gamma - theta)), gamma the goodness of the layers below, which is a constant to the
    gradient, and theta = threshold x units of all layers up to this one (docs/design.md, section 3.1). Layers
    report their own goodness, but rank pairs by the sum. Samples are classified by the goodness of all layers.
    """

    scores_training: ClassVar[bool] = True
    unread: ClassVar[tuple[str, ...]] = ("classify.goodness_layers",)

    def score_layers(self, config: Config) -> tuple[int, ...]:
        """Return all layers."""
        return Rule.score_layers(self, config)

    def boundary(self, units: int) -> float | None:
        """Return None: the layers below have their say."""
        return None

    def cost(self, config: Config, index: int, classes: int, batches: float) -> RuleCost:
        """Return that of goodness, but that fewer rows are undecided the more layers there are below."""
        share = config.network.layers[index] / sum(config.network.layers[: index + 1])
        found = super().cost(config, index, classes, batches)
        return replace(found, active=share * found.active)

    def learn(
        self, layer: Layer, a: Activations, out: Activations, sums: np.ndarray, targets: Targets, rates: Rates
    ) -> Loss:  # fmt: skip
        """Take a step on all rows that the layers up to this one have not decided yet."""
        count, rows = targets.count, 2 * targets.count
        work: Workspace = layer.workspace
        own, c = work.threshold, work.c[:rows]
        goodness = out.total[:rows] / own.per
        joint = goodness + a.score[:rows, 0] if layer.index else goodness
        theta = self.threshold * sum(layer.config.network.layers[: layer.index + 1])
        loss, _, _, ranked, active = kernels.goodness_loss(
            joint, np.float32(1), count, theta, own.slope, SMALLEST, c, targets.weights
        )
        positive, negative = (float(part.sum(dtype=np.float64)) for part in (goodness[:count], goodness[count:]))
        flop = layer.update(a, out.h, c, rates.layer) if math.isfinite(loss + positive + negative) else 0.0
        return Loss(loss, (positive, negative, ranked), rows, active, flop)
