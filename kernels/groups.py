"""Groups of units, one a class: their mean activations, and the way back from a loss of these."""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .simd import LANES, horizontal_sum, load, mul, splat, store, where_positive


@compiled
def _groups(begin, units, classes, groups, weights):  # type: ignore[no-untyped-def]
    """Write the group of each of the sixteen units from `begin` on, and 1 / its size; the weight 0 beyond `units`."""
    for lane in range(LANES):
        unit = begin + lane
        group = min(unit, units - 1) * classes // units
        size = -(-(group + 1) * units // classes) - -(-group * units // classes)
        groups[lane] = group
        weights[lane] = np.float32(1.0) / np.float32(size) if unit < units else np.float32(0.0)


@compiled
def group_means(h, rows, first, units, classes, squared, g):  # type: ignore[no-untyped-def]
    """Write the mean over each group of units of h, or of h squared, see `reference.group_means`.

    A panel's share is summed first, then the panels' in their order.

    Parameters
    ----------
    h : (unit panels, pitch, 16) float32, of a layer or of a part of it, whose share is written then
    first : the unit of the layer with which h begins, a multiple of 16
    units : how many the layer has, at least `classes`; unit u is in group u classes // units
    squared : whether h is squared
    g : (class panels, pitch of its own, 16) float32, written; zero beyond the classes
    """
    groups, weights, mask = np.empty(LANES, np.int64), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for panel in range(len(g)):
        for row in range(rows):
            store(g, (panel * g.shape[1] + row) * LANES, splat(np.float32(0.0)))
    for panel in range(len(h)):
        _groups(first + panel * LANES, units, classes, groups, weights)
        for group in range(groups[0], groups[-1] + 1):
            for lane in range(LANES):
                mask[lane] = weights[lane] if groups[lane] == group else np.float32(0.0)
            inside = load(mask, 0)
            for row in range(rows):
                value = load(h, (panel * h.shape[1] + row) * LANES)
                if squared:
                    value = mul(value, value)
                g[group >> 4, row, group & 15] += horizontal_sum(where_positive(inside, mul(value, inside)))


@compiled
def group_backward(error, h, rows, first, units, classes, squared, dz):  # type: ignore[no-untyped-def]
    """Write the derivative by the values before the ReLU of a loss of the group means, see `reference.group_backward`.

    Parameters
    ----------
    error : (class panels, pitch, 16) float32, the derivative by the means
    h, first, units, classes, squared : as for `group_means`; squares of anything, not only of a ReLU's output
    dz : (unit panels, pitch of its own, 16) float32, written
    """
    groups, weights, slope = np.empty(LANES, np.int64), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    factor = np.float32(2.0) if squared else np.float32(1.0)
    for panel in range(len(h)):
        _groups(first + panel * LANES, units, classes, groups, weights)
        alone, size = groups[0] == groups[-1], mul(load(weights, 0), splat(factor))
        group = groups[0]
        for row in range(rows):
            activation = load(h, (panel * h.shape[1] + row) * LANES)
            if alone:
                by_mean = splat(error[group >> 4, row, group & 15])
            else:
                for lane in range(LANES):
                    slope[lane] = error[groups[lane] >> 4, row, groups[lane] & 15]
                by_mean = load(slope, 0)
            by_mean = mul(by_mean, size)
            gradient = mul(activation, by_mean) if squared else where_positive(activation, by_mean)
            store(dz, (panel * dz.shape[1] + row) * LANES, gradient)
