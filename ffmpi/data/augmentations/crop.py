"""Random crops of the image's own size, out of the image with a border of zeros."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from . import Augmentation, evenly


class Crop(Augmentation, frozen=True, kw_only=True, tag="crop"):
    """A random part, as large as the image, of the image with a border of zeros: torchvision's RandomCrop."""

    padding: Annotated[int, Meta(ge=1, le=255, description="Width of the border.", extra={"unit": "pixels"})] = 4

    def moves(self, words: np.ndarray) -> np.ndarray:
        """See `Augmentation.moves`; every place where the crop may begin is equally likely."""
        return np.column_stack([evenly(words, self.padding), np.zeros(len(words), np.int64)])
