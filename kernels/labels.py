"""The first layer's forward: rows that show the same image with different labels share the image's product."""

from __future__ import annotations

import numpy as np
from numba import prange

from .compiled import compiled
from .constants import NEUTRAL
from .forward import PRODUCT, compute, compute_parallel
from .scale import Norm, row_scale_labelled
from .simd import LANES, add, fma, horizontal_sum, load, mul, relu, splat, store
from .sparse import Memory
from .tree import add_panels


@compiled
def _panels(first, last, product, source, labels, label_offset, classes, value, scale, w, bias, h, squares):  # type: ignore[no-untyped-def]
    """Complete the unit panels [first, last): no two of them touch the same memory."""
    inputs, pitch, out_pitch = w.shape[1], product.shape[1], h.shape[1]
    whole, share = splat(value), splat(value / np.float32(classes))
    for panel in range(first, last):
        even = splat(np.float32(0.0))
        for k in range(classes):
            even = fma(load(w, (panel * inputs + label_offset + k) * LANES), share, even)
        for row in range(len(source)):
            shown = load(product, (panel * pitch + source[row]) * LANES)
            if labels[row] == NEUTRAL:
                shown = add(shown, even)
            else:
                shown = fma(load(w, (panel * inputs + label_offset + labels[row]) * LANES), whole, shown)
            activation = relu(fma(shown, splat(scale[row]), load(bias, panel * LANES)))
            store(h, (panel * out_pitch + row) * LANES, activation)
            squares[panel, row] = horizontal_sum(mul(activation, activation))


@compiled(parallel=True)
def _panels_parallel(threads, product, source, labels, label_offset, classes, value, scale, w, bias, h, squares):  # type: ignore[no-untyped-def]
    for t in prange(threads):
        first, last = len(w) * t // threads, len(w) * (t + 1) // threads
        _panels(first, last, product, source, labels, label_offset, classes, value, scale, w, bias, h, squares)


@compiled
def forward_labelled(  # type: ignore[no-untyped-def]
    a, samples, source, labels, label_offset, classes, value, norm, w, bias, product, h, totals, squares, adds,
    nonzeros,
):  # fmt: skip
    """Compute h = max(scale (a W + label W) + bias, 0), see `reference.forward_labelled`.

    Parameters
    ----------
    a : (input panels, pitch, 16) float32, images whose label places are zero
    samples : how many images count
    source : (rows,) int64, the image of each row of h
    labels : (rows,) int64, the class it shows, or NEUTRAL
    label_offset, classes : the first label place among the inputs, and how many there are
    value : float32, what stands in the place of the class shown; NEUTRAL has value / classes in every place
    norm : as for `forward`, of which the sums of squares are the images': see `row_scale_labelled`
    w, bias, h, totals, squares, adds : as for `forward`
    product : like h for `samples` rows, scratch: the images' share
    nonzeros : as for `forward`
    """
    scale = norm[3]
    row_scale_labelled(norm[0], source, labels, classes, value, norm[1], norm[2], scale)
    if samples > 0:
        compute(a, scale, w, bias, product, squares, samples, nonzeros, PRODUCT)
    _panels(0, len(w), product, source, labels, label_offset, classes, value, scale, w, bias, h, squares)
    add_panels(squares, adds, len(source), totals)


def forward_labelled_parallel(
    threads: int, a: np.ndarray, samples: int, source: np.ndarray, labels: np.ndarray, label_offset: int,
    classes: int, value: np.float32, norm: Norm, w: np.ndarray, bias: np.ndarray, product: np.ndarray,
    h: np.ndarray, totals: np.ndarray, squares: np.ndarray, adds: np.ndarray, nonzeros: Memory,
) -> None:  # fmt: skip
    """Do what `forward_labelled` does on so many of Numba's threads."""
    scale = norm[3]
    row_scale_labelled(norm[0], source, labels, classes, value, *norm[1:])
    if samples > 0:
        compute_parallel(threads, a, scale, w, bias, product, squares, samples, nonzeros, PRODUCT)
    shown = source, labels, label_offset, classes, value, scale
    _panels_parallel(threads, product, *shown, w, bias, h, squares)
    add_panels(squares, adds, len(source), totals)
