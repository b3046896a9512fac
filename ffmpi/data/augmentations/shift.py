"""Images shifted by a few pixels; what comes in from beyond the border is 0."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from . import Augmentation


class Shift(Augmentation, frozen=True, kw_only=True, tag="shift"):
    """Images are shifted by up to some pixels, down or up and left or right: as crops out of a padded image."""

    pixels: Annotated[
        int, Meta(ge=1, le=255, description="The most in each direction, all equally likely.", extra={"unit": "pixels"})
    ] = 2

    def moves(self, words: np.ndarray) -> np.ndarray:
        """See `Augmentation.moves`; the upper half of a word says how far down, the lower how far to the right."""
        found = np.zeros((len(words), 3), np.int64)
        for column, half in enumerate((words >> np.uint64(32), words & np.uint64(2**32 - 1))):
            found[:, column] = ((half * np.uint64(2 * self.pixels + 1)) >> np.uint64(32)).astype(np.int64) - self.pixels
        return found
