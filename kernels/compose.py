"""Inputs of the first layer: scaled pixels and their sums of squares, straight into panels."""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .constants import NEUTRAL
from .simd import LANES, horizontal_sum, load, mul


@compiled
def write_row(image, row, skipped, slope, offset, a, total):  # type: ignore[no-untyped-def]
    """Write an image (pixels,) into a row of `a`, see `compose`."""
    pixels, square = len(image), np.float32(0.0)
    for panel in range(-(-pixels // LANES)):
        start = panel * LANES
        if skipped <= start and start + LANES <= pixels:  # a whole panel: LLVM makes vectors of it
            for lane in range(LANES):
                a[panel, row, lane] = slope[start + lane] * np.float32(image[start + lane]) + offset[start + lane]
        else:
            for lane in range(max(skipped - start, 0), min(LANES, pixels - start)):
                a[panel, row, lane] = slope[start + lane] * np.float32(image[start + lane]) + offset[start + lane]
        values = load(a, (panel * a.shape[1] + row) * LANES)
        square += horizontal_sum(mul(values, values))
    total[row] = square


@compiled
def compose(images, samples, skipped, slope, offset, a, total):  # type: ignore[no-untyped-def]
    """Write one row of `a` for each entry of `samples`, see `reference.compose`.

    Parameters
    ----------
    images : (n, pixels) uint8 or float32
    samples : (rows,) int64, which image
    skipped : how many pixels from the first on are left zero, for labels to be written over them
    slope, offset : (pixels,) float32; an input is slope * pixel + offset
    a : (panels, pitch, 16) float32, written where pixels are; all else must be zero beforehand
    total : (pitch,) float32, written: sum of squares of each row
    """
    for row in range(len(samples)):
        write_row(images[samples[row]], row, skipped, slope, offset, a, total)


@compiled
def pairs(classes, negatives, samples, riders, first, source, labels):  # type: ignore[no-untyped-def]
    """Write which image each row shows and with which label.

    The rows are the positives of `samples`, their negatives, and `riders` neutral inputs of the images from `first` on.

    Parameters
    ----------
    classes, negatives : (n,) int64, the true and the wrong class of every sample
    samples : (count,) int64
    source, labels : (2 count + riders or more,) int64, written
    """
    count = len(samples)
    for i in range(count):
        source[i] = source[count + i] = i
        labels[i], labels[count + i] = classes[samples[i]], negatives[samples[i]]
    for i in range(riders):
        source[2 * count + i], labels[2 * count + i] = first + i, NEUTRAL
