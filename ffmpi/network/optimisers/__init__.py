"""Optimisers: from a gradient to a change of the weights; one file an optimiser."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from ...config.fields import Member, NotNegative, Positive

LearningRate = Annotated[Positive, Meta(description="Learning rate, before learning_rate's schedule.")]
WeightDecay = Annotated[
    NotNegative,
    Meta(description="Decoupled weight decay: each step takes learning rate x weight decay of a weight away."),
]


class Optimiser(Member, frozen=True, kw_only=True):
    """What an optimiser says of itself; the arithmetic is `kernels.update`'s."""

    learning_rate: LearningRate
    weight_decay: WeightDecay

    #: Which arithmetic of the kernels'.
    kind: ClassVar[int]
    #: Arrays of the weights' shape that it keeps for them: the first moment, and the second if there are two.
    moments: ClassVar[int]
    #: Whether `constants` differ from step to step.
    by_step: ClassVar[bool] = False

    def constants(self, steps: np.ndarray, learning_rate: float) -> np.ndarray:
        """Return what the kernels need in `steps`, (n,) int64 numbers from 1; see `kernels.sgd_constants`.

        It is (n, 8) float32 where it differs from step to step, else (8,).
        """
        raise NotImplementedError  # each member of the family has its own
