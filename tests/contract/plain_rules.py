"""Learning rules in plain NumPy and float64: what a layer is told by its own activations, docs/design.md, section 3.

Rules with parameters beside the layers' weights are not here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ffmpi.kernels import reference


def goodness(rule: Any, h: np.ndarray) -> np.ndarray:
    """Return each row's goodness, the sum or mean of squares."""
    total: np.ndarray = (h * h).sum(axis=1)
    return total if getattr(rule, "goodness", "mean") == "sum" else total / h.shape[1]


def group_goodness(h: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean squares of the units of each class, (rows, classes)."""
    group = np.arange(h.shape[1]) * classes // h.shape[1]
    return np.stack([(h[:, group == k] ** 2).mean(axis=1) for k in range(classes)], axis=1)


def by_goodness(rule: Any, h: np.ndarray, below: np.ndarray | float, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivative of the mean loss by z, (rows, units), and each row's loss.

    below : what is added to each row's goodness before it is compared with `theta`
    """
    factor = 2 / (1 if rule.goodness == "sum" else h.shape[1])
    c, loss = reference.goodness_loss(goodness(rule, h) + below, len(h) // 2, theta, factor)
    return c[:, None] * h, loss


def by_pairs(rule: Any, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same by SymBa or Swish."""
    g, pairs = goodness(rule, h), len(h) // 2
    v = rule.alpha * (g[pairs:] - g[:pairs])
    s = np.exp(-np.logaddexp(0, -v))
    loss, slope = (np.logaddexp(0, v), s) if rule.name == "symba" else (v * s, s * (1 + v * (1 - s)))
    c = rule.alpha * slope * 2 / (h.shape[1] * pairs)
    return np.concatenate([-c, c])[:, None] * h, np.tile(loss, 2)


def by_groups(h: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same by class groups."""
    error, loss = reference.softmax(group_goodness(h, classes), labels)
    group = np.arange(h.shape[1]) * classes // h.shape[1]
    return 2 * h * error[:, group] / np.bincount(group)[group], loss
