"""Images shifted by a few pixels; what comes in from beyond the border is 0."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from . import Augmentation, evenly


class Shift(Augmentation, frozen=True, kw_only=True, tag="shift"):
    """Images are shifted by up to some pixels, down or up and left or right."""

    pixels: Annotated[
        int, Meta(ge=1, le=255, description="The most in each direction, all equally likely.", extra={"unit": "pixels"})
    ] = 2

    def moves(self, words: np.ndarray) -> np.ndarray:
        """See `Augmentation.moves`."""
        return np.column_stack([evenly(words, self.pixels), np.zeros(len(words), np.int64)])
