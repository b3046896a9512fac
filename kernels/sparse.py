"""The products of a batch with few activations that are not zero: they skip the zeros.

The other terms are added in the same order as in the dense products, so both give the same bits (for finite numbers)
and which one runs is a question of speed only.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .simd import LANES, load, lowest_bit, nonzero_lanes
from .tile import sparse_tile

#: Input panels in one go: their share of SPARSE_PANELS panels of weights stays in the first-level cache.
BLOCK = 4
#: Share of activations that are not zero below which skipping pays: measured twice as fast at 0.1, even near 0.35.
WORTHWHILE = 0.2
#: Arrays of `Nonzeros`: values, places, bounds, counts.
Memory = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
_SAMPLED = 8  # rows looked at to estimate that share


@compiled
def density(a, rows):  # type: ignore[no-untyped-def]
    """Estimate the share of activations of `a` (panels, pitch, 16) that are not zero, from a few rows."""
    count, step = 0, max(1, rows // _SAMPLED)
    for panel in range(len(a)):
        for row in range(0, rows, step):
            for lane in range(LANES):
                count += a[panel, row, lane] != 0
    return count / (len(a) * LANES * len(range(0, rows, step)))


class Nonzeros:
    """The activations of a batch that are not zero; memory that is used again for every batch.

    Attributes
    ----------
    arrays : values, places, bounds, counts, for compiled functions
    values : (rows x inputs,) float32
    places : (rows x inputs,) uint16: listed row by row, the input within its block; by inputs, the place of the row
    bounds : (rows, blocks + 1) int64, where each block's entries begin
    counts : (inputs,) int64, how many there are of each input
    """

    def __init__(self, rows: int, panels: int) -> None:
        """Make room for `rows` rows of `panels` panels."""
        size = rows * panels * LANES + 1
        self.values, self.places = np.empty(size, np.float32), np.empty(size, np.uint16)
        self.bounds = np.empty((rows, -(-panels // BLOCK) + 1), np.int64)
        self.counts = np.empty(panels * LANES, np.int64)
        self.arrays = self.values, self.places, self.bounds, self.counts


#: No memory: products are dense.
DENSE = (np.empty(0, np.float32), np.empty(0, np.uint16), np.empty((0, 0), np.int64), np.empty(0, np.int64))


@compiled
def list_rows(a, rows, nonzeros):  # type: ignore[no-untyped-def]
    """List the first `rows` rows of `a` (panels, pitch, 16) float32; return values, places, bounds."""
    values, places, bounds, _ = nonzeros
    for row in range(rows):
        n = row * len(a) * LANES
        for panel in range(len(a)):
            if panel % BLOCK == 0:
                bounds[row, panel // BLOCK] = n
            bits = nonzero_lanes(load(a, (panel * a.shape[1] + row) * LANES))
            while bits:
                lane = lowest_bit(bits)
                values[n], places[n] = a[panel, row, lane], panel % BLOCK * LANES + lane
                n += 1
                bits &= bits - 1
        bounds[row, -1] = n
    return values, places, bounds


@compiled
def list_inputs(a, active, nonzeros):  # type: ignore[no-untyped-def]
    """List the rows `active` (count,) int64 of `a` (panels, pitch, 16) by inputs; return values, places, counts.

    Input i has its entries from i x count on.
    """
    values, places, _, counts = nonzeros
    counts[:] = 0
    for panel in range(len(a)):
        for place in range(len(active)):
            row = active[place]
            bits = nonzero_lanes(load(a, (panel * a.shape[1] + row) * LANES))
            while bits:
                lane = lowest_bit(bits)
                k = panel * LANES + lane
                n = k * len(active) + counts[k]
                values[n], places[n] = a[panel, row, lane], place
                counts[k] += 1
                bits &= bits - 1
    return values, places, counts


@compiled
def multiply(panel, width, nonzeros, rows, w, tiles):  # type: ignore[no-untyped-def]
    """Write the products of all rows with `width` panels of w from `panel` on: tiles[row, j, :], flat."""
    values, places, bounds = nonzeros
    w_panel = w.shape[1] * LANES
    tiles[: rows * width * LANES] = 0.0
    for block in range(bounds.shape[1] - 1):
        w_index = panel * w_panel + block * BLOCK * LANES * LANES
        for row in range(rows):
            first, last = bounds[row, block], bounds[row, block + 1]
            sparse_tile(width, values, places, first, last, w, w_index, w_panel, tiles, row * width * LANES)
