"""The learning rule against a numerical derivative of its loss; the rates; the chapter's record."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ffmpi import config
from ffmpi.config import Config, Rule
from ffmpi.layer import rate_at
from ffmpi.metrics import HEAD, LAYER, METHODS, RANK, Measurements
from ffmpi.rules import SMALLEST, goodness, judge

POSITIVES, NEGATIVES, INPUTS, UNITS = 3, 4, 5, 6
ROWS = POSITIVES + NEGATIVES
RULES = [Rule(goodness="sum", threshold=0.4), Rule(goodness="mean", threshold=0.05), Rule(), Rule(goodness="mean")]


def activities(a: np.ndarray, w: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.maximum(a @ w + bias, 0)


def loss(rule: Rule, h: np.ndarray) -> float:
    """The design's loss: softplus(theta - g) of positives, softplus(g - theta) of negatives, averaged over the rows."""
    g = (h**2).sum(axis=1) if rule.goodness == "sum" else (h**2).mean(axis=1)
    above = g - rule.threshold * h.shape[1]
    return float(np.logaddexp(0, np.concatenate([-above[:POSITIVES], above[POSITIVES:]])).sum() / len(h))


@pytest.mark.parametrize("rule", RULES)
def test_coefficients_are_the_derivative(rule: Rule) -> None:
    rng = np.random.default_rng(1)
    a, w, bias = rng.normal(size=(ROWS, INPUTS)), rng.normal(size=(INPUTS, UNITS)) / 2, rng.normal(size=UNITS) / 2
    h = activities(a, w, bias)
    said = judge(rule, (h**2).sum(axis=1).astype(np.float32), UNITS, POSITIVES)
    assert said.coefficients.dtype == np.float32 and said.coefficients.shape == (ROWS,)
    assert (said.coefficients[:POSITIVES] < 0).all() and (said.coefficients[POSITIVES:] > 0).all()
    assert_allclose(said.loss / ROWS, loss(rule, h), rtol=1e-6)
    analytic = (said.coefficients[:, None] * a).T @ h, said.coefficients @ h
    for array, derivative in zip((w, bias), analytic, strict=True):
        numerical, step = np.empty_like(array), 1e-6
        for place in np.ndindex(array.shape):
            kept, both = array[place], []
            for moved in (kept + step, kept - step):
                array[place] = moved
                both.append(loss(rule, activities(a, w, bias)))
            array[place] = kept
            numerical[place] = (both[0] - both[1]) / (2 * step)
        assert_allclose(derivative, numerical, rtol=1e-5, atol=1e-8)


def test_goodness() -> None:
    total = np.array([0, 1, 7], np.float32)
    assert_array_equal(goodness(Rule(goodness="sum"), total, 4), total)
    assert_array_equal(goodness(Rule(goodness="mean"), total, 4), total / 4)
    assert goodness(Rule(goodness="mean"), total, 4).dtype == np.float32
    said = judge(Rule(goodness="mean"), np.array([4, 8, 12, 20], np.float32), 4, 2)
    assert (said.positive_goodness, said.negative_goodness) == (3.0, 8.0)


@pytest.mark.parametrize("rule", RULES)
def test_at_the_threshold(rule: Rule) -> None:
    theta = rule.threshold * UNITS
    total = np.full(2, theta if rule.goodness == "sum" else theta * UNITS, np.float32)
    slope = 1.0 if rule.goodness == "sum" else 1.0 / UNITS
    said = judge(rule, total, UNITS, 1)
    assert_allclose(said.coefficients, [-slope / 2, slope / 2], rtol=1e-6)
    assert_allclose(said.loss, 2 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize("kind", ["sum", "mean"])
def test_far_from_the_threshold(kind: str) -> None:
    """No overflow, no NaN and no warning however far the goodness is from the threshold."""
    largest = np.finfo(np.float32).max
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for threshold in (1e-30, 1.0, 1e6, 1e30):
            rule = Rule(goodness=kind, threshold=threshold)  # type: ignore[arg-type]
            total = np.array([0, 1e4, largest, 0, 1e4, largest], np.float32)
            said = judge(rule, total, 2, 3)
            assert np.isfinite(said.coefficients).all() and np.isfinite(said.loss) and said.loss > 0
    slope = 2.0 if kind == "sum" else 1.0
    said = judge(Rule(goodness=kind), np.array([largest, largest], np.float32), 2, 1)  # type: ignore[arg-type]
    assert_array_equal(said.coefficients, np.array([0, slope / 2], np.float32))  # decided, and as wrong as can be
    assert_allclose(said.loss, float(largest) / (1 if kind == "sum" else 2), rtol=1e-6)


def test_rows_beyond_float32_take_no_part() -> None:
    margin = -np.log(SMALLEST)  # of a positive row: c = exp(-margin) 2 / rows
    rule, rows = Rule(threshold=1.0), 2
    total = np.array([1 + margin - 1, 1 + margin + 1], np.float32)
    inside, outside = judge(rule, total, 1, rows).coefficients
    assert outside == 0.0 and -1e-29 < inside <= -SMALLEST
    # What is left has no denormal numbers to compute with.
    assert float(np.finfo(np.float32).tiny) < SMALLEST
    c = judge(rule, np.linspace(0, 200, 2001, dtype=np.float32), 1, 2001).coefficients
    assert (np.abs(c[c != 0]) >= SMALLEST).all() and (c[-100:] == 0).all()


def test_rows_beyond_reach_take_no_part() -> None:
    """With theta = 3: sigmoid(-22) is within 2^-32 of the decided row's coefficient, sigmoid(-23) is not."""
    said = judge(Rule(), np.array([0, 3 + 22, 3 + 23, 3 + 1000], np.float32), 3, 4)
    assert (said.coefficients != 0).tolist() == [True, True, False, False]
    alone = judge(Rule(), np.array([3 + 23], np.float32), 3, 1)
    assert alone.coefficients[0] != 0


def test_a_nan_is_not_hidden() -> None:
    said = judge(Rule(), np.array([np.nan, 1], np.float32), 3, 1)
    assert np.isnan(said.loss) and np.isnan(said.coefficients[0])


def settled(*settings: str) -> Config:
    return config.parse("", "test", ["optimizer.rate=0.5", *settings])


def test_rate() -> None:
    c = settled("train.epochs=10", "train.constant=0.5")
    rates = [rate_at(c, c.optimizer, epoch) for epoch in range(10)]
    assert rates[:6] == [0.5] * 6
    assert_allclose(rates[6:], [0.4, 0.3, 0.2, 0.1])
    assert rate_at(c, c.head.optimizer, 9) == pytest.approx(c.head.optimizer.rate / 5)
    c = settled("train.epochs=10", "train.constant=1")
    assert {rate_at(c, c.optimizer, epoch) for epoch in range(10)} == {0.5}
    c = settled("train.epochs=4", "train.constant=0")
    assert_allclose([rate_at(c, c.optimizer, epoch) for epoch in range(4)], [0.5, 0.375, 0.25, 0.125])
    c = settled("train.epochs=1")
    assert rate_at(c, c.optimizer, 0) == 0.5


def test_measurements_are_views_of_one_array() -> None:
    m = Measurements.zeros(3, 2)
    assert (m.layers.shape, m.head.shape, m.held_out.shape, m.ranks.shape) == (
        (3, len(LAYER)), (len(HEAD),), (len(METHODS), 2), (2, len(RANK)),
    )  # fmt: skip
    views = (m.layers, m.head, m.held_out, m.ranks)
    for number, view in enumerate(views, 1):
        view[:] = number
    assert m.flat.dtype == np.float64 and m.flat.sum() == sum(n * v.size for n, v in enumerate(views, 1))


def test_record() -> None:
    m = Measurements.zeros(2, 2)
    m.layers[0] = 8, 20, 4, 16, 4  # sums over 16 rows: 8 positive, 8 negative
    m.layers[1] = 16, 8, 8, 16, 16
    m.head[:] = 6, 9, 12
    m.held_out[METHODS.index("softmax")] = 3, 4
    m.ranks[0] = 2.0, 1.0, 0.5, 3e9, 100, 90, 50, 30, 10
    m.ranks[1] = 2.5, 0.0, 0.0, 0.0, 100, 90, 50, 30, 10
    record = m.record(7, 50)
    assert (record["epoch"], record["seconds"], record["samples_per_second"]) == (7, 2.5, 20.0)
    assert record["layers"] == [
        {"loss": 0.5, "positive_goodness": 2.5, "negative_goodness": 0.5, "active": 0.25},
        {"loss": 1.0, "positive_goodness": 1.0, "negative_goodness": 1.0, "active": 1.0},
    ]
    assert record["head"] == {"loss": 0.5, "training_accuracy": 75.0}
    assert record["accuracy"] == {"softmax": 75.0} and m.accuracy("goodness") is None
    assert record["ranks"][0]["gflops"] == 3.0 and record["ranks"][0]["waiting_share"] == 0.25
    assert record["ranks"][1]["gflops"] == 0.0 and record["ranks"][1]["waiting"] == 0.0
    json.loads(json.dumps(record, allow_nan=False))
    m.head[:] = 0  # a run without a head
    assert "head" not in m.record(7, 50)
