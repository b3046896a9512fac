"""The one order in which numbers are added up over the units of a layer: a binary tree over its panels.

Node (l, j) covers the panels [j 2^l, (j + 1) 2^l), as far as there are any: the sum of its left and its right half,
and of the left alone where nothing is to the right. Whoever has some of the panels makes the largest nodes that lie
inside, and anybody may finish the tree: the sum does not depend on how a layer is cut (docs/design.md, section 8).

The order is written down for a stack, ``adds``: after each number is pushed, how often the two on top are replaced by
their sum. What is left are the nodes from left to right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np


def nodes_of(first: int, stop: int, panels: int) -> list[tuple[int, int]]:
    """Return the largest nodes (l, j) inside the panels [first, stop) of a layer of `panels`, from left to right."""
    found, top = [], max(panels - 1, 0).bit_length()
    while first < stop:
        level = top
        while first % (1 << level) or min(first + (1 << level), panels) > stop:
            level -= 1
        found.append((level, first >> level))
        first = min(first + (1 << level), panels)
    return found


def _is_node(first: int, middle: int, stop: int, panels: int) -> bool:
    """Whether [first, middle) and [middle, stop) are the halves of a node."""
    half = 1 << max(stop - first - 1, 0).bit_length() - 1
    whole = stop - first == 2 * half or stop == panels
    return whole and first % (2 * half) == 0 and middle == first + half


def _adds(ends: Iterable[int], first: int, panels: int) -> tuple[np.ndarray, int]:
    """Return ``adds`` of nodes that begin with panel `first` and end with `ends`, and how many nodes are left."""
    adds, borders = [], [first]
    for end in ends:
        borders.append(end)
        count = 0
        while len(borders) > 2 and _is_node(borders[-3], borders[-2], end, panels):
            del borders[-2]
            count += 1
        adds.append(count)
    return np.array(adds, np.int64), len(borders) - 1


class Tree:
    """The part of a layer's tree that the panels [first, stop) make.

    Attributes
    ----------
    first, stop, panels : the piece, and the number of the layer's panels
    adds : (stop - first,) int64, for each panel of the piece, see above
    count : how many nodes come out: one of the whole layer, which is the sum
    """

    def __init__(self, first: int, stop: int, panels: int) -> None:
        self.first, self.stop, self.panels = first, stop, panels
        self.adds, self.count = _adds(range(first + 1, stop + 1), first, panels)


@lru_cache(64)
def _finish(cuts: tuple[int, ...], panels: int) -> np.ndarray:
    borders = sorted({0, *cuts, panels})
    ends = []
    for first, stop in pairwise(borders):
        ends += [min(j + 1 << level, panels) for level, j in nodes_of(first, stop, panels)]
    adds, count = _adds(ends, 0, panels)
    assert count == 1
    return adds


def finish_of(cuts: Sequence[int], panels: int) -> np.ndarray:
    """Return ``adds`` for the nodes of all pieces of a layer, one piece after the other: what is left is the sum.

    cuts : the panels with which pieces begin, ascending; 0 may be among them
    """
    return _finish(tuple(cuts), panels)
