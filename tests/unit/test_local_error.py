"""The local-error rule against its formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ffmpi import config
from ffmpi.errors import UserError
from ffmpi.kernels import reference
from tests.unit.one_layer import OneLayer, derivative

ROWS, INPUTS, UNITS, CLASSES = 9, 7, 21, 3
SLOPE, EPSILON = 0.2, 0.01


def layer(*settings: str) -> OneLayer:
    more = [f"rule.negative_slope={SLOPE}", f"rule.epsilon={EPSILON}", "network.normalise.epsilon=0.001"]
    one = OneLayer("local-error", ROWS, INPUTS, UNITS, CLASSES, *more, *settings)
    rng, norm = np.random.default_rng(7), one.layer.blocks["norm"]
    for name, value in (("gain", 1 + rng.standard_normal(UNITS) / 4), ("shift", rng.standard_normal(UNITS) / 4)):
        norm.set_array(name, value.astype(np.float32))
    return one


def activations(a: np.ndarray, p: dict[str, np.ndarray], statistics: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return h by its formula, normalised by means and variances."""
    y = reference.batch_norm(a @ p["/weights"], *statistics, EPSILON, p["norm/gain"], p["norm/shift"])
    return np.where(y > 0, y, SLOPE * y)


@pytest.mark.parametrize("similarity", [0.0, 0.6])
@pytest.mark.parametrize("normalise", ["true", "false"])
def test_a_step_is_the_derivative(similarity: float, normalise: str) -> None:
    one = layer(f"rule.similarity={similarity}", f"head.normalise={normalise}")
    p, a, labels = one.arrays(), one.input, one.classes_shown

    def h() -> np.ndarray:
        z = a @ p["/weights"]
        return activations(a, p, (z.mean(axis=0), z.var(axis=0)))

    def loss() -> float:
        found = h()
        norm = np.sqrt((found**2).mean(axis=1, keepdims=True)) + 0.001 if normalise == "true" else 1
        logits = found / norm @ p["classifier/weights"] + p["classifier/bias"]
        entropy = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(ROWS), labels]
        alike = reference.similarity_loss(found, labels, CLASSES)
        return float((1 - similarity) * entropy.mean() + similarity * alike.mean())

    found, gradients = one.gradients(ROWS)
    assert_allclose(found.loss / ROWS, loss(), rtol=1e-5)
    assert found.rows == found.active == ROWS and found.flop >= 2 * ROWS * INPUTS * UNITS
    for name in ("/weights", "norm/gain", "norm/shift", "classifier/weights", "classifier/bias"):
        assert_allclose(gradients[name], derivative(loss, p[name]), rtol=2e-3, atol=2e-6, err_msg=name)
    assert not one.arrays()["/bias"].any()


def test_running_statistics_follow_what_is_learnt_from() -> None:
    one = layer("rule.momentum=0.3")
    p, a = one.arrays(), one.input
    z = a @ p["/weights"]
    _, _, mean, variance = reference.batch_statistics(z, 0.3, np.zeros(UNITS), np.ones(UNITS))
    one.learn(ROWS)
    after = one.arrays()
    assert_allclose(after["norm/mean"], mean, rtol=1e-4, atol=1e-6)
    assert_allclose(after["norm/variance"], variance, rtol=1e-4)
    # Scored, or passed on, rows are normalised by these, whatever rows are beside them, and leave them.
    expected = activations(a, after, (after["norm/mean"], after["norm/variance"]))
    assert_allclose(one.forward(training=False), expected, rtol=1e-4, atol=1e-5)
    first = one.output[0]
    one.show(np.maximum(np.random.default_rng(0).standard_normal((ROWS, INPUTS)), 0))
    one.a.h[:, 0], one.a.total[0] = layer().a.h[:, 0], layer().a.total[0]
    assert_array_equal(one.forward(training=False)[0], first)
    for name in ("norm/mean", "norm/variance"):
        assert_array_equal(one.arrays()[name], after[name])
    assert not one.out.h[UNITS // 16, :ROWS, UNITS % 16 :].any(), "units that pad a panel stay zero"


def test_a_batch_of_one_teaches_nothing_but_the_shift() -> None:
    one = OneLayer("local-error", 1, INPUTS, UNITS, CLASSES, "rule.similarity=0.5")
    found, gradients = one.gradients(1)
    assert np.isfinite(found.loss) and all(np.isfinite(value).all() for value in gradients.values())
    assert not gradients["/weights"].any() and not gradients["norm/variance"].any()


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("train.batch_size=1", "train.batch_size = 1: rule.name = 'local-error' normalises each unit over a batch's"),
        ("rule.similarity=1", "rule.similarity = 1: expected a number at least 0 and less than 1"),
        ("rule.momentum=0", "rule.momentum = 0: expected a number more than 0 and at most 1"),
        ("head.step=epoch", "head.step = 'epoch': with rule.name = 'local-error' classifiers learn together"),
        ("classify.methods=['softmax']", "expected each method once, for rule.name = 'local-error' of last-layer"),
        ("negatives.name=adaptive", "negatives.name = 'adaptive': rule.name = 'local-error' has no negatives"),
    ],
)
def test_refused(setting: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        config.parse("", "test", ["rule.name=local-error", setting])
    assert expected in str(caught.value)
