"""Kernels that change activations or take derivatives unit by unit, against kernels/reference.py in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ffmpi import kernels
from ffmpi.kernels import reference
from ffmpi.network.tree import Tree, finish_of

SHAPES = [(0, 5), (1, 1), (1, 40), (2, 16), (7, 17), (8, 33), (130, 100), (33, 144)]
F = np.float32


def panels(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix in panels whose rows beyond it hold rubbish."""
    found = kernels.to_panels(matrix.astype(F), kernels.padded_rows(len(matrix)) + 8)
    found[:, len(matrix) :] = np.nan
    return found


def vector(values: np.ndarray) -> np.ndarray:
    return kernels.to_panels(values[None].astype(F))[:, 0].copy()


def empty(rows: int, units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return activations full of rubbish, their sums of squares, and scratch."""
    pitch, count = kernels.padded_rows(rows) + 16, kernels.panels_of(units)
    return np.full((count, pitch, 16), np.nan, F), np.full(pitch + 16, np.nan, F), kernels.zeros(count, pitch + 16)


def adds(units: int) -> np.ndarray:
    """Return how to add up something of all panels of so many units."""
    count = kernels.panels_of(units)
    return Tree(0, count, count).adds


def normal(rows: int, units: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, rows, units]).standard_normal((rows, units)).astype(F)


def checked(found: np.ndarray, total: np.ndarray | None, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Compare panels and sums of squares with what is expected of them; padding units are zero."""
    rows, units = expected.shape
    wide = kernels.from_panels(found, rows, 16 * len(found))
    assert_allclose(wide[:, :units], expected, rtol=tolerance, atol=tolerance)
    assert not wide[:, units:].any()
    assert np.isnan(found[:, rows:]).all()
    if total is not None:
        assert_allclose(total[:rows], (expected.astype(np.float64) ** 2).sum(axis=1), rtol=1e-4, atol=1e-6)


def weights_of(rows: int) -> np.ndarray:
    """Return how often each of so many rows counts: once in the mean, and every fourth not at all."""
    weights = np.arange(3, rows + 3) % 4
    return (weights * (rows / max(weights.sum(), 1))).astype(F)


@pytest.mark.parametrize(("rows", "units"), SHAPES)
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_batch_statistics(rows: int, units: int, offset: float, weighted: bool) -> None:
    x, momentum = normal(rows, units) + F(offset), 0.1
    running = normal(2, units, 1)
    mean, variance, *found = (
        vector(np.full(units, 7)),
        vector(np.full(units, 7)),
        vector(running[0]),
        vector(running[1]),
    )
    weights = weights_of(rows) if weighted else None
    kernels.batch_statistics(panels(x), rows, F(momentum), mean, variance, *found, weights)
    if rows == 0:
        assert (mean.reshape(-1)[:units] == 7).all()
        assert_array_equal(found[0].reshape(-1)[:units], running[0])
        return
    expected = reference.batch_statistics(x.astype(np.float64), momentum, *running.astype(np.float64), weights)
    for array, wanted in zip((mean, variance, *found), expected, strict=True):
        assert_allclose(array.reshape(-1)[:units], wanted, rtol=1e-5, atol=1e-5)
    if rows == 1:
        assert not variance.any()
        assert_array_equal(found[1].reshape(-1)[:units], running[1])


@pytest.mark.parametrize(("rows", "units"), SHAPES)
@pytest.mark.parametrize("slope", [1.0, 0.0, 0.01])
def test_batch_norm(rows: int, units: int, slope: float) -> None:
    x, (mean, gain, shift), epsilon = 3 * normal(rows, units), normal(3, units, 1), 1e-3
    variance = normal(1, units, 2)[0] ** 2
    out, total, squares = empty(rows, units)
    arrays = [vector(v) for v in (mean, variance, gain, shift)]
    kernels.batch_norm(
        panels(x), rows, *arrays[:2], F(epsilon), *arrays[2:], F(slope), out, total[None], squares, adds(units)
    )
    expected = reference.batch_norm(*(v.astype(np.float64) for v in (x, mean, variance)), epsilon, gain, shift)
    checked(out, total, np.where(expected > 0, expected, slope * expected), 1e-4)
    place = panels(x)
    kernels.batch_norm(
        place, rows, *arrays[:2], F(epsilon), *arrays[2:], F(slope), place, total[None], squares, adds(units)
    )
    assert_array_equal(place[:, :rows], out[:, :rows])


def test_batch_norm_keeps_what_is_not_finite() -> None:
    x = normal(5, 20)
    x[1, 3], x[2, 4] = np.nan, np.inf
    mean, variance, running = vector(np.zeros(20)), vector(np.zeros(20)), vector(np.zeros(20))
    kernels.batch_statistics(panels(x), 5, F(0.1), mean, variance, running, running.copy(), None)
    out, total, squares = empty(5, 20)
    one, none = vector(np.ones(20)), vector(np.zeros(20))
    kernels.batch_norm(panels(x), 5, mean, variance, F(1e-5), one, none, F(0), out, total[None], squares, adds(20))
    found = kernels.from_panels(out, 5, 20)
    assert np.isnan(found[:, 3]).all() and np.isnan(found[2, 4])
    assert np.isfinite(np.delete(found, (3, 4), axis=1)).all() and np.isnan(total[:5]).all()


def test_batch_norm_of_units_that_do_not_vary() -> None:
    """They have the shift, whatever they are, and no gradient goes through them but rounding's."""
    x = np.tile(np.array([0, 1e-42, -3, 1e18], F), (7, 1))
    mean, variance, none = vector(np.zeros(4)), vector(np.zeros(4)), vector(np.zeros(4))
    kernels.batch_statistics(panels(x), 7, F(0), mean, variance, none, none, None)
    assert_array_equal(mean[0, :4], x[0])
    out, total, squares = empty(7, 4)
    gain, shift = vector(np.ones(4)), vector(np.full(4, 0.25))
    kernels.batch_norm(panels(x), 7, mean, variance, F(1e-5), gain, shift, F(0), out, total[None], squares, adds(4))
    checked(out, total, np.full((7, 4), 0.25))
    dx, dgain, dshift = empty(7, 4)[0], vector(np.zeros(4)), vector(np.zeros(4))
    arguments = (panels(x), 7, mean, variance, F(1e-5), gain, False, dx, dgain, dshift, None)
    kernels.batch_norm_backward(panels(np.ones((7, 4))), *arguments)
    checked(dx, None, np.zeros((7, 4)))
    assert (dshift[0, :4] == 7).all() and not dgain.any()


@pytest.mark.parametrize(("rows", "units"), SHAPES[1:])
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_batch_norm_backward(rows: int, units: int, rectified: bool, weighted: bool) -> None:
    x, dy, gain, epsilon = normal(rows, units), normal(rows, units, 1), normal(1, units, 2)[0], 1e-3
    x = np.maximum(x, 0) if rectified else x
    mean, variance, dgain, dshift = (vector(np.zeros(units)) for _ in range(4))
    weights = weights_of(rows) if weighted else None
    kernels.batch_statistics(panels(x), rows, F(0), mean, variance, dgain, dshift, weights)
    dx = empty(rows, units)[0]
    arguments = (panels(x), rows, mean, variance, F(epsilon), vector(gain), rectified)
    kernels.batch_norm_backward(panels(dy), *arguments, dx, dgain, dshift, weights)
    expected, *sums = reference.batch_norm_backward(dy.astype(np.float64), x.astype(np.float64), epsilon, gain, weights)
    checked(dx, None, np.where(x > 0, expected, 0) if rectified else expected, 1e-4)
    for array, wanted in zip((dgain, dshift), sums, strict=True):
        assert_allclose(array.reshape(-1)[:units], wanted, rtol=1e-4, atol=1e-4)
    place = panels(dy)
    kernels.batch_norm_backward(place, *arguments, place, dgain, dshift, weights)
    assert_array_equal(place[:, :rows], dx[:, :rows])


def test_the_reference_of_batch_norm_backward_is_the_derivative() -> None:
    """By finite differences of sum(weights x output), statistics included."""
    rng = np.random.default_rng(0)
    x, weights, gain, shift, epsilon = *rng.standard_normal((2, 6, 3)), *rng.standard_normal((2, 3)), 1e-3

    def loss(x: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> float:
        mean, variance, *_ = reference.batch_statistics(x, 0.0, gain, gain)
        return float((weights * reference.batch_norm(x, mean, variance, epsilon, gain, shift)).sum())

    for k, found in enumerate(reference.batch_norm_backward(weights, x, epsilon, gain)):
        for index in np.ndindex(found.shape):
            ends = []
            for step in (1e-6, -1e-6):
                arguments = [x.copy(), gain.copy(), shift.copy()]
                arguments[k][index] += step
                ends.append(loss(*arguments))
            assert_allclose((ends[0] - ends[1]) / 2e-6, found[index], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("rows", "units"), [(0, 20), (1, 10), (7, 33), (9, 160), (33, 100), (2, 250)])
@pytest.mark.parametrize("classes", [2, 7, 10])
@pytest.mark.parametrize("squared", [False, True])
def test_groups(rows: int, units: int, classes: int, squared: bool) -> None:
    h, error, power = np.maximum(normal(rows, units), 0), normal(rows, classes, 1), 1 + squared
    g, dz = np.full((1, kernels.padded_rows(rows) + 8, 16), np.nan, F), empty(rows, units)[0]
    kernels.group_means(panels(h), rows, 0, units, classes, squared, adds(units), g[None])
    checked(g, None, reference.group_means(h.astype(np.float64), classes, power))
    kernels.group_backward(panels(error), panels(h), rows, 0, units, classes, squared, dz)
    checked(dz, None, reference.group_backward(error.astype(np.float64), h.astype(np.float64), power))


def test_groups_of_more_classes_than_a_panel_has() -> None:
    h = np.maximum(normal(5, 203), 0)
    g = np.full((7, 8, 16), np.nan, F)
    kernels.group_means(panels(h), 5, 0, 203, 100, True, adds(203), g[None])
    checked(g, None, reference.group_means(h.astype(np.float64), 100, 2))


@pytest.mark.parametrize("squared", [False, True])
def test_the_groups_of_parts_of_a_layer(squared: bool) -> None:
    """Shares of the means add up to the whole's, and derivatives of a part are a part of the whole's."""
    h, error = np.maximum(normal(9, 100), 0), normal(9, 7, 1)
    whole, dz = np.full((1, 16, 16), np.nan, F), empty(9, 100)[0]
    kernels.group_means(panels(h), 9, 0, 100, 7, squared, adds(100), whole[None])
    kernels.group_backward(panels(error), panels(h), 9, 0, 100, 7, squared, dz)
    parts = []
    for part in (slice(0, 2), slice(2, 3), slice(3, 7)):
        tree, part_dz = Tree(part.start, part.stop, 7), np.full_like(dz[part], np.nan)
        g = np.full((tree.count, 1, 16, 16), np.nan, F)
        kernels.group_means(panels(h)[part], 9, 16 * part.start, 100, 7, squared, tree.adds, g)
        kernels.group_backward(panels(error), panels(h)[part], 9, 16 * part.start, 100, 7, squared, part_dz)
        parts.append(g.reshape(tree.count, -1))
        assert_array_equal(part_dz, dz[part])
    found = np.empty(whole.size, F)
    kernels.add_nodes(np.concatenate(parts), finish_of([2, 3], 7), found)
    assert_array_equal(found, whole.reshape(-1))


def test_an_activation_that_is_nan_is_in_its_group_only() -> None:
    h = np.maximum(normal(3, 33), 0)
    h[1, 12] = np.nan
    g = np.zeros((1, 8, 16), F)
    kernels.group_means(panels(h), 3, 0, 33, 5, True, adds(33), g[None])
    assert np.argwhere(np.isnan(g)).tolist() == [[0, 1, 12 * 5 // 33]]


def test_the_reference_of_the_groups_is_the_derivative() -> None:
    z, error = normal(4, 11).astype(np.float64), normal(4, 3, 1).astype(np.float64)
    for power in (1, 2):
        found = reference.group_backward(error, np.maximum(z, 0), power)
        for index in np.ndindex(z.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = z.copy()
                moved[index] += step
                ends.append((error * reference.group_means(np.maximum(moved, 0), 3, power)).sum())
            assert_allclose((ends[0] - ends[1]) / 2e-6, found[index], rtol=1e-5, atol=1e-8)


def test_philox_has_the_words_that_its_authors_publish() -> None:
    """The known answers of philox4x32 with ten rounds that come with Random123."""
    counters = [[0] * 4, [2**32 - 1] * 4, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]]
    keys = [(0, 0), (2**32 - 1, 2**32 - 1), (0xA4093822, 0x299F31D0)]
    expected = [
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ]
    for counter, key, words in zip(counters, keys, expected, strict=True):
        assert reference.philox(np.array([counter], np.uint32), key)[0].tolist() == words


@pytest.mark.parametrize(("rows", "units"), [*SHAPES, (3, 300)])
@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1 - 2**-16])
@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_dropout(rows: int, units: int, probability: float, seed: int) -> None:
    h, rng = np.maximum(normal(rows, units), 0), np.random.default_rng(rows)
    samples, kinds = rng.integers(0, 2**31, rows), rng.integers(0, 256, rows)
    out, total, squares = empty(rows, units)
    draw = (seed, 2**32 - 1, 2**24 - 1)
    kernels.dropout(panels(h), rows, samples, kinds, *draw, 0, probability, out, total[None], squares, adds(units))
    expected = reference.dropout(h, samples, kinds, *draw, probability)
    checked(out, total, expected)
    assert_array_equal(kernels.from_panels(out, rows, units) == 0, expected == 0)
    place = panels(h)
    kernels.dropout(place, rows, samples, kinds, *draw, 0, probability, place, total[None], squares, adds(units))
    assert_array_equal(place[:, :rows], out[:, :rows])
    if probability == 0:
        assert_array_equal(kernels.from_panels(out, rows, units), h)


def test_the_mask_does_not_depend_on_where_a_row_or_a_part_of_a_layer_is() -> None:
    h, samples, kinds = (
        np.ones((9, 100), F),
        np.array([5, 3, 8, 5, 3, 8, 1, 2, 1]),
        np.array([0, 0, 0, 1, 1, 1, 2, 2, 2]),
    )
    out, total, squares = empty(9, 280)
    kernels.dropout(panels(h), 9, samples, kinds, 1, 2, 3, 0, 0.5, out, total[None], squares, adds(100))
    order = np.array([8, 0, 3, 2, 4])
    for part in (slice(0, 18), slice(3, 5), slice(7, 9), slice(17, 18)):
        found = np.full_like(out[part], np.nan)
        kernels.dropout(
            panels(h)[part],
            5,
            samples[order],
            kinds[order],
            1,
            2,
            3,
            part.start,
            0.5,
            found,
            total[None],
            squares[part],
            adds(16 * len(found)),
        )
        assert_array_equal(found[:, :5], out[part][:, order])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_dropout_does_not_hide_what_is_not_finite(value: float) -> None:
    h, rows = np.ones((20, 20), F), np.arange(20)
    h[:, 7] = value
    out, total, squares = empty(20, 20)
    kernels.dropout(panels(h), 20, rows, rows, 0, 0, 0, 0, 0.5, out, total[None], squares, adds(20))
    found = kernels.from_panels(out, 20, 20)
    assert not np.isfinite(found[:, 7]).any() and np.isfinite(np.delete(found, 7, axis=1)).all()
    assert not np.isfinite(total[:20]).any()


def test_masks_are_evenly_spread_and_differ() -> None:
    """Over a million draws the share is within four deviations, and masks agree as often as chance has it."""
    rows, units, p = 512, 2000, 0.3
    masks = []
    for change in ({}, {"seed": 2**32}, {"epoch": 1}, {"purpose": 1}, {"kinds": 1}, {"samples": 512}):
        draw = {"seed": 0, "epoch": 0, "purpose": 0} | {
            k: v for k, v in change.items() if k in ("seed", "epoch", "purpose")
        }
        samples, kinds = np.arange(rows) + change.get("samples", 0), np.full(rows, change.get("kinds", 0))
        out, total, squares = empty(rows, units)
        h = panels(np.ones((rows, units)))
        kernels.dropout(h, rows, samples, kinds, *draw.values(), 0, p, out, total[None], squares, adds(units))
        masks.append(kernels.from_panels(out, rows, units) != 0)
    count, deviation = rows * units, np.sqrt(p * (1 - p) * rows * units)
    for mask in masks:
        assert abs(mask.sum() - count * (1 - p)) < 4 * deviation
    agree = p**2 + (1 - p) ** 2
    pairs = [(a, b) for i, a in enumerate(masks) for b in masks[:i]]
    pairs += [(masks[0][1:], masks[0][:-1]), (masks[0][:, 16:], masks[0][:, :-16]), (masks[0][:, 1:], masks[0][:, :-1])]
    for a, b in pairs:
        assert abs((a == b).mean() - agree) < 4.5 * np.sqrt(agree * (1 - agree) / a.size)


@pytest.mark.parametrize(("rows", "units"), SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_peers(rows: int, units: int, weighted: bool) -> None:
    positives, momentum, strength = rows // 2, 0.9, 0.03
    h, c, means = np.maximum(normal(rows, units), 0), normal(rows, 1, 1)[:, 0], np.abs(normal(1, units, 2))[0]
    c[rows // 4 :: 3] = 0
    running, weights = vector(means), weights_of(positives) if weighted else None
    total = np.empty((1, 1), F)
    kernels.peer_means(panels(h), positives, F(momentum), running, weights, adds(units), total)
    expected = reference.peer_means(h[:positives].astype(np.float64), momentum, means, weights) if positives else means
    assert_allclose(running.reshape(-1)[:units], expected, rtol=1e-5)
    assert_allclose(total[0, 0], expected.sum(), rtol=1e-5)
    dz, taking_part = empty(rows, units)[0], np.full(rows, np.nan, F)
    mean = total[0, 0] / F(units)
    kernels.peer_gradient(panels(h), c, positives, units, running, mean, F(strength), dz, taking_part, weights)
    checked(dz, None, reference.peer_gradient(h, c, positives, expected, strength, weights))
    drawn = np.arange(rows) < positives
    drawn[:positives] &= weights is None or weights > 0
    assert_array_equal(taking_part, drawn | (c != 0))


def test_peers_padding_is_left_out() -> None:
    """A running mean of 0.5 in a unit that only pads a panel is no unit's, and gives no derivative."""
    means = np.full((2, 16), 0.5, F)
    dz, taking_part = empty(4, 20)[0], np.zeros(4, F)
    kernels.peer_gradient(panels(np.ones((4, 20))), np.ones(4, F), 2, 20, means, F(5), F(1), dz, taking_part, None)
    assert not kernels.from_panels(dz, 4, 32)[:, 20:].any()


@pytest.mark.parametrize(("rows", "units"), [(1, 10), (7, 33), (33, 100), (2, 250)])
@pytest.mark.parametrize("slope", [1.0, 0.25])
def test_similarity(rows: int, units: int, slope: float) -> None:
    h, labels, classes, weight = normal(rows, units) + F(0.5), np.arange(rows) % 4, 4, 0.7
    both = np.full((1, rows * (rows + 1) + 3), np.nan, F)
    kernels.gram(panels(h), rows, adds(units), both, 2)
    assert np.isnan(both[0, [0, 1, -1]]).all()
    products, sums = both[0, 2 : rows * rows + 2].reshape(rows, rows).copy(), both[0, rows * rows + 2 : -1].copy()
    exact = h.astype(np.float64)
    for found, expected in zip((products, sums), reference.gram(exact), strict=True):
        assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    m, means = np.full((rows, rows), np.nan, F), np.full(rows, np.nan, F)
    loss = kernels.similarity_loss(products, sums, units, labels, classes, weight, m, means)
    assert_allclose(loss, reference.similarity_loss(exact, labels, classes).sum(), rtol=1e-4, atol=1e-12)
    before = normal(rows, units, 1)
    dz = panels(before)
    kernels.similarity_backward(m, panels(h), means, units, F(slope), dz)
    expected = weight * reference.similarity_backward(exact, labels, classes) * np.where(h > 0, 1, slope)
    checked(dz, None, before + expected, 1e-4)
    kernels.similarity_loss(products, sums, units, labels, classes, weight, products, sums)
    assert_array_equal(products[:rows, :rows], m)


def test_rows_without_direction() -> None:
    """Constant rows, zero or not, are like no other and have no derivative; what is not finite shows."""
    h = normal(4, 20)
    h[1], h[2] = 0, 3.3
    both = np.zeros((1, 20), F)
    kernels.gram(panels(h), 4, adds(20), both, 0)
    products, sums = both[0, :16].reshape(4, 4), both[0, 16:]
    m, means, dz = np.zeros((4, 4), F), np.zeros(4, F), panels(np.zeros((4, 20)))
    labels = np.array([0, 1, 2, 1])
    assert kernels.similarity_loss(products, sums, 20, labels, 3, 1.0, m, means) > 0
    assert not m[1:3].any() and not m[:, 1:3].any() and m[0].any() and np.isfinite(m).all()
    kernels.similarity_backward(m, panels(h), means, 20, F(1), dz)
    found = kernels.from_panels(dz, 4, 20)
    assert np.isfinite(found).all() and not found[1:3].any()
    products[0, 3] = np.nan
    assert np.isnan(kernels.similarity_loss(products, sums, 20, labels, 3, 1.0, m, means))


def test_the_reference_of_similarity_is_the_derivative() -> None:
    h, labels = normal(5, 7).astype(np.float64), np.array([0, 1, 1, 2, 0])
    found = reference.similarity_backward(h, labels, 3)
    for index in np.ndindex(h.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = h.copy()
            moved[index] += step
            ends.append(reference.similarity_loss(moved, labels, 3).mean())
        assert_allclose((ends[0] - ends[1]) / 2e-6, found[index], rtol=1e-5, atol=1e-8)
