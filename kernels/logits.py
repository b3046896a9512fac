"""Products whose common index runs over the units of a layer: a chain within each panel, then the tree over panels."""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .scale import row_scale
from .simd import LANES, add, fma, load, splat, store
from .tile import FORWARD_ROWS, PANELS, tree_tile

#: Unit panels in one go: their share of a column tile of weights stays in the first-level cache.
_BLOCK = 16


@compiled
def depth_of(adds):  # type: ignore[no-untyped-def]
    """Return how many terms are on the stack at most, and how many are left: see `tree`."""
    top = deepest = 0
    for panel in range(len(adds)):
        top += 1 - adds[panel]
        deepest = max(deepest, top)
    return deepest, top


@compiled
def tree_products(h, d, adds, rows, triangle, out):  # type: ignore[no-untyped-def]
    """Write the nodes of h D, see `logits`; with `triangle` only tiles with a column that is no greater than a row."""
    deepest, nodes = depth_of(adds)
    size, units = FORWARD_ROWS * PANELS * LANES, d.shape[1]
    row_tiles, pitch = -(-rows // FORWARD_ROWS), out.shape[2]
    stacks = np.empty(row_tiles * deepest * size, np.float32)
    for column in range(0, len(d), PANELS):
        width, top = min(PANELS, len(d) - column), 0
        skipped = column * LANES // FORWARD_ROWS if triangle else 0
        for block in range(0, len(adds), _BLOCK):
            last, left = min(block + _BLOCK, len(adds)), top
            for t in range(skipped, row_tiles):
                left = tree_tile(
                    width, h, t * FORWARD_ROWS * LANES, h.shape[1] * LANES, d, column * units * LANES, units * LANES,
                    block, last, adds, stacks, t * deepest * size, top,
                )  # fmt: skip
            top = left
        for t in range(skipped, row_tiles):
            for node in range(nodes):
                start = (t * deepest + node) * size
                for i in range(FORWARD_ROWS):
                    for j in range(width):
                        index = ((node * len(d) + column + j) * pitch + t * FORWARD_ROWS + i) * LANES
                        store(out, index, load(stacks, start + (i * width + j) * LANES))


@compiled
def logits(h, d, adds, rows, out):  # type: ignore[no-untyped-def]
    """Write the nodes of the logits h D, before scale and bias: see `reference.logits`.

    Parameters
    ----------
    h : (unit panels, pitch, 16) float32, of a layer or of a part of it
    d : (class panels, units padded, 16) float32, a classifier's weights
    adds : (unit panels,) int64, see `tree`
    rows : how many rows count
    out : (nodes, class panels, pitch of its own, 16) float32, written, up to the next multiple of 8 rows
    """
    tree_products(h, d, adds, rows, False, out)


@compiled
def complete_logits(raw, total, divisor, eps, scale, bias, rows, more, out):  # type: ignore[no-untyped-def]
    """Write scale x raw + bias, or with `more` add that to what is there; and `scale`, as `row_scale` does.

    Parameters
    ----------
    raw : (class panels, pitch, 16) float32, the complete sums over a layer's units
    total, divisor, eps, scale : what rows are normalised by, see `row_scale`
    bias : (class panels, 16) float32
    out : (class panels, pitch of its own, 16) float32, written
    """
    row_scale(total, rows, divisor, eps, scale)
    for panel in range(len(out)):
        for row in range(rows):
            index = (panel * out.shape[1] + row) * LANES
            sums = load(raw, (panel * raw.shape[1] + row) * LANES)
            value = fma(sums, splat(scale[row]), load(bias, panel * LANES))
            store(out, index, add(load(out, index), value) if more else value)
