"""Mirror images."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from ...config.fields import Share
from . import Augmentation


class Flip(Augmentation, frozen=True, kw_only=True, tag="flip"):
    """Left and right are exchanged in some images."""

    probability: Annotated[Share, Meta(description="Share of the images that are mirrored.")] = 0.5

    def moves(self, words: np.ndarray) -> np.ndarray:
        """See `Augmentation.moves`."""
        found = np.zeros((len(words), 3), np.int64)
        found[:, 2] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53 < self.probability
        return found
