"""Peer normalisation, as in Hinton's code: units whose mean activation is below that of the layer's are encouraged."""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .simd import LANES, add, div, fma, horizontal_sum, load, mul, splat, store, sub
from .tree import add_panels


@compiled
def peer_means(h, positives, momentum, means, weights, adds, sums):  # type: ignore[no-untyped-def]
    """Let each unit's running mean follow its mean over the positive rows; write the sums of the means over the units.

    See `reference.peer_means`. Without positive rows the means stay.

    Parameters
    ----------
    h : (unit panels, pitch, 16) float32, whose first `positives` rows are positive
    momentum : float32, how much of the means stays
    means : (unit panels, 16) float32, updated; zero where units pad a panel
    weights : (positives,) float32, how often each row counts, once in the mean; None: once
    adds : (unit panels,) int64, see `tree`
    sums : (nodes, 1) float32, written
    """
    shares, nodes = np.empty((len(h), LANES), np.float32), np.empty((len(sums), LANES), np.float32)
    count = splat(np.float32(max(positives, 1)))
    stays, comes = splat(momentum), splat(np.float32(1.0) - momentum)
    for panel in range(len(h)):
        if positives > 0:
            summed = splat(np.float32(0.0))
            for row in range(positives):
                activation = load(h, (panel * h.shape[1] + row) * LANES)
                if weights is None:
                    summed = add(summed, activation)
                else:
                    summed = fma(activation, splat(weights[row]), summed)
            store(means, panel * LANES, fma(div(summed, count), comes, mul(load(means, panel * LANES), stays)))
        store(shares, panel * LANES, splat(horizontal_sum(load(means, panel * LANES))))
    add_panels(shares, adds, 1, nodes)
    for node in range(len(sums)):
        sums[node, 0] = nodes[node, 0]


@compiled
def peer_gradient(h, c, positives, units, means, mean, strength, dz, taking_part, weights):  # type: ignore[no-untyped-def]
    """Write the derivative of the goodness loss with peer normalisation, see `reference.peer_gradient`.

    It is c h, and on positive rows strength (means - mean) / positives besides, where h is zero, too.

    Parameters
    ----------
    h : (unit panels, pitch, 16) float32, whose first `positives` rows are positive
    c : (rows,) float32, the rows' coefficients of the goodness loss
    units : how many columns of h count
    means, mean : (unit panels, 16) float32 and float32, the units' running means, and their mean over the whole layer
    strength : float32
    dz : (unit panels, pitch of its own, 16) float32, written
    taking_part : (rows,) float32, written: 0 for rows whose derivative is zero, otherwise 1; the coefficients for
        `update` with z = dz
    weights : (positives,) float32, how often each row is drawn, as it is in c already; None: once
    """
    pulls, rows = np.zeros(LANES, np.float32), len(c)
    share = splat(strength / np.float32(max(positives, 1)))
    for panel in range(len(h)):
        store(pulls, 0, mul(sub(load(means, panel * LANES), splat(mean)), share))
        pulls[max(units - panel * LANES, 0) :] = 0.0
        pull = load(pulls, 0)
        for row in range(rows):
            activation, index = load(h, (panel * h.shape[1] + row) * LANES), (panel * dz.shape[1] + row) * LANES
            if row < positives:
                if weights is None:
                    store(dz, index, fma(activation, splat(c[row]), pull))
                else:
                    store(dz, index, fma(activation, splat(c[row]), mul(pull, splat(weights[row]))))
            else:
                store(dz, index, mul(activation, splat(c[row])))
    for row in range(rows):
        drawn = row < positives and (weights is None or weights[row] != 0)
        taking_part[row] = 1.0 if drawn or c[row] != 0 else 0.0
