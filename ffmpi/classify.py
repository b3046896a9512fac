"""Classifiers: the softmax head on the activities of the layers, and the class with the greatest goodness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import draws, kernels
from .config import Config
from .layer import Activations, Parameters, row_scale


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
        self.inputs = {layer: Activations(count, rows) for layer, count in zip(self.layers, units, strict=True)}
        self._logits = Activations(classes, rows)
        self._squares = kernels.zeros(kernels.panels_of(classes), len(self._logits.total))
        pitch = self._logits.h.shape[1]
        self._ones = np.ones(pitch, np.float32)
        self._no_bias = kernels.zeros(*self.blocks[self.layers[0]].bias.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of weights, bias and moments."""
        return sum(block.nbytes for block in self.blocks.values())

    def _scale(self, a: Activations) -> np.ndarray:
        if self.config.head.normalise:
            return row_scale(self.config.network, a.total[: len(self._ones)], a.units)
        return self._ones

    def scores(self, inputs: dict[int, Activations], rows: int) -> np.ndarray:
        """Return the logits (rows, classes) float32 for neutral activities by layer."""
        out, logits = self._logits, np.zeros((rows, self.classes), np.float32)
        for layer, block in self.blocks.items():
            a = inputs[layer]
            kernels.forward(
                a.h, self._scale(a), block.w, block.bias, out.h, out.total, self._squares, rows, rectify=False
            )
            logits += kernels.from_panels(out.h, rows, self.classes)
        return logits

    def learn(self, inputs: dict[int, Activations], classes: np.ndarray, rate: float) -> HeadJudgement:
        """Take a step on the mean cross-entropy against `classes` (rows,); inputs as for `scores`."""
        rows = len(classes)
        logits = self.scores(inputs, rows).astype(np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        power = np.exp(shifted)
        norm = power.sum(axis=1, keepdims=True)
        picked = (np.arange(rows), classes)
        loss = float(np.sum(np.log(norm[:, 0]) - shifted[picked]))
        error = power / norm
        error[picked] -= 1
        out = self._logits
        padded = np.zeros((rows, len(out.h) * kernels.LANES), np.float32)
        padded[:, : self.classes] = error / rows
        out.h[:, :rows] = padded.reshape(rows, len(out.h), kernels.LANES).transpose(1, 0, 2)
        every, ones = np.arange(rows), self._ones[:rows]
        for layer, block in self.blocks.items():
            a = inputs[layer]
            block.step(self.config.head.optimizer, rate, a.h, self._scale(a)[:rows], ones, out.h, every)
            if not self.config.head.bias or layer != self.layers[0]:
                block.bias[:] = self._no_bias
        return HeadJudgement(loss, int(np.count_nonzero(logits.argmax(axis=1) == classes)))
