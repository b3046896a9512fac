"""The fused update: the gradient's product with the optimiser in its epilogue; no gradient is ever stored."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from .simd import LANES, add, div, flush, fma, load, mul, splat, sqrt, store, sub
from .tile import PANELS, UPDATE_INPUTS, update_tile

ADAM, SGD = 0, 1


@njit(nogil=True, cache=True)
def _optimise(kind, index, gradient, w, m, v, constants):  # type: ignore[no-untyped-def]
    """Update sixteen parameters; denormal moments become zero, since they slow the machine a hundredfold."""
    value = load(w, index)
    if kind == ADAM:
        mean = flush(fma(load(m, index), splat(constants[0]), mul(gradient, splat(constants[1]))))
        square = flush(fma(load(v, index), splat(constants[2]), mul(mul(gradient, gradient), splat(constants[3]))))
        step = div(mean, fma(sqrt(square), splat(constants[4]), splat(constants[5])))
        store(v, index, square)
    else:
        mean = flush(fma(load(m, index), splat(constants[0]), mul(gradient, splat(constants[1]))))
        step = mean
    store(m, index, mean)
    store(w, index, sub(mul(value, splat(constants[7])), mul(step, splat(constants[6]))))


@njit(nogil=True, cache=True)
def _columns(first, last, kind, a, scaled, c, z, active, count, w, bias, m, v, mb, vb, constants):  # type: ignore[no-untyped-def]
    """Update the column tiles [first, last): no two of them touch the same memory."""
    pitch, inputs = a.shape[1], w.shape[1]
    g = np.empty((PANELS, max(count, 1), LANES), np.float32)
    tile = np.empty(UPDATE_INPUTS * PANELS * LANES, np.float32)
    no_decay = constants.copy()
    no_decay[7] = 1.0  # biases do not decay
    for column in range(first, last):
        panel = column * PANELS
        width = min(PANELS, len(w) - panel)
        for j in range(width):
            total = splat(np.float32(0.0))
            for r in range(count):
                row = active[r]
                activity = load(z, ((panel + j) * z.shape[1] + row) * LANES)
                total = add(total, mul(activity, splat(c[row])))
                store(g, (j * g.shape[1] + r) * LANES, mul(activity, splat(scaled[row])))
            _optimise(kind, (panel + j) * LANES, total, bias, mb, vb, no_decay)
        for start in range(0, inputs, UPDATE_INPUTS):
            a_index = start // LANES * pitch * LANES + start % LANES
            update_tile(width, a, a_index, active, count, g, g.shape[1] * LANES, tile)
            for j in range(width):
                for i in range(UPDATE_INPUTS):
                    index = ((panel + j) * inputs + start + i) * LANES
                    _optimise(kind, index, load(tile, (i * width + j) * LANES), w, m, v, constants)


@njit(nogil=True, cache=True, parallel=True)
def _columns_parallel(threads, kind, a, scaled, c, z, active, count, w, bias, m, v, mb, vb, constants):  # type: ignore[no-untyped-def]
    columns = -(-len(w) // PANELS)
    for t in prange(threads):
        first, last = columns * t // threads, columns * (t + 1) // threads
        _columns(first, last, kind, a, scaled, c, z, active, count, w, bias, m, v, mb, vb, constants)


def update(
    kind: int,
    a: np.ndarray,
    scale: np.ndarray,
    c: np.ndarray,
    z: np.ndarray,
    active: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray,
    moments: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    constants: np.ndarray,
    *,
    threads: int = 1,
) -> None:
    """Take one optimiser step along dW = (scale c a)^T z and db = sum of c z, see `reference.update`.

    Parameters
    ----------
    kind : ADAM or SGD
    a : (input panels, pitch, 16) float32, the layer's input before normalisation
    scale : (pitch,) float32, the normalisation of each row of a
    c : (pitch,) float32, the coefficient of each row
    z : (unit panels, pitch of its own, 16) float32, the layer's activities
    active : (count,) int64, the rows that take part, ascending
    w, bias : (unit panels, inputs padded, 16) and (unit panels, 16) float32, updated
    moments : first and second moment of w, then of bias, like w and bias, updated; SGD does not touch the second
    constants : (8,) float32, see `adam_constants` and `sgd_constants`
    threads : Numba threads to share the column panels
    """
    m, v, mb, vb = moments
    scaled = c * scale
    if threads == 1:
        columns = -(-len(w) // PANELS)
        _columns(0, columns, kind, a, scaled, c, z, active, len(active), w, bias, m, v, mb, vb, constants)
    else:
        _columns_parallel(threads, kind, a, scaled, c, z, active, len(active), w, bias, m, v, mb, vb, constants)


def adam_constants(step: int, rate: float, decay: float, beta1: float, beta2: float, eps: float) -> np.ndarray:
    """Return Adam's numbers for its `step`-th step (from 1): Kingma and Ba's algorithm with AdamW's decoupled decay."""
    return np.array(
        [
            beta1,
            1 - beta1,
            beta2,
            1 - beta2,
            1 / np.sqrt(1 - beta2**step),
            eps,
            rate / (1 - beta1**step),
            1 - rate * decay,
        ],
        np.float32,
    )


def sgd_constants(rate: float, decay: float, momentum: float) -> np.ndarray:
    """Return the numbers of descent along a running mean of the gradient, m = momentum m + (1 - momentum) g."""
    return np.array([momentum, 1 - momentum, 0, 0, 0, 0, rate, 1 - rate * decay], np.float32)
