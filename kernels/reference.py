"""The kernels' mathematics in plain NumPy on row-major matrices: the specification every kernel is tested against.

a : (rows, inputs), w : (inputs, units), bias : (units,), scale, c : (rows,); all float32.
"""

from __future__ import annotations

import numpy as np


def compose(
    images: np.ndarray, samples: np.ndarray, labels: np.ndarray, classes: int, place: int, slope: float, offset: float
) -> np.ndarray:
    """Return inputs (rows, max(pixels, place + classes)): scaled pixels; label places one-hot, or even for -1."""
    pixels = images.shape[1]
    a = np.zeros((len(samples), max(pixels, place + classes)), np.float32)
    a[:, :pixels] = np.float32(slope) * images[samples].astype(np.float32) + np.float32(offset)
    shown = labels[:, None] == np.arange(classes)
    a[:, place : place + classes] = np.where(labels[:, None] < 0, np.float32(1) / np.float32(classes), shown)
    return a


def forward(a: np.ndarray, scale: np.ndarray, w: np.ndarray, bias: np.ndarray, *, rectify: bool = True) -> np.ndarray:
    """Return h = max(scale a w + bias, 0), or without the maximum. A NaN stays a NaN."""
    z = scale[:, None] * (a @ w) + bias
    return np.maximum(z, 0) if rectify else z


def gradients(
    a: np.ndarray, scale: np.ndarray, c: np.ndarray, z: np.ndarray, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return dw = (scale c a)^T z and db = sum of c z over the active rows (design: c is one number a row)."""
    a, z, scale, c = a[active], z[active], scale[active], c[active]
    return a.T @ ((c * scale)[:, None] * z), (c[:, None] * z).sum(axis=0)


def adam(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, step: int, rate: float, decay: float,
    beta1: float, beta2: float, eps: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return w, m, v after Adam's `step`-th step (from 1; Kingma and Ba) with decoupled decay (Loshchilov, Hutter)."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    direction = m / (1 - beta1**step) / (np.sqrt(v / (1 - beta2**step)) + eps)
    return (1 - rate * decay) * w - rate * direction, m, v


def sgd(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, rate: float, decay: float, momentum: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return w and m after a step along the running mean of the gradient, m = momentum m + (1 - momentum) g."""
    m = momentum * m + (1 - momentum) * g
    return (1 - rate * decay) * w - rate * m, m
