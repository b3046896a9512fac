"""Inputs of the first layer: pixels scaled, labels in their places, sums of squares, straight into panels."""

from __future__ import annotations

import numpy as np
from numba import njit

from .simd import LANES, horizontal_sum, load, mul

NEUTRAL = -1


@njit(nogil=True, cache=True)
def compose(images, samples, labels, classes, place, slope, offset, a, total):  # type: ignore[no-untyped-def]
    """Write one row of `a` for each entry of `samples`, see `reference.compose`.

    Parameters
    ----------
    images : (n, pixels) uint8 or float32
    samples : (rows,) int64, which image
    labels : (rows,) int64, the class to show, or NEUTRAL for 1/classes in every label place
    classes : number of label places
    place : where the first label place is: 0 writes over the first pixels, `pixels` appends
    slope, offset : float32; an input is slope * pixel + offset
    a : (panels, pitch, 16) float32, written; padding columns must be zero beforehand
    total : (pitch,) float32, written: sum of squares of each row
    """
    pixels = images.shape[1]
    even = np.float32(1.0) / np.float32(classes)
    for row in range(len(samples)):
        image = images[samples[row]]
        for panel in range(len(a)):
            start = panel * LANES
            for lane in range(min(LANES, pixels - start)):
                a[panel, row, lane] = slope * np.float32(image[start + lane]) + offset
        for k in range(classes):
            shown = even if labels[row] == NEUTRAL else np.float32(labels[row] == k)
            a[(place + k) // LANES, row, (place + k) % LANES] = shown
        square = np.float32(0.0)
        for panel in range(len(a)):
            values = load(a, (panel * a.shape[1] + row) * LANES)
            square += horizontal_sum(mul(values, values))
        total[row] = square
