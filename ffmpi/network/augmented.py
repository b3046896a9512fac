"""The first layer's input from moved images: what the augmentations do to the training samples."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..config.schema import Config
from ..data import DataSet
from ..data.augmentations import moves_of
from ..data.scaling import PixelScaling
from ..data.shapes import geometry_of
from . import random
from .activations import Inputs
from .inputs import InputBuilder
from .transformed import TransformedImages
from .window import Window


class AugmentedInputBuilder(InputBuilder):
    """Writes images as they are moved in the running epoch: the same in all its batches, and on every rank."""

    def __init__(
        self, config: Config, data: DataSet, scaling: PixelScaling | None, window: Window | None = None,
        transformed: TransformedImages | None = None,
    ) -> None:  # fmt: skip
        """See `InputBuilder`; `data` must be images."""
        super().__init__(config, data, scaling, window, transformed)
        geometry = geometry_of(data.shape)
        assert geometry is not None  # see setup
        self._config, self._geometry = config, geometry
        self._moved, self._moves = -1, np.empty((0, 3), np.int16)  # the epoch, and how images are moved in it

    def set_epoch(self, epoch: int) -> None:
        """Draw how each image is moved in `epoch`."""
        super().set_epoch(epoch)
        if epoch == self._moved:
            return
        count, seed = len(self.images), self._config.seed
        moves = moves_of(self._config.augment, count, lambda place: random.augmentation(seed, epoch, place, count))
        self._moved, self._moves = epoch, moves.astype(np.int16)

    def _compose(self, images: np.ndarray, rows: np.ndarray, samples: np.ndarray, out: Inputs) -> None:
        """Write them moved; what comes in from beyond the border is a pixel of 0."""
        moves = self._moves[samples].astype(np.int64)
        kernels.compose_moved(
            images, rows, moves, self._geometry, np.float32(0), self.skipped, self.slope, self.offset,
            out.h, out.total,
        )  # fmt: skip
