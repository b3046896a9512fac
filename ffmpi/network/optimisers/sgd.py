"""Stochastic gradient descent along the running mean of the gradient."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from ... import kernels
from ...config.fields import Fraction
from . import LearningRate, Optimiser, WeightDecay


class Sgd(Optimiser, frozen=True, kw_only=True, tag="sgd"):
    """Gradient descent along a running mean of the gradient, m = momentum m + (1 - momentum) g, as in Hinton's code."""

    learning_rate: LearningRate = 0.01
    weight_decay: WeightDecay = 0.001
    momentum: Annotated[Fraction, Meta(description="What the running mean keeps of itself in a step.")] = 0.9

    kind: ClassVar[int] = kernels.SGD
    moments: ClassVar[int] = 1

    def constants(self, steps: np.ndarray, learning_rate: float) -> np.ndarray:
        """See `kernels.sgd_constants`."""
        return kernels.sgd_constants(learning_rate, self.weight_decay, self.momentum)
