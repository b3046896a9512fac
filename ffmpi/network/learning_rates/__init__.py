"""Learning-rate schedules: which part of its learning rate an optimiser takes in each epoch; one file a schedule."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from ...config.fields import CountOrNone, Member


class LearningRate(Member, frozen=True, kw_only=True):
    """A pure function of the epoch, the same for the layers' optimiser and the head's.

    With a warm-up of w epochs the first ones have 1/(w+1), 2/(w+1), ... of what the schedule says: PyTorch's
    ChainedScheduler of LinearLR(start_factor=1/(w+1), total_iters=w) and the schedule.
    """

    warmup: Annotated[
        CountOrNone,
        Meta(description="Epochs in which the rate rises linearly to what it would be.", extra={"unit": "epochs"}),
    ] = 0

    def factor(self, epoch: int, epochs: int) -> float:
        """Return what the learning rate is multiplied by in `epoch`, from 0, of `epochs`."""
        return self.share(epoch, epochs) * min(1.0, (epoch + 1) / (self.warmup + 1))

    def share(self, epoch: int, epochs: int) -> float:
        """Return `factor` without the warm-up."""
        raise NotImplementedError  # each member of the family has its own

    def conflict(self, config: Any) -> str:
        """Refuse a warm-up that outlasts the run."""
        if self.warmup > config.train.epochs:
            return f"learning_rate.warmup = {self.warmup}: expected at most train.epochs = {config.train.epochs}"
        return ""
