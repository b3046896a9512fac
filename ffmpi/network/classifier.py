"""Linear softmax classifiers: the head on several layers, and those that a rule may have on single ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from . import random
from .activations import Activations
from .normalise import Normalisation
from .parameters import Array, Block, Parameters
from .tree import Tree

if TYPE_CHECKING:
    from ..config.schema import Config


def classifier_block(config: Config, units: int, classes: int) -> Block:
    """Return the declaration of a classifier's weights (units, classes) and bias (classes,)."""
    weights, bias = Array("weights", (units, classes), axis=0), Array("bias", (classes,), scope="layer")
    return Block((weights, bias), config.head.optimizer)


@lru_cache(1024)
def logits_size(rows: int, classes: int) -> int:
    """Return how many numbers the logits of `rows` rows are: (class panels, pitch, 16)."""
    return kernels.panels_of(classes) * kernels.padded_rows(rows) * kernels.LANES


class Room(dict[int, np.ndarray]):
    """Memory for logits by their rows, (nodes, class panels, pitch, 16) in one piece of memory."""

    def __init__(self, nodes: int, rows: int, classes: int) -> None:
        self._panels = kernels.panels_of(classes)
        self._flat, self._nodes = kernels.zeros(nodes * logits_size(rows, classes)), nodes

    def __missing__(self, rows: int) -> np.ndarray:
        shape = self._nodes, self._panels, kernels.padded_rows(rows), kernels.LANES
        found = self[rows] = self._flat[: shape[0] * shape[1] * shape[2] * shape[3]].reshape(shape)
        return found


class Classifier:
    """A linear softmax classifier on the activations of some layers, with a block of weights for each.

    The layers' logits are added in their order, and each is a sum over the layer's units: a classifier with blocks of
    pieces makes its nodes of the sums (`partial`), and once they are complete (`complete`) somebody makes the error of
    them (`loss`), with which every piece takes its `step`. The bias belongs to the first layer, and all its pieces have
    it.

    Attributes
    ----------
    blocks : by layer, the parameters that are here
    error : (class panels, pitch, 16) float32, the derivative of the batch's mean loss by the logits, as `loss` has made
        it or another rank
    scales : by layer, (rows or more,) float32, the factors by which its rows are normalised, as `complete` has made
        them or another rank
    """

    def __init__(
        self, config: Config, blocks: dict[int, Parameters], classes: int, rows: int,
        layers: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        """Read the activations of `layers`, those that have `blocks` unless others have more, in up to `rows` rows."""
        self.config, self.classes, self.blocks = config, classes, blocks
        layers = sorted(blocks if layers is None else layers)
        self._first = layers[0]
        sizes = {layer: config.network.layers[layer] for layer in layers}
        self._inputs = sum(sizes.values())
        normalise = config.network.normalise.norm if config.head.normalise else lambda units: None
        self._normalisations = {layer: Normalisation(normalise(units), rows) for layer, units in sizes.items()}
        self.scales: dict[int, np.ndarray] = {}
        #: Whether a step is taken on the gradient of all batches of an epoch, instead of one on each batch's.
        self.once_an_epoch = config.head.step == "epoch"
        self._trees = {}
        for layer, block in blocks.items():
            panels = kernels.panels_of(sizes[layer])
            part = range(panels) if block.part is None else block.part
            self._trees[layer] = Tree(part.start, part.stop, panels)
        self._raw = {layer: Room(tree.count, rows, classes) for layer, tree in self._trees.items()}
        self._logits, self._error = Room(1, rows, classes), Room(1, rows, classes)
        self.logits_in_panels, self.error = self._logits[0][0], self._error[0][0]
        self._ones = np.ones(kernels.padded_rows(rows), np.float32)
        self._no_bias = kernels.zeros(kernels.panels_of(classes), kernels.LANES)
        self._without_bias = {layer for layer in layers if layer != self._first or not config.head.bias}  # kept zero
        gathered = [layer for layer, block in blocks.items() if self.once_an_epoch and block.learns]
        self._gradients = {layer: blocks[layer].zero_gradient() for layer in gathered}

    def initialise(self) -> None:
        """Draw the weights to begin with, and the bias as one more row, unless they are zeros."""
        if self.config.head.init == "zero":
            return
        bound = 1 / float(np.sqrt(self._inputs))
        for layer, block in self.blocks.items():
            units = self.config.network.layers[layer]
            key, shape = (self.config.seed, random.Purpose.HEAD, layer), (units + 1, self.classes)
            own, every = block.span("weights")
            block.set_array("weights", random.uniform(*key, shape, bound, (own, every)))
            if self.config.head.bias and layer == self._first:
                last = slice(units, units + 1), slice(None)
                block.set_array("bias", random.uniform(*key, shape, bound, last)[0])

    def partial(self, layer: int, h: np.ndarray, rows: int) -> np.ndarray:
        """Return what is made here of a layer's logits, (nodes, `logits_size`), in memory that the next call uses.

        h : (panels, pitch, 16) float32, the layer's activations, or a piece's
        """
        out = self._raw[layer][rows]
        kernels.logits(h, self.blocks[layer].w, self._trees[layer].adds, rows, out)
        return out.reshape(len(out), -1)

    def complete(self, raw: Mapping[int, np.ndarray], totals: Mapping[int, np.ndarray], rows: int) -> np.ndarray:
        """Make the logits of `raw`, every layer's complete sum; return them, (class panels, pitch, 16).

        raw : by layer, (`logits_size`,) float32; totals : by layer, (rows or more,) float32, the sums of squares of
            its rows
        """
        made = self.logits_in_panels = self._logits[rows][0]
        for layer in sorted(raw):
            normalisation = self._normalisations[layer]
            bias = self.blocks[layer].bias if layer in self.blocks else self._no_bias
            sums, more = raw[layer].reshape(made.shape), layer != self._first
            kernels.complete_logits(sums, totals[layer], *normalisation.arguments, bias, rows, more, made)
            self.scales[layer] = normalisation.scale
        return made

    def forward(self, inputs: Mapping[int, Activations], rows: int) -> np.ndarray:
        """Compute and return the logits of the first `rows` rows of whole layers' activations, as `complete` does."""
        raw = {layer: self.partial(layer, a.h, rows)[0] for layer, a in inputs.items() if layer in self.blocks}
        return self.complete(raw, {layer: inputs[layer].total for layer in raw}, rows)

    def forward_alone(self, layer: int, a: Activations, rows: int) -> np.ndarray:
        """Compute and return the logits as they are without all layers but one, as `complete` does."""
        made = self.logits_in_panels = self._logits[rows][0]
        raw, norm = self.partial(layer, a.h, rows)[0].reshape(made.shape), self._normalisations[layer].arguments
        kernels.complete_logits(raw, a.total, *norm, self.blocks[self._first].bias, rows, False, made)
        return made

    def logits(self, rows: int) -> np.ndarray:
        """Return the logits made last, (rows, classes) float32."""
        return kernels.from_panels(self.logits_in_panels, rows, self.classes)

    def loss(self, classes: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, int]:
        """Return the summed cross-entropy of the logits with `classes` (rows,) int64, and how many are right.

        weights : (rows,) float32, how often each counts, once in the mean; None: once

        The derivative of the mean is `error` then.
        """
        self.error = self._error[len(classes)][0]
        loss, correct = kernels.softmax(self.logits_in_panels, classes, self.classes, self.error, weights)
        return loss, correct

    def weigh(self, factor: float) -> None:
        """Take the batch's loss times `factor` in the derivatives that `backward` and `step` use."""
        self.error *= np.float32(factor)

    def backward(
        self, layer: int, a: Activations, raw: np.ndarray, rows: int, dz: np.ndarray, slope: float = 0.0
    ) -> None:  # fmt: skip
        """Write into `dz` the derivative by the layer's values before its activation function.

        raw : (`logits_size`,) float32, the layer's complete sum; dz : (panels, pitch, 16), of the piece as `a` is;
        slope : of the activation function below zero, 0 for a ReLU
        """
        d, norm = self.blocks[layer].w, self._normalisations[layer]
        kernels.backward(
            self.error, self.classes, d, a.h, raw.reshape(self.error.shape), self.scales[layer],
            norm.divisor, norm.epsilon, np.float32(slope), rows, dz,
        )  # fmt: skip

    def step(self, inputs: Mapping[int, Activations], rows: int, rate: float) -> None:
        """Let what is here take a step on the batch whose `error` is there, from its own activations by layer."""
        ones = self._ones[:rows]
        for layer, block in self.blocks.items():
            a = inputs[layer]
            block.step(rate, a.h, self.scales[layer], ones, self.error)
            if layer in self._without_bias:
                block.bias[:] = 0

    def accumulate(self, inputs: Mapping[int, Activations], rows: int, share: float) -> None:
        """Add the batch's gradient to the epoch's, of which it is a `share`."""
        part = np.full(rows, share, np.float32)
        for layer, block in self.blocks.items():
            a = inputs[layer]
            block.add_gradient(self._gradients[layer], a.h, self.scales[layer], part, self.error)

    def step_on_epoch(self, rate: float) -> None:
        """Take a step on the gradient that has been added up, which then is zero again."""
        for layer, block in self.blocks.items():
            block.step_along(rate, self._gradients[layer])
            if layer in self._without_bias:
                block.bias[:] = 0
