"""The local-error rule: batch normalisation, a leaky ReLU, and two losses on each layer's own activations.

Nokland and Eidnes, "Training Neural Networks with Local Error Signals", arXiv 1901.06656.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta

from .. import kernels
from ..config.fields import Fraction, Positive
from ..network.activations import Activations
from ..network.classifier import logits_size
from ..network.parameters import Array, Block
from ..schedule.core import Core, Cost
from ..schedule.cost import RuleCost
from . import BatchNorm, Formula, Loss, Rates, Targets
from .local_softmax import LocalSoftmax, Workspace

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..network.layer import Layer


class _Workspace(Workspace):
    """Beside the classifier a batch's values before batch normalisation, their statistics, and room for the way back.

    Attributes
    ----------
    z : the values; mean, variance : of each unit over the batch's rows
    by_gain, by_shift : derivatives
    sums : logits and then inner products and sums of the rows, as they are added up over the units
    """

    def __init__(self, config: Config, layer: Layer, rows: int, classes: int, similarity: bool) -> None:
        super().__init__(config, layer, rows, classes)
        self.z = Activations(layer.own_units, rows, {})
        panels = len(self.z.h)
        self.squares = kernels.zeros(panels, len(self.z.total))
        self.mean, self.variance, self.by_gain, self.by_shift = (kernels.zeros(panels, kernels.LANES) for _ in range(4))
        numbers = layer.config.rule.share_size(layer.units, rows, classes, learning=True)
        self.sums = kernels.zeros(layer.tree.count * numbers if similarity and layer.learns else 0)


class LocalError(LocalSoftmax, frozen=True, kw_only=True, tag="local-error"):
    """Cross-entropy of a linear classifier and similarity of rows of one class, after batch normalisation in the layer.

    h = leaky ReLU(batch normalisation(z)); loss = (1 - similarity) x cross-entropy + similarity x similarity loss
    (docs/design.md, section 3.5). The similarity loss reads h as it is, without the paper's matrix of its own.
    """

    similarity: Annotated[
        Fraction, Meta(description="Share of the similarity loss; 0: the classifier's cross-entropy alone.")
    ] = 0.0  # fmt: skip
    negative_slope: Annotated[Fraction, Meta(description="Slope of the leaky ReLU below zero.")] = 0.01
    momentum: Annotated[
        float, Meta(gt=0, le=1, description="How much of a batch's mean and variance comes into the running ones.")
    ] = 0.1  # fmt: skip
    epsilon: Annotated[Positive, Meta(description="What is added to a variance before its root divides.")] = 1e-5

    def conflict(self, config: Any) -> str:
        """Refuse batches that have no variance."""
        if config.train.batch_size == 1:
            return (
                f"train.batch_size = 1: rule.name = {self.name!r} normalises each unit over a batch's samples; "
                "expected at least 2"
            )
        return super().conflict(config)

    def misfit(self, config: Any, classes: int) -> str:
        """Refuse weights of pairs of samples."""
        if self.similarity and config.data.weights:
            return (
                f"data.weights = {config.data.weights!r} with rule.similarity = {self.similarity:g}: the similarity "
                "loss is of pairs of samples, which have no weights; expected rule.similarity = 0"
            )
        return super().misfit(config, classes)

    def blocks(self, config: Config, units: int, classes: int) -> dict[str, Block]:
        """Return the classifier, and each unit's gain and shift with its running mean and variance."""
        learnt = Array("gain", (units,), start=1.0), Array("shift", (units,))
        kept = (
            Array("mean", (units,), learnt=False),
            Array("variance", (units,), learnt=False, start=1.0, nonnegative=True),
        )
        return super().blocks(config, units, classes) | {"norm": Block((*learnt, *kept), config.optimizer)}

    def workspace(self, config: Config, layer: Layer, rows: int, classes: int) -> _Workspace:
        """Return the classifier with its scratch memory, and that of the normalisation."""
        return _Workspace(config, layer, rows, classes, self.similarity > 0)

    def initialise(self, config: Config, layer: Layer) -> None:
        """Draw the classifier's weights, unless they begin with zeros; a layer has no bias beside its shifts."""
        super().initialise(config, layer)
        layer.parameters.bias[:] = 0

    def cost(self, config: Config, index: int, classes: int, batches: float) -> RuleCost:
        """Return what the classifier, the normalisation and, of rows with rows, the similarity take."""
        found, similar = LocalSoftmax.cost(self, config, index, classes, batches), 3.0 * (self.similarity > 0)

        def update(core: Core, rows: float, units: int) -> Cost:
            passes = core.copied(5 * rows * units)  # over the activations
            flop = similar * rows * rows * units
            return found.update(core, rows, units).plus(passes, Cost(flop, 0.0, flop / (_SIMILAR * core.forward.rate)))

        return RuleCost(1.0, 1.0, found.scores, update)

    def forward(
        self, layer: Layer, a: Activations, out: Activations, rows: int, training: bool,
        weights: np.ndarray | None = None,
    ) -> float:  # fmt: skip
        """Normalise by the batch to learn from it, otherwise by the running statistics."""
        room, norm = layer.workspace, layer.blocks["norm"].panels
        flop = layer.forward(a, room.z, rows, rectify=False)
        mean, variance = norm["mean"], norm["variance"]
        if training:
            momentum = np.float32(self.momentum)
            kernels.batch_statistics(room.z.h, rows, momentum, room.mean, room.variance, mean, variance, weights)
            mean, variance = room.mean, room.variance
        kernels.batch_norm(
            room.z.h, rows, mean, variance, np.float32(self.epsilon), norm["gain"], norm["shift"],
            np.float32(self.negative_slope), out.h, layer.totals_of(out), room.squares, layer.tree.adds,
        )  # fmt: skip
        return flop

    def formula(self, classes: int) -> Formula:
        """Return that of the classifier, with the running statistics and the leaky ReLU."""
        scores = super().formula(classes).scores
        return Formula(scores, BatchNorm("norm", self.epsilon), self.negative_slope)

    def share_size(self, units: int, rows: int, classes: int, learning: bool) -> int:
        """Return that of the logits and, to learn with the similarity loss, of products and sums of the rows."""
        more = rows * (rows + 1) if learning and self.similarity else 0
        return super().share_size(units, rows, classes, learning) + more

    def learning_partial(self, layer: Layer, out: Activations, targets: Targets, rows: int) -> np.ndarray:
        """Return the logits and, with the similarity loss, the inner products and sums of the rows."""
        logits = self.partial(layer, out, rows)
        if not self.similarity:
            return logits
        numbers = self.share_size(layer.units, rows, layer.classes, learning=True)
        sums: np.ndarray = layer.workspace.sums[: layer.tree.count * numbers].reshape(-1, numbers)
        sums[:, : logits.shape[1]] = logits
        kernels.gram(out.h, rows, layer.tree.adds, sums, logits.shape[1])
        return sums

    def learn(
        self, layer: Layer, a: Activations, out: Activations, sums: np.ndarray, targets: Targets, rates: Rates
    ) -> Loss:  # fmt: skip
        """Let the layer, its normalisation and its classifier take a step together."""
        workspace, rows = layer.workspace, targets.count
        dz, slope, classifier, index = workspace.dz, self.negative_slope, workspace.classifier, layer.index
        size = logits_size(rows, layer.classes)
        logits, products, means = sums[:size], sums[size : size + rows * rows], sums[size + rows * rows :]
        classifier.complete({index: logits}, {index: out.total}, rows)
        loss, correct = classifier.loss(targets.classes, targets.weights)
        if self.similarity:
            arguments = (layer.units, targets.classes, classifier.classes, self.similarity)
            products = products.reshape(rows, rows)
            alike = kernels.similarity_loss(products, means, *arguments, products, means)
            classifier.weigh(1 - self.similarity)
            loss = (1 - self.similarity) * loss + self.similarity * alike
        flop = 0.0
        if math.isfinite(loss):
            classifier.backward(index, out, logits, rows, dz, slope)
            if self.similarity:
                kernels.similarity_backward(products, out.h, means, layer.own_units, np.float32(slope), dz)
                flop += 3.0 * rows * rows * layer.own_units
            classifier.step({index: out}, rows, rates.head)
            self._normalise_backward(layer, rows, dz, rates.layer, targets.weights)
            flop += layer.update(a, dz, workspace.ones[:rows], rates.layer)
            layer.parameters.bias[:] = 0  # normalising takes it away again
        squares = float(out.total[:rows].sum(dtype=np.float64))
        return Loss(loss, (squares, correct), rows, rows, flop)

    def _normalise_backward(
        self, layer: Layer, rows: int, dz: np.ndarray, rate: float, weights: np.ndarray | None
    ) -> None:  # fmt: skip
        """Turn the derivative by normalised values into that by the values before, and let gains and shifts learn."""
        room, norm = layer.workspace, layer.blocks["norm"]
        kernels.batch_norm_backward(
            dz, room.z.h, rows, room.mean, room.variance, np.float32(self.epsilon), norm.panels["gain"], False,
            dz, room.by_gain, room.by_shift, weights,
        )  # fmt: skip
        norm.step_vectors(rate, {"gain": room.by_gain, "shift": room.by_shift})


#: How fast products of rows with rows are, which are small, beside a forward's: measured 34 to 43 GFLOP/s of 105.
_SIMILAR = 0.38
