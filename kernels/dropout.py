"""Dropout, whose mask depends on what a row is, and not on where it stands in which batch on which rank.

The numbers are those of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), a
counter-based generator: whoever needs the mask of a row makes it, and no mask is kept.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .forward import sum_blocks
from .simd import LANES, horizontal_sum, load, mul, store

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@compiled
def _words(seed, first, c1, c2, c3, words):  # type: ignore[no-untyped-def]
    """Fill words (n, 4) uint32 by Philox4x32-10: row i with the counter (first + i, c1, c2, c3), key `seed`.

    The numbers are uint64 with 32 bits each: LLVM makes vectors of the loop.
    """
    for i in range(len(words)):
        x0, x1, x2, x3 = np.uint64(first + i) & _LOW, c1, c2, c3
        k0, k1 = seed & _LOW, seed >> _HALF
        for _ in range(10):
            p0, p1 = x0 * _M0, x2 * _M1
            x0, x1, x2, x3 = (p1 >> _HALF) ^ x1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ x3 ^ k1, p0 & _LOW
            k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
        words[i, 0], words[i, 1], words[i, 2], words[i, 3] = x0, x1, x2, x3


@compiled
def dropout(h, rows, samples, kinds, seed, epoch, purpose, first, probability, out, total, squares):  # type: ignore[no-untyped-def]
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
    total : (pitch,) float32, written: sum over the units of `out` squared
    squares : (unit panels, pitch rounded up to 16) float32, scratch
    """
    panels = len(h)
    words, factors = np.empty((2 * panels, 4), np.uint32), np.empty(panels * LANES, np.float32)
    threshold = np.uint32(round(probability * 65536))
    keep, drop = np.float32(65536.0 / (65536.0 - threshold)), np.float32(0.0)
    flat = words.reshape(-1)
    for row in range(rows):
        c3 = np.uint64(purpose << 8 | kinds[row])
        _words(np.uint64(seed), 2 * first, np.uint64(samples[row]) & _LOW, np.uint64(epoch), c3, words)
        for i in range(len(flat)):
            factors[2 * i] = drop if flat[i] & np.uint32(0xFFFF) < threshold else keep
            factors[2 * i + 1] = drop if flat[i] >> np.uint32(16) < threshold else keep
        for panel in range(panels):
            value = mul(load(h, (panel * h.shape[1] + row) * LANES), load(factors, panel * LANES))
            store(out, (panel * out.shape[1] + row) * LANES, value)
            squares[panel, row] = horizontal_sum(mul(value, value))
    sum_blocks(squares, total, rows)
