"""Normalisations between two layers: the factor by which each row is multiplied; one file a normalisation."""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

from msgspec import Meta

from ...config.fields import Member, Positive

Epsilon = Annotated[Positive, Meta(description="What is added to a row's norm before it is divided by that.")]


class Norm(NamedTuple):
    """The norm of a row v that it is divided by: sqrt(sum v^2 / divisor) + epsilon."""

    divisor: float
    epsilon: float


class RowNorm(Member, frozen=True, kw_only=True):
    """Each row v of a layer's input, the image's, too, becomes f v, with a factor f of its own."""

    #: Whether rows have length 1 however many inputs there are, so that layers begin with small activations.
    unit_length: ClassVar[bool] = False

    def norm(self, units: int) -> Norm | None:
        """Return the norm that rows of `units` activations are divided by, f = 1 / norm; None if f is 1."""
        raise NotImplementedError  # each member of the family has its own
