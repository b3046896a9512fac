"""Samples that count more than once, or not at all, for every rule: as if they were there so often."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs
from numpy.testing import assert_allclose, assert_array_equal

from ffmpi import config
from ffmpi.config.registries import RULES
from ffmpi.data.info import DatasetInfo
from ffmpi.network.labels import Labels
from ffmpi.network.layout import LAYOUTS
from ffmpi.rules import Loss, Rule
from ffmpi.runtime import setup
from tests.unit.one_layer import OneLayer
from tests.unit.samples import refused

SAMPLES, INPUTS, UNITS, CLASSES = 9, 20, 27, 4
COUNTS = np.array([1, 3, 0, 2, 1, 1, 0, 4, 2])


def learnt(rule: str, samples: np.ndarray, weights: np.ndarray | None = None) -> tuple[Loss, dict[str, np.ndarray]]:
    """Let a layer learn from these of the nine samples in one step; return its loss, and what it has changed by."""
    rng, each = np.random.default_rng(1), LAYOUTS[RULES[rule].layout].rows
    rows, classes = np.maximum(rng.standard_normal((each, SAMPLES, INPUTS)), 0), rng.integers(0, CLASSES, SAMPLES)
    layer = OneLayer(rule, each * len(samples), INPUTS, UNITS, CLASSES)
    layer.show(rows[:, samples].reshape(-1, INPUTS))
    layer.a.score[: each * len(samples)] = np.tile(samples, each)[:, None] % 3
    layer.classes_shown = classes[samples]
    return layer.gradients(len(samples), weights)


def often(weights: np.ndarray) -> np.ndarray:
    """Return weights that are 1 in the mean, as a rule is told them."""
    found, _ = Labels(config.parse("", "test", []), np.zeros(len(weights)), CLASSES, weights).weigh(
        np.arange(len(weights))
    )
    return found


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray], *but: str) -> None:
    assert one.keys() == other.keys()
    assert sum(np.abs(value).max() > 1e-4 for value in one.values()) > 1
    for name in one.keys() - set(but):
        assert_allclose(
            other[name], one[name], rtol=1e-3, atol=1e-5 * np.abs(one[name]).max(initial=1e-3), err_msg=name
        )


@pytest.mark.parametrize("rule", RULES.names)
def test_whole_numbers_are_repetitions(rule: str) -> None:
    """But of what batch normalisation takes for the variance of all samples: repeated ones tell no more of it."""
    every = np.arange(SAMPLES)
    (repeated, more), (weighed, less) = learnt(rule, every.repeat(COUNTS)), learnt(rule, every, often(COUNTS))
    equal(more, less, "norm/variance")
    assert_allclose(weighed.loss / weighed.rows, repeated.loss / repeated.rows, rtol=1e-5)


@pytest.mark.parametrize("rule", RULES.names)
def test_weight_0_is_absence(rule: str) -> None:
    weights = np.where(COUNTS > 0, 1.0, 0.0)
    (_, fewer), (_, all_there) = learnt(rule, np.flatnonzero(weights)), learnt(rule, np.arange(SAMPLES), often(weights))
    equal(fewer, all_there)


@pytest.mark.parametrize("rule", RULES.names)
@pytest.mark.parametrize("weight", [1.0, 0.3, 1e-30])
def test_equal_weights_change_no_bit(rule: str, weight: float) -> None:
    plain, weighed = learnt(rule, np.arange(SAMPLES)), learnt(rule, np.arange(SAMPLES), often(np.full(SAMPLES, weight)))
    assert plain[0] == weighed[0]
    for name, change in plain[1].items():
        assert_array_equal(weighed[1][name], change, err_msg=name)


def test_shares_of_an_epoch() -> None:
    weights = np.array([0, 0, 3, 1, 5, 1], np.float32)
    labels = Labels(config.parse("", "test", []), np.zeros(6), CLASSES, weights)
    parts = [labels.weigh(np.arange(first, first + 2)) for first in (0, 2, 4)]
    assert [share for _, share in parts] == [0.0, 0.4, 0.6]
    assert_allclose([part for part, _ in parts], [[0, 0], [1.5, 0.5], [5 / 3, 1 / 3]], rtol=1e-6)


class Deaf(Rule, frozen=True, kw_only=True, tag="deaf"):
    """A rule that does not say that it weighs."""


def test_who_cannot_weigh_says_so() -> None:
    weighted = DatasetInfo((8, 8), tuple("0123456789"), 10, 10, weighted=True)
    settled = config.parse("", "test", ["data.name=hdf5", "data.path=x", "data.weights=w"])
    setup.check(settled, weighted)
    refused(lambda: setup.check(structs.replace(settled, rule=Deaf()), weighted), "rule.name = 'deaf' does not weigh")
