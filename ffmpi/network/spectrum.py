"""How many directions a layer's activations span, and how many of its units are never active."""

from __future__ import annotations

import numpy as np


class Spectrum:
    """What is known of a layer's activations after any number of rows, in memory that does not grow with these."""

    def __init__(self, units: int) -> None:
        """Begin with no rows of so many units."""
        self._products = np.zeros((units, units))
        self._active = np.zeros(units, bool)

    @staticmethod
    def nbytes(units: int) -> int:
        """Return the bytes that one of so many units needs, also while it is asked for its rank."""
        return 2 * 8 * units * units

    def add(self, h: np.ndarray) -> None:
        """Take note of activations h (rows, units) float32."""
        exact = h.astype(np.float64)
        self._products += exact.T @ exact
        self._active |= (h > 0).any(axis=0)

    @property
    def dead(self) -> float:
        """The share of units that were not above zero in any row."""
        return 1.0 - float(self._active.mean())

    def effective_rank(self) -> float:
        """Return exp(-sum p ln p), where p are the singular values of all rows' activations, divided by their sum.

        That is Roy and Vetterli's effective rank (EUSIPCO 2007): 1 if all rows are multiples of one, r if r directions
        are equally strong; 0 here if all activations are zero. Those of less than the error of the greatest count as 0.
        """
        squares = np.linalg.eigvalsh(self._products)
        most = squares[-1]
        values = np.sqrt(squares[squares > len(squares) * np.finfo(np.float64).eps * most])
        if not len(values):
            return 0.0
        p = values / values.sum()
        return float(np.exp(-(p * np.log(p)).sum()))
