"""The class-groups rule: each class has units of its own, and their activations are its logit.

After Papachristodoulou et al., "Convolutional Channel-wise Competitive Learning for the Forward-Forward Algorithm",
arXiv 2312.12668, whose groups are channels of convolutions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import kernels
from ..network.classifier import logits_size
from . import Formula, Loss, Measure, Rates, Rule, Squares, Targets

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..network.activations import Activations
    from ..network.layer import Layer


class _Workspace:
    """Memory for the groups' goodness and, to learn, for the derivatives by it and by the values before the ReLU."""

    def __init__(self, layer: Layer, rows: int, classes: int) -> None:
        self.g = kernels.zeros(layer.tree.count * logits_size(rows, classes))
        pitch = kernels.padded_rows(rows)
        self.error = kernels.zeros(kernels.panels_of(classes), pitch, kernels.LANES)
        self.dz = kernels.zeros(len(layer.panels) if layer.learns else 0, pitch, kernels.LANES)
        self.ones = np.ones(rows, np.float32)


def _in_panels(sums: np.ndarray, rows: int) -> np.ndarray:
    """Return the groups' goodness as (class panels, pitch, 16)."""
    return sums.reshape(-1, kernels.padded_rows(rows), kernels.LANES)


class ClassGroups(Rule, frozen=True, kw_only=True, tag="class-groups"):
    """Cross-entropy of a softmax over groups of units, one a class; no negatives, no label in the input, no classifier.

    Unit u of d is in the group of class floor(u K / d), so that groups differ by a unit at most. g_k is the mean square
    of the activations of group k, of n_k units; dz_u = 2 h_u (softmax(g) - Y)_k / (n_k rows) (docs/design.md, section
    3.4).
    """

    layout: ClassVar[str] = "plain"
    needs_labels: ClassVar[bool] = True
    weighs: ClassVar[bool] = True
    measures: ClassVar[tuple[Measure, ...]] = (Measure("squares", 1), Measure("training_accuracy", 100))
    methods: ClassVar[tuple[str, ...]] = ("last-layer", "all-layers")
    unread: ClassVar[tuple[str, ...]] = (
        "negatives.name", "negatives.scores", "negatives.lag", "data.label", "data.label_value",
    )  # fmt: skip

    def misfit(self, config: Any, classes: int) -> str:
        """Refuse layers in which some class would have no unit."""
        if min(config.network.layers) >= classes:
            return ""
        return (
            f"network.layers = {config.network.layers}: with rule.name = {self.name!r} each of the {classes} classes "
            f"has units of its own in every layer; expected at least {classes} units"
        )

    def workspace(self, config: Config, layer: Layer, rows: int, classes: int) -> _Workspace:
        """Return memory for what the groups say."""
        return _Workspace(layer, rows, classes)

    def outputs(self, classes: int) -> dict[str, int]:
        """Return a running sum of the groups' goodness."""
        return {"score": classes}

    def loss_scale(self, units: int, classes: int) -> float:
        """Return the cross-entropy of a guess."""
        return float(np.log(classes))

    def share_size(self, units: int, rows: int, classes: int, learning: bool) -> int:
        """Return the size of the groups' goodness in panels of 16 classes."""
        return logits_size(rows, classes)

    def partial(self, layer: Layer, out: Activations, rows: int) -> np.ndarray:
        """Return the groups' goodness, in panels of 16 classes."""
        nodes, size = layer.tree.count, logits_size(rows, layer.classes)
        found: np.ndarray = layer.workspace.g[: nodes * size].reshape(nodes, size)
        g = found.reshape(nodes, -1, kernels.padded_rows(rows), kernels.LANES)
        kernels.group_means(out.h, rows, layer.first, layer.units, layer.classes, True, layer.tree.adds, g)
        return found

    def learn(
        self, layer: Layer, a: Activations, out: Activations, sums: np.ndarray, targets: Targets, rates: Rates
    ) -> Loss:  # fmt: skip
        """Take a step on all rows."""
        room: _Workspace = layer.workspace
        rows, classes = targets.count, layer.classes
        loss, correct = kernels.softmax(_in_panels(sums, rows), targets.classes, classes, room.error, targets.weights)
        flop = 0.0
        if math.isfinite(loss):
            kernels.group_backward(room.error, out.h, rows, layer.first, layer.units, classes, True, room.dz)
            flop = layer.update(a, room.dz, room.ones[:rows], rates.layer)
        squares = float(out.total[:rows].sum(dtype=np.float64))
        return Loss(loss, (squares, correct), rows, rows, flop)

    def scores(self, layer: Layer, out: Activations, sums: np.ndarray, rows: int) -> np.ndarray:
        """Return the groups' goodness, (rows, classes) float32."""
        return kernels.from_panels(_in_panels(sums, rows), rows, layer.classes)

    def formula(self, classes: int) -> Formula:
        """Return that of the groups' goodness."""
        return Formula(Squares(classes, mean=True))
