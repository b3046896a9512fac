"""Batch normalisation (Ioffe and Szegedy, arXiv 1502.03167): each unit's values over the rows of a batch.

Sums over rows are made in the order of the rows, each unit by itself: they do not depend on how a layer is divided.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .simd import LANES, add, div, fma, horizontal_sum, load, mul, relu, splat, sqrt, store, sub, where_positive
from .tree import add_panels

#: Rows that tell no more than so many tell nothing of the variance.
_ALONE = np.float32(1.0001)


@compiled
def batch_statistics(x, rows, momentum, mean, variance, running_mean, running_variance, weights):  # type: ignore[no-untyped-def]
    """Write mean and variance of the first `rows` rows, and let the running ones follow, see `reference`.

    A batch of fewer than two rows has no variance: it leaves the running statistics as they are.

    Parameters
    ----------
    x : (unit panels, pitch, 16) float32
    momentum : float32, how much of the batch comes into the running statistics; 0 leaves them as they are
    mean, variance : (unit panels, 16) float32, written if there are rows: the variance is the mean square
    running_mean, running_variance : like mean, updated; the latter without bias, as in PyTorch
    weights : (rows,) float32, how often each row counts, once in the mean; None: once
    """
    if rows == 0:
        return
    independent = np.float32(rows)  # rows that tell as much as these
    if weights is not None:
        squares = 0.0
        for row in range(rows):
            squares += np.float64(weights[row]) * weights[row]
        independent = np.float32(np.float64(rows) * rows / squares)
    count, rest = splat(np.float32(rows)), splat(np.float32(1.0) - momentum)
    others = max(independent - np.float32(1.0), _ALONE - np.float32(1.0))
    share, unbiased = splat(momentum), splat(momentum * independent / others)
    for panel in range(len(x)):
        start, at = panel * x.shape[1] * LANES, panel * LANES
        # Counted from the first row on, so that a unit that does not vary has no variance.
        origin, total = load(x, start), splat(np.float32(0.0))
        for row in range(rows):
            distance = sub(load(x, start + row * LANES), origin)
            if weights is None:
                total = add(total, distance)
            else:
                total = fma(distance, splat(weights[row]), total)
        middle, square = add(origin, div(total, count)), splat(np.float32(0.0))
        for row in range(rows):
            distance = sub(load(x, start + row * LANES), middle)
            if weights is None:
                square = fma(distance, distance, square)
            else:
                square = fma(mul(distance, splat(weights[row])), distance, square)
        square = div(square, count)
        store(mean, at, middle)
        store(variance, at, square)
        if independent > _ALONE:
            store(running_mean, at, fma(middle, share, mul(load(running_mean, at), rest)))
            store(running_variance, at, fma(square, unbiased, mul(load(running_variance, at), rest)))


@compiled
def batch_norm(x, rows, mean, variance, epsilon, gain, shift, slope, out, totals, squares, adds):  # type: ignore[no-untyped-def]
    """Write gain (x - mean) / sqrt(variance + epsilon) + shift, and the row sums of squares, see `reference`.

    Parameters
    ----------
    x : (unit panels, pitch, 16) float32
    mean, variance : (unit panels, 16) float32, the batch's, or the running ones
    epsilon : float32
    gain, shift : like mean; zero where units pad a panel
    slope : float32, of the activation function below zero: 0 for a ReLU, 1 for none, between them for a leaky ReLU
    out : (unit panels, pitch of its own, 16) float32, written; may be x
    totals, squares, adds : as for `forward`, of the sums over the units of `out` squared
    """
    for panel in range(len(x)):
        at = panel * LANES
        middle, offset = load(mean, at), load(shift, at)
        factor = div(load(gain, at), sqrt(add(load(variance, at), splat(epsilon))))
        for row in range(rows):
            y = fma(sub(load(x, (panel * x.shape[1] + row) * LANES), middle), factor, offset)
            if slope != np.float32(1.0):
                positive = relu(y)
                y = positive if slope == np.float32(0.0) else fma(splat(slope), sub(y, positive), positive)
            store(out, (panel * out.shape[1] + row) * LANES, y)
            squares[panel, row] = horizontal_sum(mul(y, y))
    add_panels(squares, adds, rows, totals)


@compiled
def batch_norm_backward(dy, x, rows, mean, variance, epsilon, gain, rectified, dx, dgain, dshift, weights):  # type: ignore[no-untyped-def]
    """Write the derivatives by x, by the gains and by the shifts from those by the output `dy`, see `reference`.

    The statistics were those of exactly these rows. A ReLU that followed is in `dy` already.

    Parameters
    ----------
    dy : (unit panels, pitch, 16) float32
    x, mean, variance, epsilon, gain : as for `batch_norm`
    rectified : whether x comes out of a ReLU, and the derivative is to be that by what goes into it
    dx : (unit panels, pitch of its own, 16) float32, written; may be dy
    dgain, dshift : (unit panels, 16) float32, written
    weights : (rows,) float32, with which the statistics were made; None: without
    """
    count = splat(np.float32(max(rows, 1)))
    for panel in range(len(x)):
        at, start = panel * LANES, panel * x.shape[1] * LANES
        dy_start, dx_start = panel * dy.shape[1] * LANES, panel * dx.shape[1] * LANES
        middle = load(mean, at)
        inverse = div(splat(np.float32(1.0)), sqrt(add(load(variance, at), splat(epsilon))))
        total = along = splat(np.float32(0.0))
        for row in range(rows):
            gradient = load(dy, dy_start + row * LANES)
            total = add(total, gradient)
            along = fma(gradient, mul(sub(load(x, start + row * LANES), middle), inverse), along)
        store(dshift, at, total)
        store(dgain, at, along)
        factor, total, along = mul(load(gain, at), inverse), div(total, count), div(along, count)
        for row in range(rows):
            value = load(x, start + row * LANES)
            normalised = mul(sub(value, middle), inverse)
            gradient = load(dy, dy_start + row * LANES)
            if weights is None:
                gradient = sub(sub(gradient, total), mul(normalised, along))
            else:
                weight = splat(weights[row])
                gradient = sub(sub(gradient, mul(total, weight)), mul(mul(normalised, along), weight))
            gradient = mul(gradient, factor)
            if rectified:
                gradient = where_positive(value, gradient)
            store(dx, dx_start + row * LANES, gradient)
