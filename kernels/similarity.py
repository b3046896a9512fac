"""The similarity loss (Nokland and Eidnes, arXiv 1901.06656, section 2.3): rows of one class are to point one way.

What a layer's units say of it are the rows' inner products and sums, so that parts of a layer can add theirs up.
"""

from __future__ import annotations

import math

import numpy as np

from .backward import leaky
from .compiled import compiled
from .logits import tree_products
from .panels import ROWS
from .simd import LANES, add, fma, horizontal_sum, load, splat, store
from .tree import add_panels

_EPSILON = 1e-8
#: A row that varies less between its units, as a share of its square, is constant but for rounding: no direction.
_ROUNDING = 1e-6


@compiled
def gram(h, rows, adds, out, column):  # type: ignore[no-untyped-def]
    """Write the nodes of the inner products of all pairs of rows, and of the rows' sums, see `reference.gram`.

    Parameters
    ----------
    h : (unit panels, pitch, 16) float32
    adds : (unit panels,) int64, see `tree`
    out : (nodes, columns) float32, written from `column` on: rows (rows + 1) products, row by row, and sums
    """
    blocks, pitch = -(-rows // LANES), -(-rows // ROWS) * ROWS
    turned = np.zeros((blocks, len(h) * LANES, LANES), np.float32)
    products = np.empty((len(out), blocks, pitch, LANES), np.float32)
    shares, sums = np.empty((len(h), blocks * LANES), np.float32), np.empty((len(out), blocks * LANES), np.float32)
    for panel in range(len(h)):
        for row in range(rows):
            shares[panel, row] = horizontal_sum(load(h, (panel * h.shape[1] + row) * LANES))
            for lane in range(LANES):
                turned[row >> 4, panel * LANES + lane, row & 15] = h[panel, row, lane]
    tree_products(h, turned, adds, rows, True, products)
    add_panels(shares, adds, rows, sums)
    for node in range(len(out)):
        for i in range(rows):
            for j in range(i + 1):
                out[node, column + i * rows + j] = out[node, column + j * rows + i] = products[node, j >> 4, i, j & 15]
            out[node, column + rows * rows + i] = sums[node, i]


@compiled
def similarity_loss(products, sums, units, labels, classes, weight, m, means):  # type: ignore[no-untyped-def]
    """Return the sum over the rows of their similarity losses, and write what its derivative is made of.

    See `reference.similarity_loss`. The derivative of `weight` times the mean over the rows is m (h - means).

    Parameters
    ----------
    products : (rows, rows) float32, sums : (rows,) float32, of the whole layer, see `gram`
    units : of the whole layer
    labels : (rows,) int64, below `classes`
    weight : float64
    m : (rows, rows) float32, written; may be products
    means : (rows,) float32, written: the rows' means over the units; may be sums
    """
    rows, loss = len(labels), 0.0
    lengths, middles, derivatives = np.empty(rows), np.empty(rows), np.empty((rows, rows))
    for i in range(rows):
        middles[i] = np.float64(sums[i]) / units
        square = np.float64(products[i, i]) - middles[i] * sums[i]
        lengths[i] = math.sqrt(square) if not square <= _ROUNDING * products[i, i] else 0.0  # a NaN stays one
    for i in range(rows):
        along = 0.0
        for j in range(rows):
            both = (lengths[i] + _EPSILON) * (lengths[j] + _EPSILON)
            alike, derivatives[i, j] = 0.0, 0.0
            if lengths[i] != 0.0 and lengths[j] != 0.0:
                alike = (np.float64(products[i, j]) - middles[i] * sums[j]) / both
            distance = max(min(alike, 1.0), -1.0) - (1.0 if labels[i] == labels[j] else -1.0 / (classes - 1))
            if math.isnan(alike):
                distance = alike
            loss += distance * distance / rows
            if lengths[i] != 0.0 and lengths[j] != 0.0 and abs(alike) <= 1.0:
                slope = 4.0 * weight * distance / (rows * rows)
                derivatives[i, j] = slope / both
                along += slope * alike
        if lengths[i] != 0.0:
            derivatives[i, i] -= along / (lengths[i] * (lengths[i] + _EPSILON))
    for i in range(rows):
        means[i] = middles[i]
        for j in range(rows):
            m[i, j] = derivatives[i, j]
    return loss


@compiled
def similarity_backward(m, h, means, units, slope, dz):  # type: ignore[no-untyped-def]
    """Add to dz the derivative by the values before the activation function, see `reference.similarity_backward`.

    Parameters
    ----------
    m, means : see `similarity_loss`
    h : (unit panels, pitch, 16) float32, of the layer or of a part of it
    units : how many columns of h count
    slope : float32, of the activation function below zero, 1 if there is none
    dz : (unit panels, pitch of its own, 16) float32
    """
    rows = len(means)
    centred, inside = np.zeros((rows, LANES), np.float32), np.zeros(LANES, np.float32)
    for panel in range(len(h)):
        for lane in range(LANES):
            inside[lane] = -1.0 if panel * LANES + lane < units else 0.0
        for row in range(rows):
            activation = load(h, (panel * h.shape[1] + row) * LANES)
            store(centred, row * LANES, fma(splat(means[row]), load(inside, 0), activation))
        for row in range(rows):
            gradient = splat(np.float32(0.0))
            for other in range(rows):
                gradient = fma(splat(m[row, other]), load(centred, other * LANES), gradient)
            index = (panel * dz.shape[1] + row) * LANES
            activation = load(h, (panel * h.shape[1] + row) * LANES)
            store(dz, index, add(load(dz, index), leaky(activation, gradient, splat(slope))))
