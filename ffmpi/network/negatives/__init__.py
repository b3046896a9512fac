"""Kinds of negatives: which wrong class a sample is shown with; one file a kind."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from msgspec import Meta

from ...config.fields import Member


class Negatives(Member, frozen=True, kw_only=True):
    """Wrong classes, one a sample."""

    resample: Annotated[
        Literal["chapter", "batch"],
        Meta(
            description="When there are new negatives, and with them the order of the samples: for each chapter, or "
            "whenever a batch is learnt."
        ),
    ] = "chapter"

    #: Whether the network's scores choose them; then there is `adaptive.Adaptive.choose`.
    adaptive: ClassVar[bool] = False

    def key(self, epoch: int, first: int) -> int:
        """Return what keys the random draw for `epoch` of the chapter whose first epoch is `first`."""
        return epoch if self.resample == "batch" else first


def wrong_classes(classes: np.ndarray, number: int) -> np.ndarray:
    """Return all but the true one of `number` classes for each of `classes` (n,), (n, number - 1) int64, ascending."""
    others = np.arange(number - 1)
    return others + (others >= classes[:, None])
