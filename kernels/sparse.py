"""The products of a batch with few activations that are not zero: they skip the zeros.

The other terms are added in the same order as in the dense products, so both give the same bits (for finite numbers)
and which one runs is a question of speed only.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .compress import EIGHT, ORDER, SHORT_ORDER, list_columns, store_chosen
from .simd import LANES, load, nonzero_lanes, pointer, store_bytes
from .tile import SPARSE_WIDTHS, WIDE, sparse_tile

#: Input panels in one go: their share of SPARSE_PANELS panels of weights stays in the first-level cache.
BLOCK = 4
#: Share of activations that are not zero below which skipping pays in the forward, where there are many panels; what it
#: is where skipping is just as fast; and how many panels a dense product makes while the others are listed. Measured at
#: 128 to 500 rows of 500 to 2000 inputs. AVX2 loads as many weights as it multiplies with: at half it takes two thirds
#: of the time. With AVX-512 a dense product is twice as fast at 0.1, even near 0.35.
WORTHWHILE, EVEN, LISTING = (0.2, 0.35, 0.8) if WIDE else (0.8, 0.82, 1.1)
#: Arrays of `Nonzeros`: values, places, bounds, counts.
Memory = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
_SAMPLED = 8  # rows looked at to estimate that share


#: For each eight lanes, of which bits say that they are not zero, the places of these, a byte each, and their number.
_PLACES = np.array([sum(k << 8 * n for n, k in enumerate(k for k in range(8) if m >> k & 1)) for m in range(256)], "u8")
_COUNTS = np.array([m.bit_count() for m in range(256)])
_EVERY_BYTE = 0x0101010101010101


@compiled
def density(a, rows):  # type: ignore[no-untyped-def]
    """Estimate the share of activations of `a` (panels, pitch, 16) that are not zero, from a few rows."""
    count, step = 0, max(1, rows // _SAMPLED)
    for panel in range(len(a)):
        for row in range(0, rows, step):
            bits = nonzero_lanes(load(a, (panel * a.shape[1] + row) * LANES))
            count += _COUNTS[bits & 255] + _COUNTS[bits >> EIGHT]
    return count / (len(a) * LANES * len(range(0, rows, step)))


class Nonzeros:
    """The activations of a batch that are not zero; memory that is used again for every batch.

    Attributes
    ----------
    arrays : values, places, bounds, counts, for compiled functions
    values : (rows x inputs and more,) float32
    places : (rows x inputs and more,) uint16: listed by inputs, the place of the row; its memory, as uint8, holds for
        rows the input within its block
    bounds : (blocks, rows + 1) int64, where each row's entries begin, and where the last one's end
    counts : (inputs,) int64, how many there are of each input
    """

    def __init__(self, rows: int, panels: int) -> None:
        """Make room for `rows` rows of `panels` panels."""
        size = (rows + EIGHT) * panels * LANES + EIGHT  # eight are written at once
        self.values, self.places = np.empty(size, np.float32), np.empty(size, np.uint16)
        self.bounds = np.empty((-(-panels // BLOCK), rows + 1), np.int64)
        self.counts = np.empty(panels * LANES, np.int64)
        self.arrays = self.values, self.places, self.bounds, self.counts


#: No memory: products are dense.
DENSE = (np.empty(0, np.float32), np.empty(0, np.uint16), np.empty((0, 0), np.int64), np.empty(0, np.int64))


@compiled
def _list(a, start, width, values, places, n):  # type: ignore[no-untyped-def]
    """Write from ``values[n]`` and ``places[n]`` on what is not zero at flat index `start` and in the next panels.

    Eight are written at once, and as many are kept as count. Returns where the next ones are to be.
    """
    order = pointer(ORDER)
    for panel in range(width):
        index = start + panel * a.shape[1] * LANES
        bits = nonzero_lanes(load(a, index))
        for lane in range(0, LANES, EIGHT):
            eight = bits >> lane & 255
            store_bytes(places, n, _PLACES[eight] + np.uint64((panel * LANES + lane) * _EVERY_BYTE))
            store_chosen(values, n, a, index + lane, order, eight)
            n += _COUNTS[eight]
    return n


@compiled
def list_rows(a, rows, nonzeros):  # type: ignore[no-untyped-def]
    """List the first `rows` rows of `a` (panels, pitch, 16) float32; return values, places (uint8), bounds."""
    values, places, bounds = nonzeros[0], nonzeros[1].view(np.uint8), nonzeros[2]
    n, step = 0, a.shape[1] * LANES
    for block in range(len(bounds)):
        width = min(BLOCK, len(a) - block * BLOCK)
        for row in range(rows):
            bounds[block, row] = n
            n = _list(a, block * BLOCK * step + row * LANES, width, values, places, n)
        bounds[block, rows] = n
    return values, places, bounds


@compiled
def list_inputs(a, active, nonzeros):  # type: ignore[no-untyped-def]
    """List the rows `active` (count,) int64 of `a` (panels, pitch, 16) by inputs; return values, places, counts, pitch.

    Input i has its entries from i x pitch on. AHEAD more of `active` are read.
    """
    values, places, _, counts = nonzeros
    counts[:] = 0
    count = len(active)
    pitch, orders = count + EIGHT, (pointer(ORDER), pointer(SHORT_ORDER))
    lists = pointer(values), pointer(places), pointer(counts)
    for panel in range(len(a)):
        for first in range(0, count, EIGHT):
            valid = (1 << min(EIGHT, count - first)) - 1
            for lane in range(0, LANES, EIGHT):
                index, column = panel * a.shape[1] * LANES + lane, panel * LANES + lane
                list_columns(a, index, active, first, valid, lists[0], lists[1], lists[2], column, pitch, orders)
    return values, places, counts, pitch


@compiled
def width_of(panels, most):  # type: ignore[no-untyped-def]
    """Return how many panels, of so many that are left, the widest sparse tile takes that takes no more than `most`."""
    for width in SPARSE_WIDTHS:
        if width <= min(panels, most):
            return width
    return 1


@compiled
def multiply(panel, width, nonzeros, rows, w, tiles):  # type: ignore[no-untyped-def]
    """Write the products of all rows with `width` panels of w from `panel` on: tiles[row, j, :], flat."""
    values, places, bounds = nonzeros
    w_panel = w.shape[1] * LANES
    tiles[: rows * width * LANES] = 0.0
    for block in range(len(bounds)):
        w_index = panel * w_panel + block * BLOCK * LANES * LANES
        for row in range(rows):
            first, last, out = bounds[block, row], bounds[block, row + 1], row * width * LANES
            sparse_tile(width, values, places, first, last, w, w_index, w_panel, tiles, out)
