"""Division by the root of the mean square."""

from __future__ import annotations

from . import RowNorm


class Rms(RowNorm, frozen=True, kw_only=True, tag="rms"):
    """A row is divided by the root of its mean square, as in Hinton's code."""

    def divisor(self, units: int) -> int:
        """Return the number of units."""
        return units
