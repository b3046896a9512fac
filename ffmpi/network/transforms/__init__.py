"""Transforms: what happens to a layer's input, or to images, while a layer learns from it; one file a transform."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...config.fields import Member
from ..activations import Activations

#: More in a list would have the same keys of random draws as the first ones.
MOST = 64


class Draw(NamedTuple):
    """What random numbers for some rows are keyed by.

    samples, kinds : (rows,) int64, each row's sample, and what it shows of that: see `BatchLayout.kinds`
    seed, epoch : of the run, and in which the layer learns
    purpose : what the numbers are for, another one for each layer, or images, and place in the list of transforms
    """

    samples: np.ndarray
    kinds: np.ndarray
    seed: int
    epoch: int
    purpose: int


class Transform(Member, frozen=True, kw_only=True):
    """A change of the activations, or of the images, from which the layer above learns, before they are normalised."""

    def conflict(self, config: Any) -> str:
        """Refuse more than there are keys for."""
        for name in ("transforms", "input_transforms"):
            if (count := len(getattr(config.network, name))) > MOST:
                return f"network.{name} has {count} entries: expected at most {MOST}"
        return ""

    def apply(self, a: Activations, draw: Draw, out: Activations, squares: np.ndarray, adds: np.ndarray) -> None:
        """Write into `out`, which may be `a`, what becomes of the rows of `a`, with their sums of squares.

        squares : (panels, pitch rounded up to 16) float32, scratch
        adds : (panels,) int64, in which order sums of squares are added up, see `network.tree`
        """
        raise NotImplementedError  # each member of the family has its own
