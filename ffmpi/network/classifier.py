"""Softmax classifiers: the head on several layers, and with the local-softmax rule one on each layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import kernels
from ..config.schema import Config
from . import random
from .layer import Activations, Normalisation, Parameters


@dataclass(frozen=True)
class Loss:
    """What a classifier says of one batch; sums are over the rows."""

    loss: float
    correct: int


class Classifier:
    """A linear softmax classifier on the activities of some layers, with a block of weights for each.

    The blocks' logits are added in the order of the layers. The bias belongs to the first block.
    """

    def __init__(self, config: Config, layers: tuple[int, ...], classes: int, rows: int) -> None:
        """Make room for batches of at most `rows` rows."""
        self.config, self.classes, self.layers = config, classes, layers
        sizes = {layer: config.network.layers[layer] for layer in layers}
        self.blocks = {layer: Parameters(units, classes, config.head.optimizer) for layer, units in sizes.items()}
        self._normalisations = {layer: Normalisation(config.network, units, rows) for layer, units in sizes.items()}
        self._logits, self._product = Activations(classes, rows), Activations(classes, rows)
        self._squares = kernels.zeros(kernels.panels_of(classes), len(self._logits.total))
        self._ones = np.ones(self._logits.h.shape[1], np.float32)
        self._no_bias = kernels.zeros(*self.blocks[layers[0]].bias.shape)
        self._gradients = {layer: block.zero_gradient() for layer, block in self.blocks.items() if self.once_an_epoch}

    @property
    def once_an_epoch(self) -> bool:
        """Whether a step is taken on the gradient of all batches of an epoch, instead of one on each batch's."""
        return self.config.head.step == "epoch"

    def initialise(self) -> None:
        """Draw the weights to begin with, and the bias as one more row, unless they are zeros."""
        if self.config.head.init == "zero":
            return
        bound = 1 / float(np.sqrt(sum(block.inputs for block in self.blocks.values())))
        for layer, block in self.blocks.items():
            shape = block.inputs + 1, self.classes
            drawn = random.uniform(self.config.seed, random.Purpose.HEAD, layer, shape, bound)
            block.set_array("weights", drawn[:-1])
            if self.config.head.bias and layer == self.layers[0]:
                block.set_array("bias", drawn[-1])

    def _scale(self, layer: int) -> np.ndarray:
        return self._normalisations[layer].scale if self.config.head.normalise else self._ones

    def forward(self, inputs: dict[int, Activations], rows: int) -> None:
        """Compute the logits of the first `rows` rows of activities by layer."""
        for layer, block in self.blocks.items():
            a, out = inputs[layer], self._logits if layer == self.layers[0] else self._product
            if self.config.head.normalise:
                self._normalisations[layer].of(a, rows)
            kernels.forward(
                a.h, self._scale(layer), block.w, block.bias, out.h, out.total, self._squares, rows, rectify=False
            )
            if out is self._product:
                self._logits.h += out.h

    def logits(self, rows: int) -> np.ndarray:
        """Return what `forward` computed, (rows, classes) float32."""
        return kernels.from_panels(self._logits.h, rows, self.classes)

    def loss(self, classes: np.ndarray) -> Loss:
        """Compare the logits with `classes` (rows,) int64; `step` uses the derivative of their mean cross-entropy."""
        return Loss(*kernels.softmax(self._logits.h, classes, self.classes, self._product.h))

    def backward(self, layer: int, h: np.ndarray, rows: int, dz: np.ndarray) -> None:
        """Write into `dz` the derivative by the layer's values before its ReLU; h, dz : (panels, pitch, 16)."""
        normalisation, normalised = self._normalisations[layer], self.config.head.normalise
        divisor = normalisation.divisor if normalised else np.float32(0)
        d, scale = self.blocks[layer].w, self._scale(layer)
        kernels.backward(self._product.h, self.classes, d, h, scale, divisor, normalisation.eps, rows, dz)

    def step(self, inputs: dict[int, Activations], rows: int, rate: float) -> None:
        """Take a step on what `judge` has said."""
        ones = self._ones[:rows]
        for layer, block in self.blocks.items():
            block.step(self.config.head.optimizer, rate, inputs[layer].h, self._scale(layer), ones, self._product.h)
            self._reset_bias(layer)

    def accumulate(self, inputs: dict[int, Activations], rows: int, samples: int) -> None:
        """Add what `judge` has said, as a share of the mean over the epoch's `samples`, to the epoch's gradient."""
        share = np.full(rows, rows / samples, np.float32)
        for layer, block in self.blocks.items():
            block.add_gradient(self._gradients[layer], inputs[layer].h, self._scale(layer), share, self._product.h)

    def step_on_epoch(self, rate: float) -> None:
        """Take a step on the gradient that has been added up, which then is zero again."""
        for layer, block in self.blocks.items():
            block.step_along(self.config.head.optimizer, rate, self._gradients[layer])
            self._reset_bias(layer)

    def _reset_bias(self, layer: int) -> None:
        """Keep the bias of a block that has none zero."""
        if not self.config.head.bias or layer != self.layers[0]:
            self.blocks[layer].bias[:] = self._no_bias
