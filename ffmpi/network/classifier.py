"""Linear softmax classifiers: the head on several layers, and those that a rule may have on single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from . import random
from .activations import Activations
from .normalise import Normalisation
from .parameters import Array, Block, Parameters

if TYPE_CHECKING:
    from ..config.schema import Config


def classifier_block(config: Config, units: int, classes: int) -> Block:
    """Return the declaration of a classifier's weights (units, classes) and bias (classes,)."""
    weights, bias = Array("weights", (units, classes), axis=0), Array("bias", (classes,), scope="layer")
    return Block((weights, bias), config.head.optimizer)


class Classifier:
    """A linear softmax classifier on the activations of some layers, with a block of weights for each.

    The blocks' logits are added in the order of the layers. The bias belongs to the first block.
    """

    def __init__(self, config: Config, blocks: dict[int, Parameters], classes: int, rows: int) -> None:
        """Read the layers that have `blocks`, in batches of at most `rows` rows."""
        self.config, self.classes, self.blocks = config, classes, blocks
        self._first = min(blocks)
        sizes = {layer: config.network.layers[layer] for layer in blocks}
        normalise = config.network.normalise.norm if config.head.normalise else lambda units: None
        self._normalisations = {layer: Normalisation(normalise(units), rows) for layer, units in sizes.items()}
        #: Whether a step is taken on the gradient of all batches of an epoch, instead of one on each batch's.
        self.once_an_epoch = config.head.step == "epoch"
        self._logits, self._product = Activations(classes, rows, {}), Activations(classes, rows, {})
        self._squares = kernels.zeros(kernels.panels_of(classes), len(self._logits.total))
        self._ones = np.ones(self._logits.h.shape[1], np.float32)
        self._without_bias = {layer for layer in blocks if layer != self._first or not config.head.bias}  # kept zero
        gathered = [layer for layer, block in blocks.items() if self.once_an_epoch and block.learns]
        self._gradients = {layer: blocks[layer].zero_gradient() for layer in gathered}

    def initialise(self) -> None:
        """Draw the weights to begin with, and the bias as one more row, unless they are zeros."""
        if self.config.head.init == "zero":
            return
        bound = 1 / float(np.sqrt(sum(block.inputs for block in self.blocks.values())))
        for layer, block in self.blocks.items():
            shape = block.inputs + 1, self.classes
            drawn = random.uniform(self.config.seed, random.Purpose.HEAD, layer, shape, bound)
            block.set_array("weights", drawn[:-1])
            if self.config.head.bias and layer == self._first:
                block.set_array("bias", drawn[-1])

    def forward(self, inputs: dict[int, Activations], rows: int) -> np.ndarray:
        """Compute and return the logits of the first `rows` rows of activations by layer, (panels, pitch, 16)."""
        for layer, block in self.blocks.items():
            a, out = inputs[layer], self._logits if layer == self._first else self._product
            normalisation = self._normalisations[layer]
            kernels.row_scale(a.total, rows, *normalisation.arguments)
            kernels.forward(
                a.h, normalisation.scale, block.w, block.bias, out.h, out.total, self._squares, rows,
                kernels.DENSE, False,
            )  # fmt: skip
            if out is self._product:
                self._logits.h += out.h
        return self._logits.h

    def logits(self, rows: int) -> np.ndarray:
        """Return what `forward` computed, (rows, classes) float32."""
        return kernels.from_panels(self._logits.h, rows, self.classes)

    def loss(self, classes: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, int]:
        """Return the summed cross-entropy of the logits with `classes` (rows,) int64, and how many are right.

        weights : (rows,) float32, how often each counts, once in the mean; None: once

        `step` uses the derivative of the mean.
        """
        loss, correct = kernels.softmax(self._logits.h, classes, self.classes, self._product.h, weights)
        return loss, correct

    def weigh(self, factor: float) -> None:
        """Take the batch's loss times `factor` in the derivatives that `backward` and `step` use."""
        self._product.h *= np.float32(factor)

    def backward(self, layer: int, h: np.ndarray, rows: int, dz: np.ndarray, slope: float = 0.0) -> None:
        """Write into `dz` the derivative by the layer's values before its activation function.

        h, dz : (panels, pitch, 16); slope : of the activation function below zero, 0 for a ReLU.
        """
        d, norm = self.blocks[layer].w, self._normalisations[layer]
        kernels.backward(
            self._product.h, self.classes, d, h, norm.scale, norm.divisor, norm.epsilon, np.float32(slope), rows, dz
        )

    def step(self, inputs: dict[int, Activations], rows: int, rate: float) -> None:
        """Take a step on the batch whose `loss` was returned last."""
        ones = self._ones[:rows]
        for layer, block in self.blocks.items():
            block.step(rate, inputs[layer].h, self._normalisations[layer].scale, ones, self._product.h)
            if layer in self._without_bias:
                block.bias[:] = 0

    def accumulate(self, inputs: dict[int, Activations], rows: int, share: float) -> None:
        """Add the batch's gradient to the epoch's, of which it is a `share`."""
        part = np.full(rows, share, np.float32)
        for layer, block in self.blocks.items():
            scale = self._normalisations[layer].scale
            block.add_gradient(self._gradients[layer], inputs[layer].h, scale, part, self._product.h)

    def step_on_epoch(self, rate: float) -> None:
        """Take a step on the gradient that has been added up, which then is zero again."""
        for layer, block in self.blocks.items():
            block.step_along(rate, self._gradients[layer])
            if layer in self._without_bias:
                block.bias[:] = 0
