"""The class-groups rule: each class has units of its own, and their activations are its logit.

After Papachristodoulou et al., "Convolutional Channel-wise Competitive Learning for the Forward-Forward Algorithm",
arXiv 2312.12668, whose groups are channels of convolutions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import kernels
from . import Formula, Loss, Measure, Rates, Rule, Shares, Squares, Targets

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..network.activations import Activations
    from ..network.layer import Layer


class _Workspace:
    """Memory for the groups' goodness and, to learn, for the derivatives by it and by the values before the ReLU."""

    def __init__(self, units: int, rows: int, classes: int) -> None:
        pitch, panels = kernels.padded_rows(rows), kernels.panels_of(classes)
        self.g, self.error = (kernels.zeros(panels, pitch, kernels.LANES) for _ in range(2))
        self.dz = kernels.zeros(kernels.panels_of(units), pitch, kernels.LANES)
        self.ones = np.ones(rows, np.float32)


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
        return _Workspace(layer.units if layer.learns else 0, rows, classes)

    def outputs(self, classes: int) -> dict[str, int]:
        """Return a running sum of the groups' goodness."""
        return {"score": classes}

    def loss_scale(self, units: int, classes: int) -> float:
        """Return the cross-entropy of a guess."""
        return float(np.log(classes))

    def partial(self, layer: Layer, out: Activations, rows: int) -> Shares:
        """Return the groups' goodness, in panels of 16 classes."""
        g = layer.workspace.g
        kernels.group_means(out.h, rows, 0, layer.units, layer.classes, True, g)
        return Shares(g)

    def learn(
        self, layer: Layer, a: Activations, out: Activations, sums: Shares, targets: Targets, rates: Rates
    ) -> Loss:  # fmt: skip
        """Take a step on all rows."""
        room: _Workspace = layer.workspace
        rows, classes = targets.count, layer.classes
        loss, correct = kernels.softmax(sums.rows, targets.classes, classes, room.error, targets.weights)
        flop = 0.0
        if np.isfinite(loss):
            kernels.group_backward(room.error, out.h, rows, 0, layer.units, classes, True, room.dz)
            flop = layer.update(a, room.dz, room.ones[:rows], rates.layer)
        squares = float(out.total[:rows].sum(dtype=np.float64))
        return Loss(loss, (squares, correct), rows, rows, flop)

    def scores(self, layer: Layer, out: Activations, sums: Shares, rows: int) -> np.ndarray:
        """Return the groups' goodness, (rows, classes) float32."""
        return kernels.from_panels(sums.rows, rows, layer.classes)

    def formula(self, classes: int) -> Formula:
        """Return that of the groups' goodness."""
        return Formula(Squares(classes, mean=True))
