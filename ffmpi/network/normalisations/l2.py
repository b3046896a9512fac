"""Division by the length."""

from __future__ import annotations

from typing import ClassVar

from . import Epsilon, Norm, RowNorm


class L2(RowNorm, frozen=True, kw_only=True, tag="l2"):
    """A row is divided by its Euclidean length, as in the paper's code."""

    epsilon: Epsilon = 1e-8

    unit_length: ClassVar[bool] = True

    def norm(self, units: int) -> Norm:
        """Return the length."""
        return Norm(1, self.epsilon)
