"""The fused forward: product, row scale, bias, ReLU and row sum of squares in one pass."""

from __future__ import annotations

import numpy as np
from numba import prange

from .compiled import compiled
from .scale import Norm, row_scale
from .simd import LANES, fma, horizontal_sum, load, mul, relu, splat, store
from .sparse import EVEN, LISTING, WORTHWHILE, Memory, density, list_rows, multiply, width_of
from .tile import FORWARD_ROWS, PANELS, SPARSE_PANELS, forward_tile
from .tree import add_panels

#: Input panels in one go: a block of all rows and a column tile of weights then fit into half a megabyte of cache.
BLOCK = 32
#: What becomes of a product: nothing; with scale and bias an activation that may be negative; or one that may not.
PRODUCT, LINEAR, RECTIFIED = 0, 1, 2


@compiled
def _finish(product, panel, row, scale, bias, h, squares, kind):  # type: ignore[no-untyped-def]
    """Turn a row's product with a panel into activations, but if `kind` is PRODUCT."""
    z = product
    if kind != PRODUCT:
        z = fma(product, splat(scale[row]), load(bias, panel * LANES))
        if kind == RECTIFIED:
            z = relu(z)
        squares[panel, row] = horizontal_sum(mul(z, z))
    store(h, (panel * h.shape[1] + row) * LANES, z)


@compiled
def _columns(first, last, a, scale, w, bias, h, squares, rows, kind):  # type: ignore[no-untyped-def]
    """Compute the column tiles [first, last): no two of them touch the same memory."""
    inputs, pitch = w.shape[1] // LANES, a.shape[1]
    w_panel = w.shape[1] * LANES
    size = FORWARD_ROWS * PANELS * LANES
    row_tiles = -(-rows // FORWARD_ROWS)
    tiles = np.empty(row_tiles * size, np.float32)
    for column in range(first, last):
        panel = column * PANELS
        width = min(PANELS, len(w) - panel)
        tiles[:] = 0.0
        for block in range(0, inputs, BLOCK):
            a_block, w_block = block * pitch * LANES, panel * w_panel + block * LANES * LANES
            depth = min(BLOCK, inputs - block)
            # The block of weights that comes next: further down this column tile, or the top of the next one.
            ahead = w_block + depth * LANES * LANES
            if block + BLOCK >= inputs:
                ahead = min(panel + PANELS, len(w) - width) * w_panel
            for t in range(row_tiles):
                a_index = a_block + t * FORWARD_ROWS * LANES
                low, high = LANES * t // row_tiles, LANES * (t + 1) // row_tiles
                forward_tile(
                    width, a, a_index, pitch * LANES, w, w_block, w_panel, depth, tiles, t * size, ahead, low, high
                )
        for t, row in enumerate(range(0, rows, FORWARD_ROWS)):
            for i in range(FORWARD_ROWS):
                for j in range(width):
                    product = load(tiles, t * size + (i * width + j) * LANES)
                    _finish(product, panel + j, row + i, scale, bias, h, squares, kind)


@compiled
def _sparse_columns(first, last, listed, scale, w, bias, h, squares, rows, kind):  # type: ignore[no-untyped-def]
    """Compute the unit panels [first, last) from the activations that are not zero."""
    tiles = np.empty(rows * SPARSE_PANELS * LANES, np.float32)
    panel = first
    while panel < last:
        width = width_of(last - panel, SPARSE_PANELS)
        multiply(panel, width, listed, rows, w, tiles)
        for row in range(rows):
            for j in range(width):
                product = load(tiles, (row * width + j) * LANES)
                _finish(product, panel + j, row, scale, bias, h, squares, kind)
        panel += width


@compiled(parallel=True)
def _columns_parallel(threads, a, scale, w, bias, h, squares, rows, kind):  # type: ignore[no-untyped-def]
    columns = -(-len(w) // PANELS)
    for t in prange(threads):
        first, last = columns * t // threads, columns * (t + 1) // threads
        _columns(first, last, a, scale, w, bias, h, squares, rows, kind)


@compiled(parallel=True)
def _sparse_columns_parallel(threads, listed, scale, w, bias, h, squares, rows, kind):  # type: ignore[no-untyped-def]
    for t in prange(threads):
        first, last = len(w) * t // threads, len(w) * (t + 1) // threads
        _sparse_columns(first, last, listed, scale, w, bias, h, squares, rows, kind)


@compiled
def _skipping_pays(a, rows, panels, nonzeros):  # type: ignore[no-untyped-def]
    """Say whether skipping zeros is faster: to list what is not zero takes its time, too, for however few panels."""
    return len(nonzeros[0]) > 0 and density(a, rows) < min(WORTHWHILE, EVEN * (1 - LISTING / panels))


@compiled
def compute(a, scale, w, bias, h, squares, rows, nonzeros, kind):  # type: ignore[no-untyped-def]
    """Compute the panels of h, with their squares if `kind` is not PRODUCT; see `forward`."""
    if _skipping_pays(a, rows, len(w), nonzeros):
        listed = list_rows(a, rows, nonzeros)
        _sparse_columns(0, len(w), listed, scale, w, bias, h, squares, rows, kind)
    else:
        _columns(0, -(-len(w) // PANELS), a, scale, w, bias, h, squares, rows, kind)


def compute_parallel(
    threads: int, a: np.ndarray, scale: np.ndarray, w: np.ndarray, bias: np.ndarray, h: np.ndarray,
    squares: np.ndarray, rows: int, nonzeros: Memory, kind: int,
) -> None:  # fmt: skip
    """Do the same on so many of Numba's threads, which share the column panels."""
    rest = (scale, w, bias, h, squares, rows, kind)
    if _skipping_pays(a, rows, len(w), nonzeros):
        _sparse_columns_parallel(threads, list_rows(a, rows, nonzeros), *rest)
    else:
        _columns_parallel(threads, a, *rest)


@compiled
def forward(a, norm, w, bias, h, totals, squares, adds, rows, nonzeros, rectify):  # type: ignore[no-untyped-def]
    """Compute h = max(scale * (a W) + bias, 0) and the row sums of h squared, see `reference.forward`.

    Parameters
    ----------
    a : (input panels, pitch, 16) float32 activations of the previous layer
    norm : what `row_scale` makes the normalisation of each row of a with: the sums of its squares, (rows or more,)
        float32, divisor and eps; and where that goes, `scale`, (pitch,) float32
    w : (unit panels, inputs padded, 16) float32
    bias : (unit panels, 16) float32
    h : (unit panels, pitch, 16) float32, written; rows beyond `rows`, up to the next multiple of 8, may be
    totals : (nodes, pitch rounded up to 16) float32, written: sums over the units of h squared; one node is the sum
    squares : (unit panels, pitch rounded up to 16) float32, scratch
    adds : (unit panels,) int64, in which order they are summed, see `tree`
    rows : how many rows count
    nonzeros : `Nonzeros.arrays`, memory that lets a batch with few activations skip the zeros; with DENSE it does not
    rectify : leave out the ReLU if false
    """
    if rows > 0:
        row_scale(norm[0], rows, norm[1], norm[2], norm[3])
        compute(a, norm[3], w, bias, h, squares, rows, nonzeros, RECTIFIED if rectify else LINEAR)
        add_panels(squares, adds, rows, totals)


def forward_parallel(
    threads: int, a: np.ndarray, norm: Norm, w: np.ndarray, bias: np.ndarray, h: np.ndarray,
    totals: np.ndarray, squares: np.ndarray, adds: np.ndarray, rows: int, nonzeros: Memory, rectify: bool,
) -> None:  # fmt: skip
    """Do what `forward` does on so many of Numba's threads."""
    if rows > 0:
        row_scale(norm[0], rows, *norm[1:])
        compute_parallel(threads, a, norm[3], w, bias, h, squares, rows, nonzeros, RECTIFIED if rectify else LINEAR)
        add_panels(squares, adds, rows, totals)
