"""Sums over the panels of a layer: one order, however the layer is cut."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ffmpi import kernels
from ffmpi.kernels import reference
from ffmpi.network.tree import Tree, finish_of, nodes_of

F = np.float32


def normal(*shape: int) -> np.ndarray:
    # Of very different sizes, so that another order gives other bits.
    rng = np.random.default_rng(shape)
    return (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4, shape)).astype(F)


def cuts_of(panels: int) -> list[list[int]]:
    """Return every way to cut a layer of a few panels, and some ways to cut one of more."""
    if panels <= 6:
        inside = range(1, panels)
        return [list(cut) for count in range(panels) for cut in combinations(inside, count)]
    rng = np.random.default_rng(panels)
    some = [sorted(rng.choice(np.arange(1, panels), count, replace=False).tolist()) for count in (1, 2, 3, panels // 2)]
    return [[], [1], [panels - 1], list(range(1, panels)), *some]


@pytest.mark.parametrize("panels", range(1, 19))
def test_nodes_are_the_largest_inside(panels: int) -> None:
    def covered(level: int, index: int) -> tuple[int, int]:
        return index << level, min(index + 1 << level, panels)

    for first, stop in combinations(range(panels + 1), 2):
        nodes = nodes_of(first, stop, panels)
        assert Tree(first, stop, panels).count == len(nodes)
        borders = [covered(*node) for node in nodes]
        assert [first] + [end for _, end in borders] == [start for start, _ in borders] + [stop]
        for level, index in nodes:
            low, high = covered(level + 1, index // 2)
            assert (low, high) == covered(level, index) or low < first or high > stop


@pytest.mark.parametrize("panels", [*range(1, 7), 13, 31, 64, 125])
def test_pieces_add_up_to_the_same_bits(panels: int) -> None:
    shares = normal(panels, 32)
    expected = reference.tree_sum(shares)
    for cuts in cuts_of(panels):
        nodes = []
        for first, stop in pairwise([0, *cuts, panels]):
            tree = Tree(first, stop, panels)
            sums = np.full((tree.count, 32), np.nan, F)
            kernels.add_panels(shares[first:stop], tree.adds, 30, sums)
            nodes.append(sums)
        every = np.concatenate(nodes)
        kept, found = every.copy(), np.full(32, np.nan, F)
        kernels.add_nodes(every, finish_of(cuts, panels), found)
        assert_array_equal(found, expected)
        assert_array_equal(every, kept)  # it may be under way to others


def test_the_order_matters() -> None:
    shares = normal(125, 32)
    in_turn = shares[0].copy()
    for share in shares[1:]:
        in_turn += share
    assert (in_turn != reference.tree_sum(shares)).any()


@pytest.mark.parametrize("width", [1, 7, 255, 256, 257, 600])
def test_nodes_of_any_width(width: int) -> None:
    nodes, found = normal(5, width), np.empty(width, F)
    kernels.add_nodes(nodes, finish_of([1, 2, 3, 4], 5), found)
    assert_array_equal(found, reference.tree_sum(nodes))
    kernels.add_nodes(nodes[:1], finish_of([], 9), found)
    assert_array_equal(found, nodes[0])


@pytest.mark.parametrize("rows", [1, 4, 9, 33])
@pytest.mark.parametrize(("units", "classes"), [(1, 2), (16, 16), (50, 10), (83, 40), (300, 10), (290, 100)])
def test_logits(rows: int, units: int, classes: int) -> None:
    rng = np.random.default_rng([rows, units, classes])
    h, d = rng.standard_normal((rows, units)).astype(F), rng.standard_normal((units, classes)).astype(F)
    h_panels = kernels.to_panels(h, kernels.padded_rows(rows) + 8)
    h_panels[:, rows:] = np.nan  # rubbish
    panels, parts = len(h_panels), kernels.panels_of(classes)
    d_panels = kernels.to_panels(d, 16 * panels)
    exact = h.astype(np.float64) @ d

    def nodes_of_piece(first: int, stop: int) -> np.ndarray:
        tree = Tree(first, stop, panels)
        out = np.full((tree.count, parts, kernels.padded_rows(rows), 16), np.nan, F)
        own = np.ascontiguousarray(d_panels[:, 16 * first : 16 * stop])
        kernels.logits(h_panels[first:stop], own, tree.adds, rows, out)
        return out

    whole = nodes_of_piece(0, panels)[0]
    found = kernels.from_panels(whole, rows, 16 * parts)
    assert_allclose(found[:, :classes], reference.logits(h, d), rtol=1e-4, atol=1e-4)
    assert_allclose(found[:, :classes], exact, rtol=1e-4, atol=1e-4)
    assert not found[:, classes:].any()
    for cuts in cuts_of(panels)[1:]:
        nodes = [nodes_of_piece(*piece).reshape(-1, whole.size) for piece in pairwise([0, *cuts, panels])]
        total = np.empty(whole.size, F)
        kernels.add_nodes(np.concatenate(nodes), finish_of(cuts, panels), total)
        assert_array_equal(total.reshape(whole.shape)[:, :rows], whole[:, :rows])


@pytest.mark.parametrize("more", [False, True])
def test_complete_logits(more: bool) -> None:
    raw, before, bias, scale = normal(5, 20), normal(5, 20), normal(1, 20)[0], normal(5, 1)[:, 0]
    out = kernels.to_panels(before, 16)
    norm = np.ones(5, F), F(0), F(0), scale
    kernels.complete_logits(kernels.to_panels(raw, 8), *norm, kernels.to_panels(bias[None])[:, 0].copy(), 5, more, out)
    expected = scale[:, None] * raw + bias + (before if more else 0)
    assert_allclose(kernels.from_panels(out, 5, 20), expected, rtol=1e-4)


def test_the_squares_of_a_row_are_added_up_in_the_tree() -> None:
    rows, inputs, units = 7, 20, 333
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((rows, inputs)).astype(F), kernels.to_panels(normal(inputs, units), 32)
    panels = len(w)
    h, squares, totals = kernels.zeros(panels, 8, 16), kernels.zeros(panels, 16), np.empty((1, 16), F)
    norm = np.ones(8, F), F(0), F(0), np.ones(8, F)
    arguments = kernels.to_panels(a, 8), norm, w, kernels.zeros(panels, 16), h, totals, squares
    kernels.forward(*arguments, Tree(0, panels, panels).adds, rows, kernels.DENSE, True)
    found = kernels.from_panels(h, rows, units)
    assert_array_equal(totals[0, :rows], reference.panel_sum(found * found))
