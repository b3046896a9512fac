"""The same learning rate to the end."""

from __future__ import annotations

from . import LearningRate


class Constant(LearningRate, frozen=True, kw_only=True, tag="constant"):
    """The same rate in all epochs."""

    def share(self, epoch: int, epochs: int) -> float:
        """Return 1."""
        return 1.0
