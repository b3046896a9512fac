"""Constant, then falling linearly: the paper's schedule."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ...config.fields import Share
from . import LearningRate


class Linear(LearningRate, frozen=True, kw_only=True, tag="linear"):
    """Constant for a share of the epochs, then linear to 0 at the end (arXiv 2404.08573, section 5)."""

    constant: Annotated[
        Share, Meta(description="Share of the epochs before the rate falls.", extra={"unit": "share of the epochs"})
    ] = 0.5

    def share(self, epoch: int, epochs: int) -> float:
        """Return min(1, (E - e) / (E - constant E)) in epoch e of E."""
        constant = self.constant * epochs
        return min(1.0, (epochs - epoch) / (epochs - constant)) if epochs > constant else 1.0
