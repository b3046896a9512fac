"""Peer normalisation against the formulas in float64, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ffmpi import config
from ffmpi.errors import UserError
from ffmpi.kernels import reference
from tests.unit.one_layer import OneLayer, derivative

PAIRS, INPUTS, UNITS = 4, 7, 21


def layer(*settings: str) -> OneLayer:
    return OneLayer("peer-normalisation", 2 * PAIRS, INPUTS, UNITS, 3, *settings)


@pytest.mark.parametrize("goodness", ["sum", "mean"])
def test_a_step_is_the_derivative(goodness: str) -> None:
    """Of the goodness loss less strength x sum over units of (mean - m_u) z_u, m held, averaged over positives."""
    one = layer(f"rule.goodness={goodness}", "rule.threshold=0.05", "rule.strength=0.7", "rule.momentum=0.4")
    before, a = one.arrays(), one.input
    w, bias, theta = before["/weights"], before["/bias"], 0.05 * UNITS
    h = one.forward(training=True)
    means = reference.peer_means(h[:PAIRS], 0.4, np.full(UNITS, 0.5))
    pull = 0.7 * (means.mean() - means)

    def loss() -> float:
        z = a @ w + bias
        squares = np.maximum(z, 0) ** 2
        above = (squares.sum(axis=1) if goodness == "sum" else squares.mean(axis=1)) - theta
        each = np.logaddexp(0, np.concatenate([-above[:PAIRS], above[PAIRS:]]))
        return float(each.mean() - (z[:PAIRS] @ pull).mean())

    found, gradients = one.gradients(PAIRS)
    assert_allclose(gradients["/weights"], derivative(loss, w), rtol=1e-3, atol=1e-6)
    assert_allclose(gradients["/bias"], derivative(loss, bias), rtol=1e-3, atol=1e-6)
    assert_allclose(one.arrays()["peers/means"], means, rtol=1e-6)
    assert found.rows == 2 * PAIRS and found.flop == 2 * found.active * INPUTS * UNITS


def test_scoring_leaves_the_means() -> None:
    one = layer()
    one.learn(PAIRS)
    kept = one.arrays()["peers/means"]
    assert (kept != 0.5).all()
    one.forward(training=False)
    sums = one.rule.partial(one.layer, one.out, one.rows)[0]
    assert_array_equal(one.rule.scores(one.layer, one.out, sums, one.rows)[:, 0], one.out.total[: one.rows])
    assert_array_equal(one.arrays()["peers/means"], kept)


def test_an_idle_unit_comes_back() -> None:
    """With goodness alone a unit that no row excites has no gradient, ever."""
    for rule, comes in (("goodness", False), ("peer-normalisation", True)):
        one = OneLayer(rule, 2 * PAIRS, INPUTS, UNITS, 3)
        bias = one.layer.parameters.array("bias")
        bias[5] = -4
        one.layer.parameters.set_array("bias", bias)
        assert not one.forward(training=True)[:, 5].any()
        for _ in range(200):
            one.learn(PAIRS)
        assert one.forward(training=True)[:, 5].any() == comes
        assert not one.out.h[UNITS // 16, :, UNITS % 16 :].any(), "units that pad a panel stay zero"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("rule.strength=0", "rule.strength = 0: expected a number more than 0"),
        ("rule.momentum=1", "rule.momentum = 1: expected a number at least 0 and less than 1"),
        ("classify.methods=['last-layer']", "expected each method once, for rule.name = 'peer-normalisation' of"),
    ],
)
def test_refused(setting: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        config.parse("", "test", ["rule.name=peer-normalisation", setting])
    assert expected in str(caught.value)
