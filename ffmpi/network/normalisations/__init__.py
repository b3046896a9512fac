"""Normalisations between two layers: what each row is divided by; one file a normalisation."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ...config.fields import Member, Positive


class RowNorm(Member, frozen=True, kw_only=True):
    """Each row v of a layer's input, the image's, too, becomes v / (sqrt(sum v^2 / divisor) + epsilon)."""

    epsilon: Annotated[
        Positive, Meta(description="What is added to a row's norm before it is divided by that.")
    ] = 1e-8  # fmt: skip

    def divisor(self, units: int) -> int:
        """Return what the sum of a row's `units` squares is divided by."""
        raise NotImplementedError
