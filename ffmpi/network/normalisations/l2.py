"""Division by the length."""

from __future__ import annotations

from . import RowNorm


class L2(RowNorm, frozen=True, kw_only=True, tag="l2"):
    """A row is divided by its Euclidean length, as in the paper's code."""

    def divisor(self, units: int) -> int:
        """Return 1."""
        return 1
