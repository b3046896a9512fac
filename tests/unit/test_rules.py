"""The learning rules against numerical derivatives of their losses; negatives; rates; the chapter's record."""

from __future__ import annotations

import json
import warnings
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ffmpi import config, kernels
from ffmpi.config.schema import Config
from ffmpi.data.split import divide
from ffmpi.errors import UserError
from ffmpi.network import random
from ffmpi.network.activations import Activations
from ffmpi.network.classifier import Classifier, classifier_block
from ffmpi.network.labels import Labels
from ffmpi.network.methods import METHOD_NAMES
from ffmpi.network.optimisers import Optimiser
from ffmpi.network.parameters import Parameters
from ffmpi.rules.goodness import SMALLEST, Goodness
from ffmpi.rules.local_softmax import LocalSoftmax
from ffmpi.run.metrics import HEAD, RANK, Clock, Measurements

POSITIVES, NEGATIVES, INPUTS, UNITS = 3, 4, 5, 6
ROWS = POSITIVES + NEGATIVES
RULES = [
    Goodness(goodness="sum", threshold=0.4),
    Goodness(goodness="mean", threshold=0.05),
    Goodness(),
    Goodness(goodness="mean"),
]


class Found(NamedTuple):
    """What the loss says of some rows."""

    coefficients: np.ndarray
    loss: float
    positive_goodness: float
    negative_goodness: float
    ranked: int
    active: int


def coefficients(rule: Goodness, total: np.ndarray, units: int, positives: int) -> Found:
    per, theta, slope = rule.compared(units)
    c = np.empty(len(total), np.float32)
    return Found(c, *kernels.goodness_loss(total, per, positives, theta, slope, SMALLEST, c, None))


def activations(a: np.ndarray, w: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.maximum(a @ w + bias, 0)


def loss(rule: Goodness, h: np.ndarray) -> float:
    """The mean loss of the rows, docs/design.md, section 3.1."""
    g = (h**2).sum(axis=1) if rule.goodness == "sum" else (h**2).mean(axis=1)
    above = g - rule.threshold * h.shape[1]
    return float(np.logaddexp(0, np.concatenate([-above[:POSITIVES], above[POSITIVES:]])).sum() / len(h))


@pytest.mark.parametrize("rule", RULES)
def test_coefficients_are_the_derivative(rule: Goodness) -> None:
    rng = np.random.default_rng(1)
    a, w, bias = rng.normal(size=(ROWS, INPUTS)), rng.normal(size=(INPUTS, UNITS)) / 2, rng.normal(size=UNITS) / 2
    h = activations(a, w, bias)
    result = coefficients(rule, (h**2).sum(axis=1).astype(np.float32), UNITS, POSITIVES)
    assert result.coefficients.dtype == np.float32 and result.coefficients.shape == (ROWS,)
    assert (result.coefficients[:POSITIVES] < 0).all() and (result.coefficients[POSITIVES:] > 0).all()
    assert_allclose(result.loss / ROWS, loss(rule, h), rtol=1e-6)
    analytic = (result.coefficients[:, None] * a).T @ h, result.coefficients @ h
    for array, derivative in zip((w, bias), analytic, strict=True):
        numerical, step = np.empty_like(array), 1e-6
        for place in np.ndindex(array.shape):
            kept, both = array[place], []
            for moved in (kept + step, kept - step):
                array[place] = moved
                both.append(loss(rule, activations(a, w, bias)))
            array[place] = kept
            numerical[place] = (both[0] - both[1]) / (2 * step)
        assert_allclose(derivative, numerical, rtol=1e-5, atol=1e-8)


def test_goodness() -> None:
    total = np.array([0, 1, 7], np.float32)
    layer, out = SimpleNamespace(units=4), SimpleNamespace(total=total)
    for kind, expected in (("sum", total), ("mean", total / 4)):
        rule = Goodness(goodness=kind)  # type: ignore[arg-type]
        scores = rule.scores(layer, out, total[:0], 3)  # type: ignore[arg-type]
        assert_array_equal(scores, expected[:, None])
        assert scores.dtype == np.float32
    result = coefficients(Goodness(goodness="mean"), np.array([4, 8, 12, 20], np.float32), 4, 2)
    assert (result.positive_goodness, result.negative_goodness) == (3.0, 8.0)


@pytest.mark.parametrize("rule", RULES)
def test_at_the_threshold(rule: Goodness) -> None:
    theta = rule.threshold * UNITS
    total = np.full(2, theta if rule.goodness == "sum" else theta * UNITS, np.float32)
    slope = 1.0 if rule.goodness == "sum" else 1.0 / UNITS
    result = coefficients(rule, total, UNITS, 1)
    assert_allclose(result.coefficients, [-slope / 2, slope / 2], rtol=1e-6)
    assert_allclose(result.loss, 2 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize("kind", ["sum", "mean"])
def test_far_from_the_threshold(kind: str) -> None:
    """No overflow, no NaN and no warning however far the goodness is from the threshold."""
    largest = np.finfo(np.float32).max
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for threshold in (1e-30, 1.0, 1e6, 1e30):
            rule = Goodness(goodness=kind, threshold=threshold)  # type: ignore[arg-type]
            total = np.array([0, 1e4, largest, 0, 1e4, largest], np.float32)
            result = coefficients(rule, total, 2, 3)
            assert np.isfinite(result.coefficients).all() and np.isfinite(result.loss) and result.loss > 0
    slope = 2.0 if kind == "sum" else 1.0
    result = coefficients(Goodness(goodness=kind), np.array([largest, largest], np.float32), 2, 1)  # type: ignore[arg-type]
    assert_array_equal(result.coefficients, np.array([0, slope / 2], np.float32))  # decided, and as wrong as can be
    assert_allclose(result.loss, float(largest) / (1 if kind == "sum" else 2), rtol=1e-6)


def test_rows_beyond_float32_take_no_part() -> None:
    margin = -np.log(SMALLEST)  # of a positive row: c = exp(-margin) 2 / rows
    rule, rows = Goodness(threshold=1.0), 2
    total = np.array([1 + margin - 1, 1 + margin + 1], np.float32)
    inside, outside = coefficients(rule, total, 1, rows).coefficients
    assert outside == 0.0 and -10 * SMALLEST < inside <= -SMALLEST
    # What is left has no denormal numbers to compute with.
    assert float(np.finfo(np.float32).tiny) < SMALLEST
    c = coefficients(rule, np.linspace(0, 200, 2001, dtype=np.float32), 1, 2001).coefficients
    assert (np.abs(c[c != 0]) >= SMALLEST).all() and (c[-100:] == 0).all()


def test_a_nan_is_not_hidden() -> None:
    result = coefficients(Goodness(), np.array([np.nan, 1], np.float32), 3, 1)
    assert np.isnan(result.loss) and np.isnan(result.coefficients[0])


def settled(*settings: str) -> Config:
    return config.parse("", "test", ["optimizer.learning_rate=0.5", *settings])


def rate_at(c: Config, optimizer: Optimiser, epoch: int) -> float:
    return float(optimizer.learning_rate * c.learning_rate.factor(epoch, c.train.epochs))


def test_rate() -> None:
    c = settled("train.epochs=10", "learning_rate.constant=0.5")
    rates = [rate_at(c, c.optimizer, epoch) for epoch in range(10)]
    assert rates[:6] == [0.5] * 6
    assert_allclose(rates[6:], [0.4, 0.3, 0.2, 0.1])
    assert rate_at(c, c.head.optimizer, 9) == pytest.approx(c.head.optimizer.learning_rate / 5)
    c = settled("train.epochs=10", "learning_rate.constant=1")
    assert {rate_at(c, c.optimizer, epoch) for epoch in range(10)} == {0.5}
    c = settled("train.epochs=4", "learning_rate.constant=0")
    assert_allclose(
        [rate_at(c, c.optimizer, epoch) for epoch in range(4)],
        [0.5, 0.375, 0.25, 0.125],
    )
    c = settled("train.epochs=1")
    assert rate_at(c, c.optimizer, 0) == 0.5


def test_measurements_are_views_of_one_array() -> None:
    m = Measurements.zeros(3, 3)
    assert (m.layers.shape, m.head.shape, m.scored.shape, m.ranks.shape) == (
        (3, 6), (len(HEAD),), (2, len(METHOD_NAMES), 2), (1, len(RANK)),
    )  # fmt: skip
    views = (m.layers, m.head, m.scored, m.ranks)
    for number, view in enumerate(views, 1):
        view[:] = number
    assert m.flat.dtype == np.float64 and m.flat.sum() == sum(n * v.size for n, v in enumerate(views, 1))


def test_a_rank_sends_its_own_row_whatever_the_number_of_ranks() -> None:
    total, part = Measurements.zeros(3, 2, ranks=4096), Measurements.zeros(3, 2)
    part.flat[:] = np.arange(len(part.flat))
    for rank in (7, 2):
        total.add(part, rank)
    assert part.flat.nbytes < 1000
    for whole, one in ((total.layers, part.layers), (total.head, part.head), (total.scored, part.scored)):
        assert_array_equal(whole, 2 * one)
    assert_array_equal(total.ranks[[2, 7]], np.repeat(part.ranks, 2, axis=0))
    assert total.ranks.sum() == 2 * part.ranks.sum()


def test_pairs_are_ranked_by_goodness() -> None:
    """The positives come first, then the negatives of the same samples; a tie, as of dead layers, tells nothing."""
    total = np.array([1, 2, 3, 0, 0.5, 3, 3, 0, 9, 9], np.float32)
    found = [kernels.ranked(total, 4), kernels.ranked(total[:2], 1), kernels.ranked(total[:0], 0)]
    assert found == [1, 0, 0]


def test_record() -> None:
    m = Measurements.zeros(2, 3, ranks=2)
    m.layers[0] = 8, 20, 4, 6, 16, 4  # sums over 16 rows: 8 positive, 8 negative
    m.layers[1] = 16, 0, 0, 4, 16, 16  # a layer that has died
    m.head[:] = 6, 9, 12
    m.add_scores("test", "softmax", 3, 4)
    m.ranks[0] = 5.0, 2.0, 1.0, 0.5, 3e9, 100, 120, 90, 50, 30, 10
    m.ranks[1] = 5.5, 2.5, 0.0, 0.0, 0.0, 100, 120, 90, 50, 30, 10
    assert m.elapsed == 5.5
    record = m.record(7, 50, 2.5, 20.0, Goodness.measures)
    assert (record["epoch"], record["samples"], record["seconds"], record["samples_per_second"]) == (7, 50, 2.5, 20.0)
    assert record["layers"] == [
        {"loss": 0.5, "positive_goodness": 2.5, "negative_goodness": 0.5, "pairwise_accuracy": 75.0, "active": 0.25},
        {"loss": 1.0, "positive_goodness": 0.0, "negative_goodness": 0.0, "pairwise_accuracy": 50.0, "active": 1.0},
    ]
    assert record["head"] == {"loss": 0.5, "training_accuracy": 75.0}
    assert record["accuracy"] == {"softmax": 75.0} and m.accuracy("validation") == {}
    assert record["ranks"][0]["gflops"] == 3.0 and record["ranks"][0]["waiting_share"] == 0.25
    assert record["ranks"][1]["gflops"] == 0.0 and record["ranks"][1]["waiting"] == 0.0
    json.loads(json.dumps(record, allow_nan=False))
    assert m.record(7, 50, 2.5, 20.0, LocalSoftmax.measures)["layers"][1] == {
        "loss": 1.0,
        "squares": 0.0,
        "training_accuracy": 0.0,
        "active": 1.0,
    }
    m.head[:] = 0  # a run without a head
    assert "head" not in m.record(7, 50, 1.0, 50.0, Goodness.measures)


@pytest.mark.parametrize("normalise", ["rms", "l2", ""])
def test_local_softmax_is_the_derivative(normalise: str) -> None:
    """What a layer learns by is the derivative of its classifier's cross-entropy by the layer's own weights."""
    rng, classes = np.random.default_rng(2), 3
    labels, inputs = rng.integers(0, classes, ROWS), rng.normal(size=(ROWS, INPUTS))
    w, bias = rng.normal(size=(INPUTS, UNITS)), rng.normal(size=UNITS) / 2
    c = settled(
        f"network.layers=[{UNITS}]", "rule.name=local-softmax", "network.normalise.epsilon=0.001", "head.init=uniform",
        f"network.normalise={normalise or 'rms'}", f"head.normalise={'true' if normalise else 'false'}",
    )  # fmt: skip
    classifier = Classifier(c, {0: Parameters(classifier_block(c, UNITS, classes))}, classes, ROWS)
    classifier.initialise()
    d, offsets = (classifier.blocks[0].array(name).astype(np.float64) for name in ("weights", "bias"))

    def loss_of(w: np.ndarray, bias: np.ndarray) -> float:
        h = activations(inputs, w, bias)
        norm = np.sqrt((h**2).mean(axis=1) if normalise == "rms" else (h**2).sum(axis=1)) + 0.001
        logits = (h / norm[:, None] if normalise else h) @ d + offsets
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(ROWS), labels]))

    out, derivative = Activations(UNITS, ROWS, {}), Activations(UNITS, ROWS, {})
    h = activations(inputs, w, bias).astype(np.float32)
    out.h[:, :ROWS], out.total[:ROWS] = kernels.to_panels(h), (h**2).sum(axis=1)
    raw = classifier.partial(0, out.h, ROWS)[0]
    classifier.complete({0: raw}, {0: out.total}, ROWS)
    assert_allclose(classifier.loss(labels)[0] / ROWS, loss_of(w, bias), rtol=1e-5)
    classifier.backward(0, out, raw, ROWS, derivative.h)
    dz = kernels.from_panels(derivative.h, ROWS, UNITS).astype(np.float64)
    for array, derivative in ((w, inputs.T @ dz), (bias, dz.sum(axis=0))):
        numerical, step = np.empty_like(array), 1e-5
        for place in np.ndindex(array.shape):
            kept, both = array[place], []
            for moved in (kept + step, kept - step):
                array[place] = moved
                both.append(loss_of(w, bias))
            array[place] = kept
            numerical[place] = (both[0] - both[1]) / (2 * step)
        assert_allclose(derivative, numerical, rtol=2e-3, atol=1e-6)


def choosing(scores: str, classes: np.ndarray, number: int) -> Labels:
    return Labels(settled("negatives.name=adaptive", f"negatives.scores={scores}"), classes, number)


def test_negatives_of_the_greatest_goodness() -> None:
    labels = choosing("goodness", np.array([2, 0, 1], np.uint8), 3)
    assert labels.wrong(np.array([0, 1, 2, 2])).tolist() == [[0, 1], [1, 2], [0, 2], [0, 2]]
    labels.choose(4, np.array([2, 0]), np.array([[5, 7], [1, 2]], np.float32))
    labels.choose(4, np.array([1]), np.array([[1, 1]], np.float32))  # the first of equals
    assert labels.choices[4].tolist() == [1, 1, 2] and labels.choices[4].dtype == np.uint8
    assert labels.of_epoch(4, 4).negatives.tolist() == [1, 1, 2]
    # nobody has chosen: drawn at random
    assert (labels.of_epoch(5, 5).negatives != labels.classes).all()
    labels.choose(6, np.array([0]), np.zeros((1, 2), np.float32))
    labels.forget(4)
    assert list(labels.choices) == [6]


def test_negatives_drawn_by_softmax() -> None:
    """A wrong class is drawn as often as its softmax says, the true one never, however far the logits are apart."""
    count, number = 40_000, 4
    classes = (np.arange(count) % 2).astype(np.uint8)
    labels = choosing("softmax", classes, number)
    scores = np.tile(np.array([9, 1, 0, 2], np.float32), (count, 1))
    for start in range(0, count, 7000):  # whatever the batches
        some = np.arange(start, min(start + 7000, count))
        labels.choose(1, some, scores[some])
    chosen = labels.choices[1]
    assert (chosen != classes).all()
    weights = np.exp([1.0, 0.0, 2.0])
    found = np.bincount(chosen[classes == 0], minlength=number)[1:] / (count / 2)
    assert_allclose(found, weights / weights.sum(), atol=0.02)
    again = choosing("softmax", classes, number)
    again.choose(1, np.arange(count), scores)
    assert_array_equal(again.choices[1], chosen)
    again.choose(2, np.arange(count), scores)
    assert (again.choices[2] != chosen).any()
    extreme = np.tile(np.array([3e38, -3e38, -3e38, -3.3e38], np.float32), (count, 1))
    again.choose(3, np.arange(count), extreme)
    assert set(again.choices[3][classes == 0]) == {1, 2} and set(again.choices[3][classes == 1]) == {0}


def test_resampling() -> None:
    """Negatives and order change with the chapter or each time, as configured; fixed ones never."""
    classes = (np.arange(500) % 7).astype(np.uint8)

    def seen(*settings: str) -> list[bytes]:
        labels = Labels(settled("train.epochs=4", "train.chapters=2", *settings), classes, 7)
        found = []
        for epoch in range(4):
            negatives = labels.of_epoch(epoch, epoch // 2).negatives
            assert (negatives != classes).all()
            found.append(negatives.tobytes())
        return found

    a, b, c, d = seen("negatives.resample=chapter")
    assert a == b != c == d
    assert len(set(seen("negatives.resample=batch"))) == 4
    assert len(set(seen("negatives.name=fixed", "negatives.resample=batch"))) == 1


@pytest.mark.parametrize("by", ["shuffle", "class"])
@pytest.mark.parametrize("sizes", ["[]", "[1, 5, 2]"])
def test_shards(by: str, sizes: str) -> None:
    classes = np.random.default_rng(0).integers(0, 5, 801)
    c = settled("schedule.name=federated", "shards.count=3", f"shards.by={by}", f"shards.sizes={sizes}")
    words = random.words(1, random.Purpose.SHARD, 0, len(classes))
    parts = divide(c, classes, words)
    assert_array_equal(np.sort(np.concatenate(parts)), np.arange(801))
    shares = np.array([1, 5, 2]) / 8 if sizes != "[]" else np.full(3, 1 / 3)
    assert_allclose([len(part) for part in parts], 801 * shares, atol=1)
    assert all((np.diff(part) > 0).all() for part in parts)
    held = [set(classes[part]) for part in parts]
    assert all(len(kinds) == 5 for kinds in held) if by == "shuffle" else max(held[0]) <= min(held[1] | held[2])
    with pytest.raises(UserError, match=r"shards.sizes = \[1.0, 1e-09, 1.0\]: 801 samples leave one empty"):
        divide(config.change(c, "test", ["shards.sizes=[1, 1e-9, 1]"]), classes, words)


def test_clock() -> None:
    clock = Clock(2)
    assert clock.chapter(100, 2.0, 1) == (2.0, 50.0)
    assert clock.chapter(100, 7.0, 2) == (5.0, 200 / 7)
    # The chapter after one with a long read-out may have ended before it; nothing is counted twice.
    assert clock.chapter(100, 6.0, 2) == (0.0, 200 / 5)
    assert clock.chapter(300, 9.0, 2) == (2.0, 400 / 2)
    assert clock.chapter(100, 10.0, 1) == (1.0, 100.0)
