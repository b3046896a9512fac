"""Every kernel against kernels/reference.py."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ffmpi import kernels
from ffmpi.kernels import reference
from ffmpi.kernels.forward import _skipping_pays as skipping_pays
from ffmpi.network.tree import Tree

ROWS = [1, 2, 7, 8, 9, 33, 130]
SIZES = [(1, 1), (1, 17), (15, 16), (16, 15), (17, 49), (64, 100), (100, 33), (200, 144)]


def make(rows: int, inputs: int, units: int, seed: int = 0):
    """Return a, scale, w, bias as plain arrays, with the zeros that a ReLU leaves."""
    rng = np.random.default_rng(seed)
    a = np.maximum(rng.standard_normal((rows, inputs)), 0).astype(np.float32)
    scale = rng.uniform(0.5, 2, rows).astype(np.float32)
    w = (rng.standard_normal((inputs, units)) / np.sqrt(inputs)).astype(np.float32)
    return a, scale, w, (0.1 * rng.standard_normal(units)).astype(np.float32)


KINDS = [kernels.ADAM, kernels.SGD, kernels.NESTEROV, kernels.LION]


def adam_constants(step: int, rate: float, decay: float, beta1: float, beta2: float, epsilon: float) -> np.ndarray:
    """Return Adam's constants for one step."""
    return kernels.adam_constants(np.array([step]), rate, decay, beta1, beta2, epsilon)[0]


def constants_of(kind: int, step: int, decay: float) -> np.ndarray:
    """Return the constants of an optimiser at rate 0.01."""
    if kind == kernels.ADAM:
        return adam_constants(step, 0.01, decay, 0.9, 0.999, 1e-2)
    return (
        kernels.lion_constants(0.01, decay, 0.9, 0.99)
        if kind == kernels.LION
        else kernels.sgd_constants(0.01, decay, 0.9)
    )


def stepped(kind: int, w, g, m, v, step: int, decay: float):
    """Return w, m, v as the reference has them after the step; w is a NaN where rounding decides a sign."""
    if kind == kernels.ADAM:
        return reference.adam(w, g, m, v, step, 0.01, decay, 0.9, 0.999, 1e-2)
    if kind == kernels.LION:
        close = abs(0.9 * m + (1 - 0.9) * g) < 1e-5
        assert close.mean() < 0.01 or not np.any(g)
        w, m = reference.lion(w, g, m, 0.01, decay, 0.9, 0.99)
        return np.where(close & (g != 0), np.nan, w), m, v
    w, m = (reference.sgd if kind == kernels.SGD else reference.nesterov)(w, g, m, 0.01, decay, 0.9)
    return w, m, v


def assert_close(found: np.ndarray, expected: np.ndarray, **tolerances: float) -> None:
    known = ~np.isnan(expected)
    np.testing.assert_allclose(found[known], expected[known], **tolerances)


def on_threads(name, threads):
    """Return a kernel, or the function that runs it on some of Numba's threads."""
    return getattr(kernels, name) if threads == 1 else partial(getattr(kernels, f"{name}_parallel"), threads)


def update(*arguments, labels=kernels.NO_LABELS, nonzeros=kernels.DENSE, threads=1):
    return on_threads("update", threads)(*arguments, labels, nonzeros)


def adds(panels):
    """Return how to add up something of all of a layer's panels."""
    return Tree(0, len(panels), len(panels)).adds


def norm_of(scale: np.ndarray) -> tuple[np.ndarray, np.float32, np.float32, np.ndarray]:
    """Return what rows are normalised by where their factors are there already."""
    return scale, np.float32(0), np.float32(0), scale


class Panels:
    """The same numbers in the kernels' layout, with padding rows that hold rubbish."""

    def __init__(self, a, scale, w, bias):
        self.rows, self.units = len(a), w.shape[1]
        pitch = kernels.padded_rows(self.rows)
        self.a = kernels.to_panels(a, pitch)
        self.a[:, self.rows :] = np.nan
        self.scale = np.full(pitch, np.nan, np.float32)
        self.scale[: self.rows] = scale
        self.inputs_padded = kernels.panels_of(w.shape[0]) * kernels.LANES
        self.w = kernels.to_panels(w, self.inputs_padded)
        self.bias = kernels.to_panels(bias[None])[:, 0].copy()
        margin = -(-pitch // kernels.LANES) * kernels.LANES
        self.h = kernels.zeros(len(self.w), pitch, kernels.LANES)
        self.totals, self.squares = kernels.zeros(1, margin), kernels.zeros(len(self.w), margin)

    def forward(self, nonzeros=kernels.DENSE, rectify=True, threads=1):
        rest = self.h, self.totals, self.squares, adds(self.w), self.rows, nonzeros, rectify
        on_threads("forward", threads)(self.a, norm_of(self.scale), self.w, self.bias, *rest)
        return kernels.from_panels(self.h, self.rows, self.units), self.totals[0, : self.rows].copy()


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("inputs", "units"), SIZES)
def test_forward(rows: int, inputs: int, units: int) -> None:
    plain = make(rows, inputs, units)
    expected = reference.forward(*plain)
    for rectify in (True, False):
        h, total = Panels(*plain).forward(rectify=rectify)
        expected = reference.forward(*plain, rectify=rectify)
        np.testing.assert_allclose(h, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(total, (expected.astype(np.float64) ** 2).sum(axis=1), rtol=1e-5, atol=1e-6)


def test_many_rows() -> None:
    rows, inputs, units = 5000, 30, 20
    a, scale, w, _ = plain = make(rows, inputs, units)
    expected = reference.forward(*plain)
    panels = Panels(*plain)
    h, _ = panels.forward()
    np.testing.assert_allclose(h, expected, rtol=1e-5, atol=1e-5)
    c = np.random.default_rng(1).standard_normal(rows).astype(np.float32)
    moments = tuple(kernels.zeros(*x.shape) for x in (panels.w, panels.w, panels.bias, panels.bias))
    constants = kernels.sgd_constants(0.01, 0.0, 0.9)
    update(kernels.SGD, panels.a, scale, c, panels.h, panels.w, panels.bias, moments, constants)
    dw, _ = reference.gradients(a, scale, c, h)
    expected_w, _ = reference.sgd(w, dw, np.zeros_like(w), 0.01, 0.0, 0.9)
    np.testing.assert_allclose(kernels.from_panels(panels.w, inputs, units), expected_w, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_update_does_not_hide_what_is_not_finite(value: float, skip: bool) -> None:
    a, scale, w, bias = make(8, 20, 20)
    a[3, 2:] = 0
    a[3, :2] = 1
    panels = Panels(a, scale, w, bias)
    panels.forward()
    panels.h[0, 3, 5] = value
    nonzeros = kernels.Nonzeros(8, kernels.panels_of(20)).arrays if skip else kernels.DENSE
    moments = tuple(kernels.zeros(*x.shape) for x in (panels.w, panels.w, panels.bias, panels.bias))
    c = np.ones(8, np.float32)
    constants = adam_constants(1, 0.01, 0.0, 0.9, 0.999, 1e-8)
    update(
        kernels.ADAM, panels.a, panels.scale, c, panels.h, panels.w, panels.bias, moments, constants, nonzeros=nonzeros
    )
    for found in (kernels.from_panels(panels.w, 20, 20), panels.bias.reshape(1, -1)[:, :20]):
        assert not np.isfinite(found[:2, 5]).any()
        assert np.isfinite(np.delete(found, 5, axis=1)).all()


@pytest.mark.parametrize("skip", [False, True])
def test_an_input_that_is_nan_is_not_skipped(skip: bool) -> None:
    a, scale, w, bias = make(8, 20, 20)
    a[:] = 0
    a[3, 2] = np.nan
    panels = Panels(a, scale, w, bias)
    nonzeros = kernels.Nonzeros(8, kernels.panels_of(20)).arrays if skip else kernels.DENSE
    h, total = panels.forward(nonzeros=nonzeros)
    assert np.isnan(h[3]).all() and np.isnan(total[3]) and np.isfinite(np.delete(h, 3, axis=0)).all()
    z, c = np.ones_like(panels.h), np.ones(8, np.float32)
    moments = tuple(kernels.zeros(*x.shape) for x in (panels.w, panels.w, panels.bias, panels.bias))
    constants = adam_constants(1, 0.01, 0.0, 0.9, 0.999, 1e-8)
    update(kernels.ADAM, panels.a, panels.scale, c, z, panels.w, panels.bias, moments, constants, nonzeros=nonzeros)
    w = kernels.from_panels(panels.w, 20, 20)
    assert np.isnan(w[2]).all() and np.isfinite(np.delete(w, 2, axis=0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_update_of_no_rows_is_decay_and_momentum_alone(kind: int) -> None:
    panels = Panels(*make(8, 20, 20))
    w, no = kernels.from_panels(panels.w, 20, 20), np.zeros((20, 20), np.float32)
    moments = tuple(kernels.zeros(*x.shape) for x in (panels.w, panels.w, panels.bias, panels.bias))
    moments[0][:] = panels.w
    constants = constants_of(kind, 3, 0.1)
    c = np.empty(0, np.float32)
    assert update(kind, panels.a, panels.scale, c, panels.h, panels.w, panels.bias, moments, constants) == 0
    expected, m, _ = stepped(kind, w, no, w, no, 3, 0.1)
    np.testing.assert_allclose(kernels.from_panels(panels.w, 20, 20), expected, rtol=1e-5)
    np.testing.assert_allclose(kernels.from_panels(moments[0], 20, 20), m, rtol=1e-6)


def test_forward_of_no_rows_touches_nothing() -> None:
    panels = Panels(*make(8, 20, 20))
    panels.h[:] = 7
    panels.rows = 0
    panels.forward()
    assert (panels.h == 7).all()


def test_forward_is_the_same_for_any_number_of_threads_and_rows() -> None:
    plain = make(130, 100, 200)
    h, total = Panels(*plain).forward()
    threaded, threaded_total = Panels(*plain).forward(threads=2)
    np.testing.assert_array_equal(threaded, h)
    np.testing.assert_array_equal(threaded_total, total)
    alone, alone_total = Panels(plain[0][77:78], plain[1][77:78], *plain[2:]).forward()
    np.testing.assert_array_equal(alone[0], h[77])
    np.testing.assert_array_equal(alone_total[0], total[77])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.15])
@pytest.mark.parametrize(("rows", "inputs", "units"), [(1, 17, 1), (7, 100, 49), (130, 333, 200), (64, 64, 400)])
def test_skipping_zeros_gives_the_same_bits(rows: int, inputs: int, units: int, share: float, threads: int) -> None:
    a, scale, w, bias = make(rows, inputs, units)
    a[np.random.default_rng(5).random(a.shape) > 2 * share] = 0  # half of them are zero already
    h, total = Panels(a, scale, w, bias).forward()
    nonzeros, panels = kernels.Nonzeros(rows, kernels.panels_of(inputs)), Panels(a, scale, w, bias)
    nonzeros.bounds[:] = -1
    sparse, sparse_total = panels.forward(nonzeros=nonzeros.arrays, threads=threads)
    skips = skipping_pays(panels.a, rows, len(panels.w), nonzeros.arrays)
    assert skips or len(panels.w) == 1 or (a != 0).mean() > 0.07
    assert (nonzeros.bounds[:, : rows + 1] >= 0).all() == skips
    np.testing.assert_array_equal(sparse, h)
    np.testing.assert_array_equal(sparse_total, total)


def test_forward_at_the_edges_of_float32() -> None:
    a, scale, w, bias = make(9, 20, 20)
    a[0], a[1], a[2, 3] = 1e30, 1e-42, np.nan
    a[3, 4], a[4] = np.inf, 0
    w[:, 0] = 1e-42
    with np.errstate(all="ignore"):
        expected = reference.forward(a, scale, w, bias)
        h, total = Panels(a, scale, w, bias).forward()
        np.testing.assert_array_equal(np.isnan(h), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(h), np.isinf(expected))
        finite = np.isfinite(expected)
        np.testing.assert_allclose(h[finite], expected[finite], rtol=1e-5, atol=1e-6)
        assert np.isnan(total[2]) and np.isinf(total[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("inputs", "units"), SIZES)
def test_update(kind: int, rows: int, inputs: int, units: int) -> None:
    a, scale, w, bias = plain = make(rows, inputs, units)
    rng = np.random.default_rng(1)
    c = rng.standard_normal(rows).astype(np.float32)
    c[rng.random(rows) > 0.7] = 0
    m, mb = rng.standard_normal((inputs, units)), rng.standard_normal(units)
    v, vb = 1e-4 * rng.random((inputs, units)), 1e-4 * rng.random(units)  # so that eps counts
    m, mb, v, vb = (x.astype(np.float32) for x in (m, mb, v, vb))
    panels = Panels(*plain)
    z = reference.forward(*plain)
    panels.h[:] = kernels.to_panels(z, panels.h.shape[1])
    moments = tuple(
        kernels.to_panels(x, panels.inputs_padded) if x.ndim == 2 else kernels.to_panels(x[None])[:, 0].copy()
        for x in (m, v, mb, vb)
    )
    constants = constants_of(kind, 7, 0.1)
    active = update(kind, panels.a, panels.scale, c, panels.h, panels.w, panels.bias, moments, constants)
    assert active == np.count_nonzero(c)
    dw, db = reference.gradients(a, scale, c, z)
    expected_w, expected_m, expected_v = stepped(kind, w, dw, m, v, 7, 0.1)
    expected_b, expected_mb, _ = stepped(kind, bias, db, mb, vb, 7, 0.0)
    assert_close(kernels.from_panels(panels.w, inputs, units), expected_w, rtol=1e-4, atol=1e-5)
    assert_close(panels.bias.reshape(-1)[:units], expected_b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(kernels.from_panels(moments[0], inputs, units), expected_m, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(kernels.from_panels(moments[1], inputs, units), expected_v, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moments[2].reshape(-1)[:units], expected_mb, rtol=1e-4, atol=1e-5)
    # What pads the panels must stay zero, or it would leak into the next layer.
    assert not kernels.from_panels(panels.w, panels.inputs_padded, len(panels.w) * 16)[inputs:].any()
    assert not kernels.from_panels(panels.w, panels.inputs_padded, len(panels.w) * 16)[:, units:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_along_the_gradients_of_many_batches(kind: int) -> None:
    """Two batches are added up without a step; the step on their sum is the reference's, and the sum is zero again."""
    inputs, units = 100, 33
    plain = [make(rows, inputs, units, seed) for rows, seed in ((33, 0), (9, 1))]
    _, _, w, bias = plain[0]
    rng, panels = np.random.default_rng(1), [Panels(a, scale, w, bias) for a, scale, *_ in plain]
    learnt, sums = panels[0], (kernels.zeros(*panels[0].w.shape), kernels.zeros(*panels[0].bias.shape))
    dw, db = np.zeros((inputs, units)), np.zeros(units)
    for (a, scale, *_), batch in zip(plain, panels, strict=True):
        z, c = rng.standard_normal((len(a), units)).astype(np.float32), np.full(len(a), len(a) / 42, np.float32)
        batch.h[:] = kernels.to_panels(z, batch.h.shape[1])
        moments = sums[0], sums[0], sums[1], sums[1]
        update(kernels.SGD, batch.a, batch.scale, c, batch.h, learnt.w, learnt.bias, moments, kernels.ACCUMULATE)
        weights, row = reference.gradients(a, scale, c, z)
        dw, db = dw + weights, db + row
    np.testing.assert_array_equal(kernels.from_panels(learnt.w, inputs, units), w)
    np.testing.assert_array_equal(learnt.bias.reshape(-1)[:units], bias)
    np.testing.assert_allclose(kernels.from_panels(sums[0], inputs, units), dw, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sums[1].reshape(-1)[:units], db, rtol=1e-4, atol=1e-5)
    constants = constants_of(kind, 1, 0.1)
    moments = tuple(kernels.zeros(*x.shape) for x in (learnt.w, learnt.w, learnt.bias, learnt.bias))
    kernels.step_along(kind, sums, (learnt.w, learnt.bias, *moments), constants)
    expected, m, v = stepped(kind, w, dw, np.zeros_like(dw), np.zeros_like(dw), 1, 0.1)
    expected_bias, *_ = stepped(kind, bias, db, np.zeros_like(db), np.zeros_like(db), 1, 0.0)
    assert_close(kernels.from_panels(learnt.w, inputs, units), expected, rtol=1e-4, atol=1e-5)
    assert_close(learnt.bias.reshape(-1)[:units], expected_bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(kernels.from_panels(moments[0], inputs, units), m, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(kernels.from_panels(moments[1], inputs, units), v, rtol=1e-4, atol=1e-7)
    assert not sums[0].any()
    assert not sums[1].any()


def test_update_is_the_same_for_any_number_of_threads() -> None:
    plain = make(130, 100, 200)
    c = np.random.default_rng(1).standard_normal(130).astype(np.float32)
    results = []
    for threads in (1, 2):
        panels = Panels(*plain)
        panels.forward()
        shapes = (panels.w, panels.w, panels.bias, panels.bias)
        moments = tuple(kernels.zeros(*x.shape) for x in shapes)
        constants = adam_constants(1, 0.01, 0, 0.9, 0.999, 1e-8)
        args = (panels.a, panels.scale, c, panels.h, panels.w, panels.bias, moments, constants)
        update(kernels.ADAM, *args, threads=threads)
        results.append((panels.w, panels.bias, *moments))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(
    ("rows", "inputs", "units"), [(1, 17, 1), (8, 100, 120), (64, 333, 200), (12, 64, 400), (6000, 40, 120)]
)
def test_update_skipping_zeros_gives_the_same_bits(
    rows: int, inputs: int, units: int, labelled: bool, threads: int
) -> None:
    a, scale, w, bias = make(rows, inputs, units)
    rng = np.random.default_rng(7)
    a[rng.random(a.shape) > 0.15] = 0
    shown = rows * 2 if labelled else rows
    c, z_plain = rng.standard_normal(shown).astype(np.float32), make(shown, inputs, units, 3)[0][:, :1] * w[:1]
    z = kernels.to_panels(np.maximum(z_plain, 0), kernels.padded_rows(shown))
    c[np.tile(rng.random(rows) > 0.8, shown // rows)] = 0
    scales = rng.uniform(1, 2, shown).astype(np.float32)
    labels = (rng.integers(0, 3, shown), 2, 3, VALUE) if labelled else kernels.NO_LABELS
    nonzeros, results = kernels.Nonzeros(rows, kernels.panels_of(inputs)), []
    nonzeros.counts[:] = -1
    for skip in (kernels.DENSE, nonzeros.arrays):
        panels = Panels(a, scale, w, bias)
        moments = tuple(kernels.zeros(*x.shape) for x in (panels.w, panels.w, panels.bias, panels.bias))
        for step in (1, 2):
            constants = adam_constants(step, 0.01, 0.1, 0.9, 0.999, 1e-8)
            update(
                kernels.ADAM, panels.a, scales, c, z, panels.w, panels.bias, moments, constants,
                nonzeros=skip, threads=threads, labels=labels,
            )  # fmt: skip
        results.append((panels.w, panels.bias, *moments))
    # It did skip, but for few panels, of which each would bear too much of the listing.
    assert not c.any() or (nonzeros.counts >= 0).all() or len(panels.w) <= 4
    for dense, skipped in zip(*results, strict=True):
        np.testing.assert_array_equal(skipped, dense)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("units", [1, 16, 33])
def test_a_vector_alone_takes_the_steps_of_a_bias(kind: int, units: int) -> None:
    rng = np.random.default_rng(units)
    gains, g, m, v = (rng.uniform(0.1, 1, units).astype(np.float32) for _ in range(4))
    arrays = [kernels.to_panels(x[None])[:, 0].copy() for x in (gains, g, m, v)]
    kernels.step_vector(kind, arrays[1], (arrays[0], *arrays[2:]), constants_of(kind, 4, 0.1))
    assert not arrays[1].any()
    expected = stepped(kind, gains, g, m, v, 4, 0.0)
    for found, array in zip((arrays[0], *arrays[2:]), expected, strict=True):
        np.testing.assert_allclose(found.reshape(-1)[:units], array, rtol=1e-5)
        assert not found.reshape(-1)[units:].any()


def test_lion_at_zero_and_at_what_is_not_finite() -> None:
    """A step is the sign: none for a zero of either sign, and a NaN stays one."""
    w, m = kernels.zeros(1, 16), kernels.zeros(1, 16)
    g = kernels.zeros(1, 16)
    g[0, :6] = 1e-30, -1e-30, -0.0, np.inf, -np.inf, np.nan
    kernels.step_vector(kernels.LION, g, (w, m, m), kernels.lion_constants(0.5, 0.1, 0.9, 0.99))
    np.testing.assert_array_equal(w[0, :6], np.float32([-0.5, 0.5, 0, -0.5, 0.5, np.nan]))
    assert not w[0, 6:].any()


def test_denormal_moments_become_zero() -> None:
    panels = Panels(*make(1, 16, 16))
    moments = tuple(kernels.zeros(*x.shape) for x in (panels.w, panels.w, panels.bias, panels.bias))
    moments[0][:] = 1e-38
    nothing = np.zeros(1, np.float32)
    update(
        kernels.SGD, panels.a, nothing, nothing, panels.h, panels.w, panels.bias, moments,
        kernels.sgd_constants(0.1, 0.0, 0.9),
    )  # fmt: skip
    assert not moments[0].any()


@pytest.mark.parametrize(("rows", "positives"), [(0, 0), (1, 1), (1, 0), (7, 3), (200, 100)])
@pytest.mark.parametrize("weighted", [False, True])
def test_goodness_loss(rows: int, positives: int, weighted: bool) -> None:
    total, per = np.random.default_rng(0).uniform(0, 60, rows).astype(np.float32), np.float32(3)
    g = total / per
    c = np.full(rows, np.nan, np.float32)
    weights = np.arange(positives, dtype=np.float32) % 4 if weighted and rows == 2 * positives else None
    loss, positive, negative, ranked, active = kernels.goodness_loss(total, per, positives, 10.0, 2.0, 0.0, c, weights)
    expected_c, expected_loss = reference.goodness_loss(g, positives, 10.0, 2.0, weights)
    np.testing.assert_allclose(c, expected_c, rtol=1e-6)
    np.testing.assert_allclose(loss, expected_loss.sum(), rtol=1e-12)
    assert active == np.count_nonzero(c)
    pairs = min(positives, rows - positives)
    assert ranked == np.count_nonzero(total[:pairs] > total[positives : positives + pairs])
    np.testing.assert_allclose([positive, negative], [g[:positives].sum(), g[positives:].sum()], rtol=1e-5)


def test_exponentials() -> None:
    x = np.concatenate(
        [-np.geomspace(1e-300, 708, 20001), np.linspace(-0.7, 0, 20001), [-0.0, -708.1, -1e308, -np.inf]]
    )
    expected = np.exp(x)
    found = x.copy()
    kernels.exponentials(found)
    assert (abs(found - expected) <= np.spacing(expected))[:-3].all()
    assert found[-4] == 1 and (found[-3:] == 0).all()
    for i in range(0, len(x), 997):  # alone as in a vector
        one = x[i : i + 1].copy()
        kernels.exponentials(one)
        assert one[0] == found[i]
    nothing, nan = np.empty(0), np.array([np.nan])
    kernels.exponentials(nothing)
    kernels.exponentials(nan)
    assert np.isnan(nan[0])


@pytest.mark.parametrize("step", [1, 2, 3, 1000, 93_800, 10**9])
def test_adam_constants(step: int) -> None:
    found = adam_constants(step, 0.01, 0.1, 0.9, 0.999, 1e-8)
    corrections = 1 / np.sqrt(1 - 0.999**step), 0.01 / (1 - 0.9**step)
    np.testing.assert_allclose(found[[4, 6]], corrections, rtol=1e-6)
    several = kernels.adam_constants(np.arange(step, step + 9), 0.01, 0.1, 0.9, 0.999, 1e-8)
    np.testing.assert_array_equal(several[0], found)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("pixels", "skipped"), [(1, 0), (16, 10), (17, 10), (64, 0), (64, 16), (784, 10), (33, 20)])
def test_compose(dtype: type, pixels: int, skipped: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, pixels)).astype(dtype)
    samples, inputs = np.array([4, 0, 0, 2]), pixels + 10
    slope, offset = rng.uniform(0, 1 / 255, pixels).astype(np.float32), rng.uniform(-1, 1, pixels).astype(np.float32)
    expected = reference.compose(images, samples, skipped, slope, offset, inputs)
    a, total = kernels.zeros(kernels.panels_of(inputs), 8, kernels.LANES), kernels.zeros(16)
    kernels.compose(images, samples, skipped, slope, offset, a, total)
    np.testing.assert_allclose(kernels.from_panels(a, 4, inputs), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(total[:4], (expected**2).sum(axis=1), rtol=1e-5)
    assert not kernels.from_panels(a, 4, len(a) * 16)[:, inputs:].any()


GEOMETRIES = [(1, 1, 1, 1), (1, 5, 7, 1), (3, 6, 5, 1), (1, 6, 5, 3), (1, 28, 28, 1)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("skipped", "fill"), [(0, 0.0), (10, 7.0)])
def test_compose_moved(dtype: type, geometry: tuple[int, int, int, int], skipped: int, fill: float) -> None:
    rng, pixels = np.random.default_rng(0), int(np.prod(geometry))
    images = rng.integers(0, 256, (3, pixels)).astype(dtype)
    every = [(y, x, f) for y in (-9, -2, 0, 1, 5) for x in (-7, -1, 0, 3, 40) for f in (0, 1)]
    moves, samples, inputs = np.array(every), rng.integers(0, 3, len(every)), pixels + 3
    slope, offset = rng.uniform(0, 1 / 255, pixels).astype(np.float32), rng.uniform(-1, 1, pixels).astype(np.float32)
    shape, rows = images[0].reshape(geometry).shape, len(every)
    moved = np.stack([reference.move(images[s].reshape(shape), *m, fill) for s, m in zip(samples, every, strict=True)])
    expected = reference.compose(moved.reshape(rows, -1), np.arange(rows), skipped, slope, offset, inputs)
    a, total = kernels.zeros(kernels.panels_of(inputs), 56, kernels.LANES), kernels.zeros(64)
    kernels.compose_moved(images, samples, moves, geometry, np.float32(fill), skipped, slope, offset, a, total)
    np.testing.assert_allclose(kernels.from_panels(a, rows, inputs), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(total[:rows], (expected.astype(np.float64) ** 2).sum(axis=1), rtol=1e-5)
    plain, plain_total = kernels.zeros(*a.shape), kernels.zeros(64)
    kernels.compose(moved.reshape(rows, -1), np.arange(rows), skipped, slope, offset, plain, plain_total)
    np.testing.assert_array_equal(a, plain)
    np.testing.assert_array_equal(total, plain_total)


def test_a_crop_out_of_a_border_is_a_move() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 1))
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2), (0, 0)))
    for y in range(5):
        for x in range(5):
            np.testing.assert_array_equal(
                reference.move(image, 2 - y, 2 - x, False, 0), padded[:, y : y + 5, x : x + 6]
            )


def labelled(samples: int, inputs: int, units: int, label_offset: int, classes: int):
    """Return images with blank label places, rows that show each as positive and negative, and neutral ones."""
    a, _, w, bias = make(samples, inputs, units)
    a[:, label_offset : label_offset + classes] = 0
    rng = np.random.default_rng(2)
    source = np.tile(np.arange(samples), 3)
    positive = rng.integers(0, classes, samples)
    labels = np.concatenate([positive, (positive + 1) % classes, np.full(samples, kernels.NEUTRAL)])
    return a, source, labels, rng.uniform(0.5, 2, len(source)).astype(np.float32), w, bias


#: What stands in the place of a label.
VALUE = np.float32(2.75)
LABELLED = [(1, 12, 1, 0, 2), (7, 30, 17, 20, 10), (33, 64, 49, 0, 10), (20, 100, 100, 10, 33)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("samples", "inputs", "units", "label_offset", "classes"), LABELLED)
def test_forward_labelled(samples: int, inputs: int, units: int, label_offset: int, classes: int, threads: int) -> None:
    a, source, labels, scale, w, bias = labelled(samples, inputs, units, label_offset, classes)
    expected = reference.forward_labelled(a, source, labels, label_offset, classes, VALUE, scale, w, bias)
    panels, rows = Panels(a, np.ones(samples, np.float32), w, bias), len(source)
    h, totals = kernels.zeros(len(panels.w), rows, 16), kernels.zeros(1, kernels.padded_rows(rows) + 16)
    squares = kernels.zeros(len(panels.w), totals.shape[1] // 16 * 16)
    on_threads("forward_labelled", threads)(
        panels.a, samples, source, labels, label_offset, classes, VALUE, norm_of(scale), panels.w, panels.bias,
        panels.h, h, totals, squares, adds(panels.w), kernels.DENSE,
    )  # fmt: skip
    np.testing.assert_allclose(kernels.from_panels(h, rows, units), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(totals[0, :rows], (expected**2).sum(axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("samples", "inputs", "units", "label_offset", "classes"), LABELLED)
def test_update_of_rows_that_share_images(
    samples: int, inputs: int, units: int, label_offset: int, classes: int
) -> None:
    a, source, labels, scale, w, bias = labelled(samples, inputs, units, label_offset, classes)
    rows = 2 * samples
    source, labels, scale = source[:rows], labels[:rows], scale[:rows]
    rng = np.random.default_rng(3)
    c = np.where(rng.random(rows) < 0.6, rng.standard_normal(rows), 0).astype(np.float32)
    z = reference.forward_labelled(a, source, labels, label_offset, classes, VALUE, scale, w, bias)
    shown = reference.show(a, source, labels, label_offset, classes, VALUE)
    dw, db = reference.gradients(shown, scale, c, z)
    nothing = np.zeros_like(w)
    expected_w, expected_m = reference.sgd(w, dw, nothing, 0.1, 0.0, 0.9)
    panels = Panels(a, np.ones(samples, np.float32), w, bias)
    moments = tuple(kernels.zeros(*x.shape) for x in (panels.w, panels.w, panels.bias, panels.bias))
    active = update(
        kernels.SGD, panels.a, scale, c, kernels.to_panels(z), panels.w, panels.bias, moments,
        kernels.sgd_constants(0.1, 0.0, 0.9), labels=(labels, label_offset, classes, VALUE),
    )  # fmt: skip
    assert active == np.count_nonzero((c[:samples] != 0) | (c[samples:] != 0))
    np.testing.assert_allclose(kernels.from_panels(panels.w, inputs, units), expected_w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(kernels.from_panels(moments[0], inputs, units), expected_m, rtol=1e-4, atol=1e-5)
    expected_b, _ = reference.sgd(bias, db, np.zeros_like(bias), 0.1, 0.0, 0.9)
    np.testing.assert_allclose(panels.bias.reshape(-1)[:units], expected_b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (8, 16), (9, 17), (33, 100)])
def test_panels_and_back(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    panels = kernels.to_panels(matrix, shape[0] + 3)
    assert panels.ctypes.data % 64 == 0
    np.testing.assert_array_equal(kernels.from_panels(panels, *shape), matrix)


@pytest.mark.parametrize("rows", [0, 1, 5, 33])
@pytest.mark.parametrize("classes", [2, 10, 16, 17, 40])
@pytest.mark.parametrize("weighted", [False, True])
def test_softmax(rows: int, classes: int, weighted: bool) -> None:
    rng = np.random.default_rng(classes)
    logits = (5 * rng.standard_normal((rows, classes))).astype(np.float32)
    labels = rng.integers(0, classes, rows)
    panels, error = kernels.to_panels(logits, 40), kernels.to_panels(np.full((40, 48), np.nan, np.float32))
    error = error[: len(panels)].copy()
    weights = np.arange(rows, dtype=np.float32) % 4 if weighted else None
    loss, correct = kernels.softmax(panels, labels, classes, error, weights)
    if rows:
        expected, losses = reference.softmax(logits, labels, weights)
        np.testing.assert_allclose(kernels.from_panels(error, rows, classes), expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(loss, losses.sum(), rtol=1e-12)
        assert (kernels.from_panels(error, rows, 16 * len(error))[:, classes:] == 0).all()
    assert correct == np.count_nonzero(logits.argmax(axis=1) == labels if rows else [])


def test_softmax_at_the_edges_of_float32() -> None:
    largest = np.finfo(np.float32).max
    logits = kernels.to_panels(np.array([[largest, -largest], [np.nan, 0], [0, np.inf]], np.float32))
    error = np.zeros_like(logits)
    loss, _ = kernels.softmax(logits, np.array([0, 0, 0]), 2, error, None)
    assert (error[0, 0, :2] == 0).all() and np.isnan(error[0, 1, 0]) and np.isnan(error[0, 2, 1])
    assert np.isnan(loss)


@pytest.mark.parametrize("divisor", [1.0, 33.0])
def test_row_scale(divisor: float) -> None:
    total = np.array([0, 1e-42, 1, 3e38, np.inf, np.nan, 7], np.float32)
    scale, eps = np.full(9, -1, np.float32), np.float32(1e-4)
    kernels.row_scale(total, 6, np.float32(divisor), eps, scale)
    np.testing.assert_array_equal(scale[:6], reference.row_scale(total, divisor, float(eps))[:6])
    assert (scale[6:] == -1).all()
    source, labels = np.array([2, 0, 2]), np.array([3, kernels.NEUTRAL, 0])
    kernels.row_scale_labelled(total, source, labels, 4, np.float32(3), np.float32(divisor), eps, scale)
    shown = total[source] + np.array([9, 2.25, 9], np.float32)
    np.testing.assert_array_equal(scale[:3], reference.row_scale(shown, divisor, float(eps)))


@pytest.mark.parametrize(("first", "count"), [(0, 0), (0, 9), (3, 1), (4, 5)])
def test_copy_rows(first: int, count: int) -> None:
    matrix = np.random.default_rng(0).standard_normal((9, 40)).astype(np.float32)
    source, total = kernels.to_panels(matrix, 16), np.arange(16, dtype=np.float32)
    target, target_total = kernels.zeros(3, 24, 16), np.zeros(16, np.float32)
    kernels.copy_rows(source, total, first, count, target, target_total)
    np.testing.assert_array_equal(kernels.from_panels(target, count, 40), matrix[first : first + count])
    np.testing.assert_array_equal(target_total[:count], total[first : first + count])
    assert not target[:, count:].any() and not target_total[count:].any()


@pytest.mark.parametrize("rows", [0, 1, 9])
@pytest.mark.parametrize(("units", "classes"), [(1, 2), (17, 10), (40, 16), (33, 20)])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_backward(rows: int, units: int, classes: int, normalised: bool, slope: float) -> None:
    rng = np.random.default_rng(units)
    z = rng.standard_normal((rows, units))
    h = np.maximum(z, slope * z).astype(np.float32)
    h[1:2] = 0  # a row without activations has no direction
    d, error = (rng.standard_normal(shape).astype(np.float32) for shape in ((units, classes), (rows, classes)))
    divisor, eps = units if normalised else 0, 1e-3
    scale = reference.row_scale((h**2).sum(axis=1), units, eps)
    panels = kernels.to_panels(h, 16)
    dz = np.full_like(panels, np.nan)
    d_panels = kernels.to_panels(d, kernels.panels_of(units) * kernels.LANES)
    raw = kernels.to_panels(h @ d, 12)
    kernels.backward(
        kernels.to_panels(error, 12), classes, d_panels, panels, raw, scale, np.float32(divisor), np.float32(eps),
        np.float32(slope), rows, dz,
    )  # fmt: skip
    expected = reference.backward(error, d, h, scale, divisor, eps, slope)
    np.testing.assert_allclose(kernels.from_panels(dz, rows, units), expected, rtol=2e-4, atol=2e-5)
    assert (kernels.from_panels(dz, rows, 16 * len(dz))[:, units:] == 0).all()


def test_the_cache_notices_a_change_in_another_file(tmp_path: Path) -> None:
    package = tmp_path / "package"
    shutil.copytree(Path(kernels.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import numpy as np; from package.scale import row_scale; x = np.ones(1, np.float32);"
        "row_scale(x, 1, x[0], x[0], x); print(sum(row_scale.stats.cache_hits.values()))"
    )

    def hits() -> int:
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert [hits(), hits()] == [0, 1]
    with open(package / "simd.py", "a") as file:
        file.write("# changed")
    assert hits() == 0


def test_a_name_is_imported_when_it_is_used_and_no_file_hides_it() -> None:
    program = (
        "import sys\nfrom ffmpi import kernels\n"
        "assert kernels.zeros(kernels.panels_of(33), kernels.LANES).shape == (3, 16) and kernels.NEUTRAL == -1\n"
        "assert set(kernels.__all__) <= set(dir(kernels)) and 'numba' not in sys.modules\n"
        "import ffmpi.kernels.labels\n"  # imports the files forward and compose, too
        "assert all(not isinstance(getattr(kernels, name), type(sys)) for name in kernels.__all__)\n"
        "try:\n    kernels.nothing\nexcept AttributeError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "module 'ffmpi.kernels' has no attribute 'nothing'\n"), done.stderr
