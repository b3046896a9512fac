"""Groups of units, one a class: their mean activations, and the way back from a loss of these."""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .logits import depth_of
from .simd import LANES, add, horizontal_sum, load, mul, splat, store, where_positive


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
def _panel_means(h, panel, rows, begin, units, classes, squared, g):  # type: ignore[no-untyped-def]
    """Write a panel's share of the means of its groups, zero beside them; return their first and last panel in g."""
    groups, weights, mask = np.empty(LANES, np.int64), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    _groups(begin, units, classes, groups, weights)
    low, high = groups[0] >> 4, groups[-1] >> 4
    for part in range(low, high + 1):
        for row in range(rows):
            store(g, (part * g.shape[1] + row) * LANES, splat(np.float32(0.0)))
    for group in range(groups[0], groups[-1] + 1):
        for lane in range(LANES):
            mask[lane] = weights[lane] if groups[lane] == group else np.float32(0.0)
        inside = load(mask, 0)
        for row in range(rows):
            value = load(h, (panel * h.shape[1] + row) * LANES)
            if squared:
                value = mul(value, value)
            g[group >> 4, row, group & 15] = horizontal_sum(where_positive(inside, mul(value, inside)))
    return low, high


@compiled
def group_means(h, rows, first, units, classes, squared, adds, g):  # type: ignore[no-untyped-def]
    """Write the nodes of the mean over each group of units of h, or of h squared, see `reference.group_means`.

    Parameters
    ----------
    h : (unit panels, pitch, 16) float32, of a layer or of a part of it
    first : the unit of the layer with which h begins, a multiple of 16
    units : how many the layer has, at least `classes`; unit u is in group u classes // units
    squared : whether h is squared
    adds : (unit panels,) int64, see `tree`
    g : (nodes, class panels, pitch of its own, 16) float32, written; zero beyond the classes
    """
    deepest, nodes = depth_of(adds)
    stack = np.empty((deepest + 1, g.shape[1], rows, LANES), np.float32)
    # Groups follow one another: an entry is zero but from one panel of classes to another.
    low, high = np.zeros(deepest + 1, np.int64), np.zeros(deepest + 1, np.int64)
    top = 0
    for panel in range(len(h)):
        low[top], high[top] = _panel_means(h, panel, rows, first + panel * LANES, units, classes, squared, stack[top])
        for _ in range(adds[panel]):
            top -= 1
            left, right = stack[top], stack[top + 1]
            for part in range(low[top + 1], high[top + 1] + 1):
                for index in range(part * rows * LANES, (part + 1) * rows * LANES, LANES):
                    value = load(right, index)
                    store(left, index, add(load(left, index), value) if part <= high[top] else value)
            high[top] = high[top + 1]
        top += 1
    for node in range(nodes):
        for part in range(g.shape[1]):
            for row in range(rows):
                index, value = (part * rows + row) * LANES, splat(np.float32(0.0))
                if low[node] <= part <= high[node]:
                    value = load(stack[node], index)
                store(g[node, part], row * LANES, value)


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
