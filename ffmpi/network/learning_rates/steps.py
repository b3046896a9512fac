"""Falling in steps: PyTorch's MultiStepLR."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

from msgspec import Meta

from ...config.fields import Count
from . import LearningRate


class Steps(LearningRate, frozen=True, kw_only=True, tag="steps"):
    """Multiplied by gamma at each milestone (PyTorch's MultiStepLR)."""

    milestones: Annotated[
        tuple[Count, ...],
        Meta(description="Numbers of epochs after which the rate falls, ascending.", extra={"unit": "epochs"}),
    ] = ()
    gamma: Annotated[
        float, Meta(gt=0, le=1, description="What the rate is multiplied by at each milestone.")
    ] = 0.1  # fmt: skip

    def share(self, epoch: int, epochs: int) -> float:
        """Return gamma to the power of the number of milestones up to `epoch`."""
        return float(self.gamma ** sum(milestone <= epoch for milestone in self.milestones))

    def conflict(self, config: Any) -> str:
        """Refuse milestones that are none of the run's."""
        every, epochs = [0, *self.milestones, config.train.epochs], config.train.epochs
        if not self.milestones or any(one >= other for one, other in pairwise(every)):
            return (
                f"learning_rate.milestones = {[*self.milestones]}: expected one epoch or more, ascending, below "
                f"train.epochs = {epochs}"
            )
        return super().conflict(config)
