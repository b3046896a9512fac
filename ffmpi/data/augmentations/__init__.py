"""Augmentations: how training images are moved, anew in each epoch; one file an augmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...config.fields import Member


class Augmentation(Member, frozen=True, kw_only=True):
    """A random move of each image, drawn from one word a sample."""

    def moves(self, words: np.ndarray) -> np.ndarray:
        """Return for each of `words` (n,) uint64 the pixels down, those to the right, and 1 for a mirror image, else 0.

        (n, 3) int64; left and right are exchanged after the shift.
        """
        raise NotImplementedError


def geometry_of(shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """Return planes, height, width and depth of images of `shape`; None for samples that are no images.

    (height, width); colours first, (3, height, width); or last, (height, width, 3). One channel counts as a colour.
    """
    if len(shape) == 2:
        return 1, *shape, 1
    if len(shape) == 3 and shape[2] in (1, 3, 4) and shape[0] not in (1, 3, 4):
        return 1, *shape
    return (*shape, 1) if len(shape) == 3 else None


def moves_of(augment: Sequence[Augmentation], count: int, draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return what all of `augment`, one after the other, do to `count` images, (count, 3) int64.

    ``draw(place)`` gives (count,) uint64 words for the augmentation at that place.
    """
    total = np.zeros((count, 3), np.int64)
    for place, one in enumerate(augment):
        down, right, flip = one.moves(draw(place)).T
        total[:, 0] += down
        total[:, 1] += np.where(total[:, 2], -right, right)  # what moves a mirror image to the right
        total[:, 2] ^= flip
    return total
