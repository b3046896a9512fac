"""Division by the root of the mean square."""

from __future__ import annotations

from . import Epsilon, Norm, RowNorm


class Rms(RowNorm, frozen=True, kw_only=True, tag="rms"):
    """A row is divided by the root of its mean square, as in Hinton's code."""

    epsilon: Epsilon = 1e-8

    def norm(self, units: int) -> Norm:
        """Return the root of the mean of `units` squares."""
        return Norm(units, self.epsilon)
