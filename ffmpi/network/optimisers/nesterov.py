"""Stochastic gradient descent with Nesterov's momentum."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from ... import kernels
from ...config.fields import Fraction
from . import LearningRate, Optimiser, WeightDecay


class Nesterov(Optimiser, frozen=True, kw_only=True, tag="nesterov"):
    """Gradient descent that looks ahead: along momentum m + (1 - momentum) g, with sgd's m after its step.

    As Sutskever et al. have it (ICML 2013), and PyTorch's SGD at learning rate (1 - momentum) times this one.
    """

    learning_rate: LearningRate = 0.01
    weight_decay: WeightDecay = 0.001
    momentum: Annotated[Fraction, Meta(description="What the running mean keeps of itself in a step.")] = 0.9

    kind: ClassVar[int] = kernels.NESTEROV
    moments: ClassVar[int] = 1

    def constants(self, step: int, learning_rate: float) -> np.ndarray:
        """See `kernels.sgd_constants`."""
        return kernels.sgd_constants(learning_rate, self.weight_decay, self.momentum)
