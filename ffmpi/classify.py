"""Classifiers: the softmax head on the activities of the layers, and the class with the greatest goodness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import draws, kernels
from .config import Config
from .layer import Activations, Normalisation, Parameters


@dataclass(frozen=True)
class HeadJudgement:
    """What the head says of one batch of neutral inputs; sums are over the rows."""

    loss: float
    correct: int


class Head:
    """A linear softmax classifier on the activities of several layers, a block of weights for each.

    The blocks' logits are added in the order of the layers. The bias belongs to the first block.
    """

    def __init__(self, config: Config, classes: int, rows: int) -> None:
        self.config, self.classes = config, classes
        self.layers = config.head_layers
        units = [config.network.layers[layer] for layer in self.layers]
        bound = 1 / float(np.sqrt(sum(units)))
        self.blocks: dict[int, Parameters] = {}
        for layer, count in zip(self.layers, units, strict=True):
            weights = np.zeros((count, classes), np.float32)
            if config.head.init == "uniform":
                weights = draws.uniform(config.seed, draws.Purpose.HEAD, layer, (count, classes), bound)
            self.blocks[layer] = Parameters.new(weights, config.head.optimizer)
        sizes = dict(zip(self.layers, units, strict=True))
        self.inputs = {layer: Activations(count, rows) for layer, count in sizes.items()}
        self._normalisations = {layer: Normalisation(config.network, count, rows) for layer, count in sizes.items()}
        self._logits, self._product = Activations(classes, rows), Activations(classes, rows)
        self._squares = kernels.zeros(kernels.panels_of(classes), len(self._logits.total))
        self._ones, self._every = np.ones(self._logits.h.shape[1], np.float32), np.arange(rows)
        self._no_bias = kernels.zeros(*self.blocks[self.layers[0]].bias.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of weights, bias and moments."""
        return sum(block.nbytes for block in self.blocks.values())

    def _scale(self, layer: int) -> np.ndarray:
        return self._normalisations[layer].scale if self.config.head.normalise else self._ones

    def _forward(self, inputs: dict[int, Activations], rows: int) -> None:
        """Leave the logits in panels."""
        out = self._product
        self._logits.h[:] = 0
        for layer, block in self.blocks.items():
            a = inputs[layer]
            if self.config.head.normalise:
                self._normalisations[layer].of(a, rows)
            kernels.forward(
                a.h, self._scale(layer), block.w, block.bias, out.h, out.total, self._squares, rows, rectify=False
            )
            self._logits.h += out.h

    def scores(self, inputs: dict[int, Activations], rows: int) -> np.ndarray:
        """Return the logits (rows, classes) float32 for neutral activities by layer."""
        self._forward(inputs, rows)
        return kernels.from_panels(self._logits.h, rows, self.classes)

    def learn(self, inputs: dict[int, Activations], classes: np.ndarray, rate: float) -> HeadJudgement:
        """Take a step on the mean cross-entropy against `classes` (rows,) int64; inputs as for `scores`."""
        rows, error = len(classes), self._product
        self._forward(inputs, rows)
        judgement = HeadJudgement(*kernels.softmax(self._logits.h, classes, self.classes, error.h))
        every, ones = self._every[:rows], self._ones[:rows]
        for layer, block in self.blocks.items():
            scale = self._scale(layer)[:rows]
            block.step(self.config.head.optimizer, rate, inputs[layer].h, scale, ones, error.h, every)
            if not self.config.head.bias or layer != self.layers[0]:
                block.bias[:] = self._no_bias
        return judgement
