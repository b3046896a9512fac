"""Sums over the panels of a layer, in the order of a binary tree, see `reference.tree_sum`.

The order comes as ``adds`` (n,) int64: after each of n terms is pushed on a stack, how often the two on top are
replaced by their sum. What is left are the nodes of the tree, from left to right.
"""

from __future__ import annotations

import numpy as np

from .compiled import compiled
from .simd import LANES, add, load, store

#: Terms that a stack has room for; of 2^n panels there are never more than 2 n + 1.
DEPTH = 64
_AT_ONCE = 256


@compiled
def add_panels(shares, adds, rows, sums):  # type: ignore[no-untyped-def]
    """Add up the panels' shares of `rows` numbers; all arrays have whole vectors of sixteen a line.

    shares : (panels, width) float32; adds : (panels,); sums : (nodes, width of its own) float32, written
    """
    stack = np.empty((DEPTH, LANES), np.float32)
    for row in range(0, rows, LANES):
        top = 0
        for panel in range(len(adds)):
            value = load(shares, panel * shares.shape[1] + row)
            for _ in range(adds[panel]):
                top -= 1
                value = add(load(stack, top * LANES), value)
            store(stack, top * LANES, value)
            top += 1
        for node in range(top):
            store(sums, node * sums.shape[1] + row, load(stack, node * LANES))


@compiled
def add_nodes(nodes, adds, out):  # type: ignore[no-untyped-def]
    """Finish a tree: write the sum of its `nodes`, which stay as they are.

    nodes : (n, width) float32, of all parts of a layer from left to right; adds : (n,), which leave one; out : (width,)
    """
    width = nodes.shape[1]
    stack = np.empty((DEPTH, min(_AT_ONCE, width)), np.float32)
    for start in range(0, width, _AT_ONCE):
        count, top = min(_AT_ONCE, width - start), 0
        for node in range(len(adds)):
            for i in range(count):
                stack[top, i] = nodes[node, start + i]
            for _ in range(adds[node]):
                top -= 1
                for i in range(count):
                    stack[top, i] += stack[top + 1, i]
            top += 1
        for i in range(count):
            out[start + i] = stack[0, i]
