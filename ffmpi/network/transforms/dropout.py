"""Dropout."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from ... import kernels
from ..activations import Activations
from . import Draw, Transform


class Dropout(Transform, frozen=True, kw_only=True, tag="dropout"):
    """Activations are set to zero with a probability p, and the others divided by 1 - p (Srivastava et al., JMLR 2014).

    As in PyTorch's Dropout; p is rounded to a multiple of 2^-16.
    """

    probability: Annotated[
        float, Meta(gt=0, le=0.99, description="How likely each activation is to be dropped.")
    ] = 0.1  # fmt: skip

    def apply(self, a: Activations, draw: Draw, out: Activations, squares: np.ndarray, adds: np.ndarray) -> None:
        """See `Transform.apply`."""
        samples, kinds, seed, epoch, purpose = draw
        kernels.dropout(
            a.h, len(samples), samples, kinds, seed, epoch, purpose, 0, self.probability,
            out.h, out.total[None], squares, adds,
        )  # fmt: skip
