"""A layer by itself, for tests of learning rules: what it computes of some rows, and what it learns from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ffmpi import config, kernels
from ffmpi.network.activations import Activations
from ffmpi.network.layer import Layer
from ffmpi.rules import Loss, Rates, Targets


class OneLayer:
    """The second of two layers, with weights and inputs drawn; it learns by a rate of 1 without a running mean."""

    def __init__(self, rule: str, rows: int, inputs: int, units: int, classes: int, *settings: str) -> None:
        plain = ["optimizer.momentum=0", "optimizer.weight_decay=0", "head.optimizer.momentum=0",
            "head.optimizer.weight_decay=0", "head.init=uniform"]  # fmt: skip
        self.config = config.parse(
            "", "test", [f"rule.name={rule}", f"network.layers=[{inputs},{units}]", *plain, *settings]
        )
        self.rule, self.classes, self.rows = self.config.rule, classes, rows
        self.layer = Layer(self.config, 1, inputs, classes, rows, learns=True)
        self.layer.workspace = self.rule.workspace(self.config, self.layer, rows, classes)
        self.layer.initialise()
        outputs = self.rule.outputs(classes)
        self.a, self.out = Activations(inputs, rows, outputs), Activations(units, rows, outputs)
        rng = np.random.default_rng([rows, inputs, units])
        self.show(np.maximum(rng.standard_normal((rows, inputs)), 0))
        self.classes_shown = rng.integers(0, classes, rows)

    def show(self, a: np.ndarray) -> None:
        """Take `a` (rows, inputs) as the input."""
        self.a.h[:, : self.rows] = kernels.to_panels(a.astype(np.float32))
        self.a.total[: self.rows] = (a**2).sum(axis=1)

    @property
    def input(self) -> np.ndarray:
        """The input as the layer reads it, normalised, (rows, inputs) float64."""
        v = kernels.from_panels(self.a.h, self.rows, self.layer.inputs).astype(np.float64)
        return v / (np.sqrt((v**2).mean(axis=1, keepdims=True)) + self.config.network.normalise.epsilon)

    @property
    def output(self) -> np.ndarray:
        """Its last output, (rows, units) float64."""
        return kernels.from_panels(self.out.h, self.rows, self.layer.units).astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all parameters, float64, by block and name."""
        return {
            f"{block}/{array.name}": parameters.array(array.name).astype(np.float64)
            for block, parameters in self.layer.blocks.items()
            for array in parameters.block.arrays
        }

    def forward(self, *, training: bool, weights: np.ndarray | None = None) -> np.ndarray:
        """Compute and return the output."""
        self.rule.forward(self.layer, self.a, self.out, self.rows, training, weights)
        return self.output

    def learn(self, count: int, epoch: int = 0, weights: np.ndarray | None = None) -> Loss:
        """Let the layer learn from `count` samples, whose rows are all there are; `weights` as in `Targets`."""
        self.forward(training=True, weights=weights)
        targets = Targets(count, epoch, np.arange(count), self.classes_shown[:count], weights)
        sums = self.rule.learning_partial(self.layer, self.out, targets, self.rows)[0]
        found: Loss = self.rule.learn(self.layer, self.a, self.out, sums, targets, Rates(1.0, 1.0))
        return found

    def gradients(self, count: int, weights: np.ndarray | None = None) -> tuple[Loss, dict[str, np.ndarray]]:
        """Let the layer learn once, and return the loss and what was taken away from each parameter."""
        before = self.arrays()
        loss = self.learn(count, weights=weights)
        return loss, {name: before[name] - value for name, value in self.arrays().items()}


def derivative(loss: Callable[[], float], array: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Return the derivative of `loss` by `array`, float64, which it reads, by central differences."""
    found: Any = np.empty_like(array)
    for place in np.ndindex(array.shape):
        kept, ends = array[place], []
        for moved in (kept + step, kept - step):
            array[place] = moved
            ends.append(loss())
        array[place] = kept
        found[place] = (ends[0] - ends[1]) / (2 * step)
    return np.asarray(found)
