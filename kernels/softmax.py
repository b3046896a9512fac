"""Softmax and cross-entropy of a batch of logits."""

from __future__ import annotations

import math

import numpy as np

from .compiled import compiled
from .powers import exponentials


@compiled
def softmax(logits, labels, classes, error, weights):  # type: ignore[no-untyped-def]
    """Write (softmax - one-hot) / rows and return the summed cross-entropy and the hits, see `reference.softmax`.

    Parameters
    ----------
    logits : (panels, pitch, 16) float32, of which `classes` columns count
    labels : (rows,) int64, the classes
    error : like logits, written for these rows: the derivative of the mean cross-entropy; zero beyond the classes
    weights : (rows,) float32, how often each row's loss counts; None: once
    """
    loss, correct, rows = 0.0, 0, len(labels)
    power = np.empty(classes)
    for row in range(rows):
        best = 0
        for k in range(1, classes):  # the first of equals, as argmax
            if logits[k >> 4, row, k & 15] > logits[best >> 4, row, best & 15]:
                best = k
        correct += best == labels[row]
        largest, norm = np.float64(logits[best >> 4, row, best & 15]), 0.0
        for k in range(classes):
            power[k] = np.float64(logits[k >> 4, row, k & 15]) - largest
        exponentials(power)
        for k in range(classes):
            norm += power[k]
        own = math.log(norm) + largest - logits[labels[row] >> 4, row, labels[row] & 15]
        if weights is None:
            loss += own
            for k in range(classes):
                error[k >> 4, row, k & 15] = (power[k] / norm - (k == labels[row])) / rows
        else:
            loss += own * weights[row]
            for k in range(classes):
                error[k >> 4, row, k & 15] = (power[k] / norm - (k == labels[row])) / rows * weights[row]
        for k in range(classes, 16 * len(error)):
            error[k >> 4, row, k & 15] = 0.0
    return loss, correct
