"""The local-softmax rule: cross-entropy of a classifier on each layer, through it and this layer only.

The paper (section 4.4) calls networks that learn so Performance-Optimized.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import kernels
from ..network.classifier import Classifier, classifier_block, logits_size
from ..schedule.cost import RuleCost
from . import Formula, Linear, Loss, Measure, Rates, Rule, Targets

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..network.activations import Activations
    from ..network.layer import Layer
    from ..network.parameters import Block


class Workspace:
    """A layer's classifier and, where it learns, memory for the derivative by its values before the ReLU."""

    def __init__(self, config: Config, layer: Layer, rows: int, classes: int) -> None:
        self.classifier = Classifier(config, {layer.index: layer.blocks["classifier"]}, classes, rows)
        panels = len(layer.panels) if layer.learns else 0
        self.dz = kernels.zeros(panels, kernels.padded_rows(rows), kernels.LANES)
        self.ones = np.ones(rows, np.float32)


class LocalSoftmax(Rule, frozen=True, kw_only=True, tag="local-softmax"):
    """Cross-entropy of a linear softmax classifier on the layer's activations; no negatives, no label in the input."""

    layout: ClassVar[str] = "plain"
    needs_labels: ClassVar[bool] = True
    weighs: ClassVar[bool] = True
    measures: ClassVar[tuple[Measure, ...]] = (Measure("squares", 1), Measure("training_accuracy", 100))
    methods: ClassVar[tuple[str, ...]] = ("last-layer", "all-layers")

    unread: ClassVar[tuple[str, ...]] = (
        "negatives.name", "negatives.scores", "negatives.lag", "data.label", "data.label_value", "head.step",
    )  # fmt: skip

    def conflict(self, config: Any) -> str:
        """Refuse classifiers that would not learn together with their layers."""
        if config.head.step == "epoch":
            return (
                f"head.step = 'epoch': with rule.name = {self.name!r} classifiers learn together with their layers; "
                "expected 'batch'"
            )
        return super().conflict(config)

    reads: ClassVar[tuple[str, ...]] = ("head.",)

    def blocks(self, config: Config, units: int, classes: int) -> dict[str, Block]:
        """Return the classifier's weights and bias."""
        return {"classifier": classifier_block(config, units, classes)}

    def workspace(self, config: Config, layer: Layer, rows: int, classes: int) -> Workspace:
        """Return the classifier and its scratch memory."""
        return Workspace(config, layer, rows, classes)

    def initialise(self, config: Config, layer: Layer) -> None:
        """Draw the classifier's weights, unless they begin with zeros."""
        layer.workspace.classifier.initialise()

    def outputs(self, classes: int) -> dict[str, int]:
        """Return a running sum of logits."""
        return {"score": classes}

    def cost(self, config: Config, index: int, classes: int, batches: float) -> RuleCost:
        """Return what the classifier takes, and how many activations are expected not to be zero.

        Measured in the first epochs on MNIST: a seventh to a quarter of the first layer's, a third of the others'.
        """
        return replace(super().cost(config, index, classes, batches), density=0.19 if index == 0 else 0.3)

    def loss_scale(self, units: int, classes: int) -> float:
        """Return the cross-entropy of a guess."""
        return float(np.log(classes))

    def share_size(self, units: int, rows: int, classes: int, learning: bool) -> int:
        """Return the size of the logits in panels of 16 classes."""
        return logits_size(rows, classes)

    def partial(self, layer: Layer, out: Activations, rows: int) -> np.ndarray:
        """Return the logits before scale and bias, in panels of 16 classes."""
        classifier: Classifier = layer.workspace.classifier
        classifier.blocks[layer.index] = layer.blocks["classifier"]
        return classifier.partial(layer.index, out.h, rows)

    def learn(
        self, layer: Layer, a: Activations, out: Activations, sums: np.ndarray, targets: Targets, rates: Rates
    ) -> Loss:  # fmt: skip
        """Let the layer and its classifier take a step together."""
        workspace, rows, index = layer.workspace, targets.count, layer.index
        workspace.classifier.complete({index: sums}, {index: out.total}, rows)
        loss, correct = workspace.classifier.loss(targets.classes, targets.weights)
        flop = 0.0
        if math.isfinite(loss):
            workspace.classifier.backward(index, out, sums, rows, workspace.dz)
            workspace.classifier.step({index: out}, rows, rates.head)
            flop = layer.update(a, workspace.dz, workspace.ones[:rows], rates.layer)
        squares = float(out.total[:rows].sum(dtype=np.float64))
        return Loss(loss, (squares, correct), rows, rows, flop)

    def scores(self, layer: Layer, out: Activations, sums: np.ndarray, rows: int) -> np.ndarray:
        """Return the logits, (rows, classes) float32."""
        classifier: Classifier = layer.workspace.classifier
        classifier.complete({layer.index: sums}, {layer.index: out.total}, rows)
        return classifier.logits(rows)

    def formula(self, classes: int) -> Formula:
        """Return that of the classifier."""
        return Formula(Linear("classifier"))
