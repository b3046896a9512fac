"""The Swish rule: SymBa with a loss that turns up again where a pair is decided (explore_forward_forward's code)."""

from __future__ import annotations

import numpy as np

from .symba import Alpha, Symba


class Swish(Symba, frozen=True, kw_only=True, tag="swish"):
    """The swish function of alpha times how much more goodness the negative has than the positive.

    With v as for SymBa the loss of a pair is v sigmoid(v), and its derivative sigmoid(v) (1 + v (1 - sigmoid(v))):
    below v = -1.28 it is negative, so that decided pairs are not driven apart for ever.
    """

    alpha: Alpha = 6.0

    def pair_loss(self, v: np.ndarray, tail: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Symba.pair_loss`."""
        return v * s, s * (1 + v * (np.where(v >= 0, tail, 1) / (1 + tail)))
