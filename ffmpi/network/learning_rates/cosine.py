"""Falling along half a cosine: PyTorch's CosineAnnealingLR."""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta

from ...config.fields import Share
from . import LearningRate


class Cosine(LearningRate, frozen=True, kw_only=True, tag="cosine"):
    """Half a cosine from the whole rate to its minimum (Loshchilov and Hutter, arXiv 1608.03983, equation 5)."""

    minimum: Annotated[
        Share, Meta(description="What is left of the rate at the end.", extra={"unit": "share of the rate"})
    ] = 0.0  # fmt: skip

    def share(self, epoch: int, epochs: int) -> float:
        """Return m + (1 - m) (1 + cos(pi e / E)) / 2 in epoch e of E."""
        return self.minimum + (1 - self.minimum) * (1 + math.cos(math.pi * epoch / epochs)) / 2
