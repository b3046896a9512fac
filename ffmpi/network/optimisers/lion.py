"""Lion: steps along the sign of a mean of the gradient."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from ... import kernels
from ...config.fields import Fraction
from . import LearningRate, Optimiser, WeightDecay


class Lion(Optimiser, frozen=True, kw_only=True, tag="lion"):
    """Lion (Chen et al., arXiv 2302.06675): each weight moves by the learning rate, along the sign of a mean gradient.

    The authors advise a learning rate 3 to 10 times smaller than Adam's, and as many times more weight decay.
    """

    learning_rate: LearningRate = 0.0001
    weight_decay: WeightDecay = 0.0
    beta1: Annotated[
        Fraction, Meta(description="Share of the running mean in the mean of which the sign is taken.")
    ] = 0.9  # fmt: skip
    beta2: Annotated[Fraction, Meta(description="What the running mean keeps of itself in a step.")] = 0.99

    kind: ClassVar[int] = kernels.LION
    moments: ClassVar[int] = 1

    def constants(self, steps: np.ndarray, learning_rate: float) -> np.ndarray:
        """See `kernels.lion_constants`."""
        return kernels.lion_constants(learning_rate, self.weight_decay, self.beta1, self.beta2)
