"""Inputs of the first layer from moved images: shifted, or cropped out of a padded border, and flipped."""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .compose import write_row


@compiled
def _move(image, down, right, flip, geometry, fill, moved):  # type: ignore[no-untyped-def]
    """Write the moved image: stretch by stretch, since the pixels of a line stay neighbours."""
    planes, height, width, depth = geometry
    line, first, last = width * depth, max(right, 0), width + min(right, 0)
    moved[:] = fill
    for plane in range(planes):
        for y in range(max(down, 0), height + min(down, 0)):
            start, source = (plane * height + y) * line, (plane * height + y - down) * line - right * depth
            if not flip:
                for i in range(first * depth, last * depth):
                    moved[start + i] = image[source + i]
            elif depth == 1:
                for x in range(first, last):
                    moved[start + width - 1 - x] = image[source + x]
            else:
                for x in range(first, last):
                    for channel in range(depth):
                        moved[start + (width - 1 - x) * depth + channel] = image[source + x * depth + channel]


@compiled
def compose_moved(images, samples, moves, geometry, fill, skipped, slope, offset, a, total):  # type: ignore[no-untyped-def]
    """Write one row of `a` for each entry of `samples`, its image moved, see `reference.move` and `reference.compose`.

    A row that is not moved has the bits that `compose` gives it.

    Parameters
    ----------
    images : (n, pixels) uint8 or float32
    samples : (rows,) int64, which image
    moves : (rows, 3) int64: pixels down, pixels to the right, each of either sign and any size, and whether (1, else 0)
        left and right are then exchanged
    geometry : planes, height, width, depth: (c, h, w, 1) for channels first, (1, h, w, c) for channels last; their
        product is the number of pixels
    fill : float32, a pixel's value, before scaling, where the image has moved away
    skipped, slope, offset, a, total : as for `compose`
    """
    moved, value = np.empty(images.shape[1], images.dtype), images.dtype.type(fill)
    for row in range(len(samples)):
        image, down, right, flip = images[samples[row]], moves[row, 0], moves[row, 1], moves[row, 2] != 0
        if down == 0 and right == 0 and not flip:
            write_row(image, row, skipped, slope, offset, a, total)
        else:
            _move(image, down, right, flip, geometry, value, moved)
            write_row(moved, row, skipped, slope, offset, a, total)
