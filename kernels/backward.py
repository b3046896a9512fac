"""From the error of a layer's classifier to the layer's own: the backward step of docs/design.md, section 3.2."""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .simd import LANES, fma, horizontal_sum, load, mul, splat, store, sub, where_positive


@compiled
def leaky(activation, gradient, slope):  # type: ignore[no-untyped-def]
    """Return vectors of `gradient` where the activation is positive, else `slope` times it."""
    positive = where_positive(activation, gradient)
    return fma(slope, sub(gradient, positive), positive)


@compiled
def _transpose(d, classes, out):  # type: ignore[no-untyped-def]
    """Write out[panel, k, lane] = d[class k of unit 16 panel + lane]."""
    for panel in range(len(out)):
        for lane in range(LANES):
            for k in range(classes):
                out[panel, k, lane] = d[k >> 4, panel * LANES + lane, k & 15]


@compiled(error_model="numpy")
def backward(error, classes, d, h, raw, scale, divisor, eps, slope, rows, dz):  # type: ignore[no-untyped-def]
    """Write the derivative of the loss by the layer's values before its activation function, see `reference.backward`.

    Parameters
    ----------
    error : (class panels, pitch, 16) float32, the derivative by the logits, of which `classes` columns count
    d : (class panels, units padded, 16) float32, the classifier's weights
    h : (unit panels, pitch, 16) float32, the layer's activations, or those of a part of it
    raw : (class panels, pitch of its own, 16) float32, the sums of h D over all units of the layer
    scale : (rows,) float32, their normalisation 1 / (r + eps) with r = sqrt(sum of squares / divisor)
    divisor, eps : float32, see `row_scale`; a divisor of 0 says that the classifier reads h as it is
    slope : float32, of the activation function below zero: 0 for a ReLU, more for a leaky one
    dz : (unit panels, pitch of its own, 16) float32, written
    """
    weights = np.empty((len(h), classes, LANES), np.float32)
    _transpose(d, classes, weights)
    pitch, out_pitch = h.shape[1], dz.shape[1]
    for row in range(rows):
        # a = h s: the norm's own derivative takes away what points along h. The error's derivative by h points along h
        # by the sum over the classes of error x raw.
        s, back = scale[row], np.float32(0.0)
        if divisor != np.float32(0.0):
            norm = np.float32(1.0) / s - eps
            if norm > np.float32(0.0):
                along = splat(np.float32(0.0))
                for panel in range(len(error)):
                    at, raw_at = (panel * error.shape[1] + row) * LANES, (panel * raw.shape[1] + row) * LANES
                    along = fma(load(error, at), load(raw, raw_at), along)
                back = -s * s * horizontal_sum(along) / (divisor * norm)
        for panel in range(len(h)):
            gradient = splat(np.float32(0.0))
            for k in range(classes):
                gradient = fma(
                    splat(error[k >> 4, row, k & 15]), load(weights, (panel * classes + k) * LANES), gradient
                )
            activation = load(h, (panel * pitch + row) * LANES)
            index = (panel * out_pitch + row) * LANES
            value = fma(activation, splat(back), mul(gradient, splat(s)))
            if slope == np.float32(0.0):
                store(dz, index, where_positive(activation, value))
            else:
                store(dz, index, leaky(activation, value, splat(slope)))
