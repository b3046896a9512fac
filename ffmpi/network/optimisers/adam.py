"""Adam with decoupled weight decay."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from ... import kernels
from ...config.fields import Fraction, Positive
from . import LearningRate, Optimiser, WeightDecay


class Adam(Optimiser, frozen=True, kw_only=True, tag="adam"):
    """Adam (Kingma and Ba, arXiv 1412.6980), with decoupled weight decay (AdamW, arXiv 1711.05101)."""

    learning_rate: LearningRate = 0.001
    weight_decay: WeightDecay = 0.0
    beta1: Annotated[Fraction, Meta(description="What the mean of the gradient keeps of itself in a step.")] = 0.9
    beta2: Annotated[Fraction, Meta(description="What the mean of its square keeps of itself in a step.")] = 0.999
    epsilon: Annotated[Positive, Meta(description="What is added to the root of that mean.")] = 1e-8

    kind: ClassVar[int] = kernels.ADAM
    moments: ClassVar[int] = 2
    by_step: ClassVar[bool] = True

    def constants(self, steps: np.ndarray, learning_rate: float) -> np.ndarray:
        """See `kernels.adam_constants`."""
        return kernels.adam_constants(
            steps, learning_rate, self.weight_decay, self.beta1, self.beta2, self.epsilon
        )  # fmt: skip
