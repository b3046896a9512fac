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
        raise NotImplementedError  # each member of the family has its own


def evenly(words: np.ndarray, most: int) -> np.ndarray:
    """Return for each of `words` (n,) uint64 two whole numbers from -most to most, all equally likely: (n, 2) int64.

    The first is made from the word's upper half, the second from its lower one.
    """
    halves = np.stack([words >> np.uint64(32), words & np.uint64(2**32 - 1)], axis=1)
    return ((halves * np.uint64(2 * most + 1)) >> np.uint64(32)).astype(np.int64) - most


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
