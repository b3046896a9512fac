"""Dropout, whose mask depends on what a row is, and not on where it stands in which batch on which rank.

The numbers are those of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), a
counter-based generator: whoever needs the mask of a row makes it, and no mask is kept.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .simd import LANES, horizontal_sum, load, mul, store
from .tree import add_panels

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
#: Panels that sixteen counters serve: each lane has one, whose 128 bits are sixteen for each panel.
PANELS = 8
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@compiled
def _words(seed, first, c1, c2, c3, w0, w1, w2, w3):  # type: ignore[no-untyped-def]
    """Write the four words of Philox4x32-10 for the counters (first + i, c1, c2, c3), key `seed`; all are uint64.

    Four arrays and products of 64 bits let LLVM make vectors of the loop.
    """
    for i in range(len(w0)):
        x0, x1, x2, x3 = (first + np.uint64(i)) & _LOW, c1, c2, c3
        k0, k1 = seed & _LOW, seed >> _HALF
        for _ in range(10):
            p0, p1 = x0 * _M0, x2 * _M1
            x0, x1, x2, x3 = (p1 >> _HALF) ^ x1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ x3 ^ k1, p0 & _LOW
            k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
        w0[i], w1[i], w2[i], w3[i] = x0, x1, x2, x3


@compiled
def dropout(h, rows, samples, kinds, seed, epoch, purpose, first, probability, out, totals, squares, adds):  # type: ignore[no-untyped-def]
    """Write h with some activations set to zero and the others times 1 / (1 - p), see `reference.dropout`.

    The derivative of a loss by h needs no mask: it is that by `out` times 1 / (1 - p) where `out` is not zero.
    `purpose` tells draws apart, as that for each layer does.

    Parameters
    ----------
    h : (unit panels, pitch, 16) float32
    samples, kinds : (rows,) int64: the sample's index, and a number below 256 for what the row shows of it
    seed, epoch : not negative, the latter below 2**32
    purpose : below 2**24
    first : the panel of the layer with which h begins
    probability : float64 that an activation is dropped, at most 1 - 2**-16; rounded to a multiple of 2**-16
    out : (unit panels, pitch of its own, 16) float32, written; may be h
    totals, squares, adds : as for `forward`, of the sums over the units of `out` squared
    """
    group = first // PANELS
    words = np.empty((4, ((first + len(h) - 1) // PANELS - group + 1) * LANES), np.uint32)
    threshold, factors = np.uint32(round(probability * 65536)), np.empty(LANES, np.float32)
    keep, drop = np.float32(65536.0 / (65536.0 - threshold)), np.float32(0.0)
    key, counter, second = np.uint64(seed), np.uint64(group * LANES), np.uint64(epoch)
    for row in range(rows):
        third = np.uint64(purpose << 8 | kinds[row])
        _words(key, counter, np.uint64(samples[row]) & _LOW, second, third, words[0], words[1], words[2], words[3])
        for panel in range(len(h)):
            index, start = (first + panel) % PANELS, ((first + panel) // PANELS - group) * LANES
            word, shift = words[index >> 1], np.uint32(16 * (index & 1))
            for lane in range(LANES):
                bits = word[start + lane] >> shift & np.uint32(0xFFFF)
                factors[lane] = drop if bits < threshold else keep
            value = mul(load(h, (panel * h.shape[1] + row) * LANES), load(factors, 0))
            store(out, (panel * out.shape[1] + row) * LANES, value)
            squares[panel, row] = horizontal_sum(mul(value, value))
    add_panels(squares, adds, rows, totals)
