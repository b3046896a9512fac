"""The products of a batch with few activations that are not zero: they skip the zeros.

The other terms are added in the same order as in the dense products, so both give the same bits (for finite numbers)
and which one runs is a question of speed only.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .simd import LANES, load, load_scalar, lowest_bit, nonzero_lanes, store_bytes
from .tile import SPARSE_WIDTHS, WIDE, sparse_tile, sparse_tile_in_place

#: Input panels in one go: their share of SPARSE_PANELS panels of weights stays in the first-level cache.
BLOCK = 4
#: The same where few panels of weights are all there are.
_AT_ONCE = 8
#: Share of activations that are not zero below which skipping pays in the forward, where there are many panels; what it
#: is where skipping is just as fast; and how many panels a dense product makes while the others are listed. Measured at
#: 128 and 384 rows of 500 to 2000 inputs. AVX2 loads as many weights as it multiplies with: at half it takes two thirds
#: of the time, at 0.75 all. With AVX-512 it is twice as fast at 0.1, even near 0.35.
WORTHWHILE, EVEN = (0.2, 0.35) if WIDE else (0.6, 0.75)
LISTING = 0.8
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
    places : (rows x inputs,) uint16: listed by inputs, the place of the row; its memory, as uint8, holds for rows the
        input within its block
    bounds : (blocks, rows + 1) int64, where each row's entries begin, and where the last one's end
    counts : (inputs,) int64, how many there are of each input
    """

    def __init__(self, rows: int, panels: int) -> None:
        """Make room for `rows` rows of `panels` panels."""
        size = rows * panels * LANES + 16
        self.values, self.places = np.empty(size, np.float32), np.empty(size, np.uint16)
        self.bounds = np.empty((-(-panels // BLOCK), rows + 1), np.int64)
        self.counts = np.empty(panels * LANES, np.int64)
        self.arrays = self.values, self.places, self.bounds, self.counts


#: No memory: products are dense.
DENSE = (np.empty(0, np.float32), np.empty(0, np.uint16), np.empty((0, 0), np.int64), np.empty(0, np.int64))


#: For each eight lanes, of which bits say that they are not zero, the places of these, a byte each, and their number.
_PLACES = np.array([sum(k << 8 * n for n, k in enumerate(k for k in range(8) if m >> k & 1)) for m in range(256)], "u8")
_COUNTS = np.array([m.bit_count() for m in range(256)])
_EVERY_BYTE = 0x0101010101010101


@compiled
def _list(a, start, width, places, n):  # type: ignore[no-untyped-def]
    """Write from ``places[n]`` on which of the lanes at flat index `start`, and in the next panels, are not zero.

    There is no branch: eight bytes are written, and as many are kept as count. Returns where the next ones are to be.
    """
    for panel in range(width):
        bits = nonzero_lanes(load(a, start + panel * a.shape[1] * LANES))
        store_bytes(places, n, _PLACES[bits & 255] + np.uint64(panel * LANES * _EVERY_BYTE))
        n += _COUNTS[bits & 255]
        store_bytes(places, n, _PLACES[bits >> 8] + np.uint64((panel * LANES + 8) * _EVERY_BYTE))
        n += _COUNTS[bits >> 8]
    return n


@compiled
def list_rows(a, rows, nonzeros):  # type: ignore[no-untyped-def]
    """List the first `rows` rows of `a` (panels, pitch, 16) float32; return values, places (uint8), bounds."""
    values, places, bounds = nonzeros[0], nonzeros[1].view(np.uint8), nonzeros[2]
    n, step = 0, a.shape[1] * LANES
    for block in range(len(bounds)):
        width = min(BLOCK, len(a) - block * BLOCK)
        for row in range(rows):
            start, first = block * BLOCK * step + row * LANES, n
            n = _list(a, start, width, places, first)
            bounds[block, row] = first
            for i in range(first, n):
                k = np.int64(load_scalar(places, i))
                values[i] = load_scalar(a, start + (k >> 4) * step + (k & 15))
        bounds[block, rows] = n
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
            sparse_tile(width, values, 0, bounds, places, first, last, w, w_index, w_panel, tiles, out)


@compiled
def multiply_once(panel, width, a, rows, w, tiles):  # type: ignore[no-untyped-def]
    """Do what `list_rows` and `multiply` do, where no other panels use the lists: nothing is written down."""
    step, w_panel = a.shape[1] * LANES, w.shape[1] * LANES
    places, offsets = np.empty(_AT_ONCE * LANES + 8, np.uint8), np.empty(_AT_ONCE * LANES, np.int64)
    for k in range(_AT_ONCE * LANES):
        offsets[k] = (k >> 4) * step + (k & 15)
    tiles[: rows * width * LANES] = 0.0
    for block in range(-(-len(a) // _AT_ONCE)):
        w_index = panel * w_panel + block * _AT_ONCE * LANES * LANES
        for row in range(rows):
            start, out = block * _AT_ONCE * step + row * LANES, row * width * LANES
            last = _list(a, start, min(_AT_ONCE, len(a) - block * _AT_ONCE), places, 0)
            sparse_tile_in_place(width, a, start, offsets, places, 0, last, w, w_index, w_panel, tiles, out)
