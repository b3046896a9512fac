"""Random draws: what they are for decides them, they are spread as they should be, and they never change."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ffmpi.network import random
from ffmpi.network.random import Purpose

SEEDS = (0, 1, 2**63 - 1)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_order_is_a_permutation(seed: int, count: int) -> None:
    order = random.order(seed, 3, count)
    assert order.dtype == np.int64
    assert_array_equal(np.sort(order), np.arange(count))


def test_order_is_evenly_spread() -> None:
    """Each of 6 orders of 3 samples comes up as often as the others: chi-squared of 5 degrees below its 99.9 %."""
    counts = dict.fromkeys(itertools.permutations(range(3)), 0)
    for epoch in range(3000):
        counts[tuple(random.order(7, epoch, 3).tolist())] += 1
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 20.5


@pytest.mark.parametrize("number", [2, 3, 10, 256])
@pytest.mark.parametrize("seed", SEEDS)
def test_wrong_classes(seed: int, number: int) -> None:
    classes = np.repeat(np.arange(number, dtype=np.uint8), 200_000 // number)
    wrong = random.wrong_classes(seed, 2, classes, number)
    assert wrong.dtype == np.int64 and wrong.min() >= 0 and wrong.max() < number
    assert not (wrong == classes).any()
    # Every (class, wrong class) pair is as frequent as the others: chi-squared within 4 deviations of its mean.
    counts = np.zeros((number, number))
    np.add.at(counts, (classes, wrong), 1)
    pairs = counts[~np.eye(number, dtype=bool)]
    expected = len(classes) / (number * (number - 1))
    free = number * (number - 2)
    assert ((pairs - expected) ** 2 / expected).sum() <= free + 4 * np.sqrt(2 * free)


def test_uniform() -> None:
    weights = random.uniform(1, Purpose.WEIGHTS, 0, (500, 400), 0.25)
    assert weights.dtype == np.float32 and weights.shape == (500, 400)
    assert weights.min() >= -0.25 and weights.max() < 0.25
    unit = weights.astype(np.float64).ravel() * 4
    error = 5 / np.sqrt(unit.size)
    assert abs(unit.mean()) < error and abs((unit**2).mean() - 1 / 3) < error
    assert abs((unit**3).mean()) < error and abs((unit**4).mean() - 1 / 5) < error
    assert np.histogram(unit, 20, (-1, 1))[0].min() > 0.97 * unit.size / 20


def test_normal() -> None:
    weights = random.normal(1, Purpose.WEIGHTS, 0, (500, 400), 0.5)
    assert weights.dtype == np.float32 and weights.shape == (500, 400)
    unit = weights.astype(np.float64).ravel() * 2
    error = 5 / np.sqrt(unit.size)
    assert abs(unit.mean()) < error and abs((unit**2).mean() - 1) < 1.5 * error
    assert abs((unit**3).mean()) < 4 * error and abs((unit**4).mean() - 3) < 0.04 + 10 * error
    for deviations, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        assert abs((np.abs(unit) < deviations).mean() - share) < 0.01
    assert np.unique(weights).size > 0.9 * min(weights.size, 2**22)  # continuous, not 65 bit counts


def test_rows_and_columns_of_weights_are_independent() -> None:
    weights = random.normal(3, Purpose.WEIGHTS, 1, (200, 300), 1.0).astype(np.float64)
    for matrix in (weights, weights.T):
        correlation = np.corrcoef(matrix) - np.eye(len(matrix))
        assert np.abs(correlation).max() < 6 / np.sqrt(matrix.shape[1])


def test_every_part_of_the_key_matters() -> None:
    """Draws for different (seed, purpose, epoch, layer) share no word and are not correlated."""
    shape = (40, 50)
    drawn = {
        (seed, purpose, layer): random.uniform(seed, purpose, layer, shape, 1.0).ravel()
        for seed in SEEDS
        for purpose in (Purpose.WEIGHTS, Purpose.HEAD)
        for layer in range(3)
    }
    correlation = np.corrcoef(np.array(list(drawn.values()), np.float64)) - np.eye(len(drawn))
    assert np.abs(correlation).max() < 5 / np.sqrt(np.prod(shape))
    words = [
        random.words(seed, purpose, epoch, 2000)
        for seed in SEEDS
        for purpose in Purpose
        for epoch in (0, 1, 2, 1000)
    ]  # fmt: skip
    assert np.unique(np.concatenate(words)).size == sum(map(len, words))


def test_the_same_key_gives_the_same_draw() -> None:
    assert_array_equal(random.words(3, Purpose.ORDER, 4, 9), random.words(3, Purpose.ORDER, 4, 20)[:9])
    assert_array_equal(random.order(3, 4, 50), random.order(3, 4, 50))
    tall = random.normal(3, Purpose.WEIGHTS, 1, (9, 8), 1.0)
    assert_array_equal(tall[:4], random.normal(3, Purpose.WEIGHTS, 1, (4, 8), 1.0))


def test_purposes_keep_their_numbers() -> None:
    assert {purpose.name: purpose.value for purpose in Purpose} == {
        "WEIGHTS": 1, "HEAD": 2, "ORDER": 3, "NEGATIVES": 4, "CHOICE": 5, "SHARD": 6, "VALIDATION": 7,
        "AUGMENTATION": 8, "TRANSFORM": 9,
    }  # fmt: skip


def test_pinned_values() -> None:
    """A change here changes every run: old checkpoints resume to other bits."""
    assert random.words(1, Purpose.ORDER, 2, 4).tolist() == [
        0x17B3E29718B9699B, 0x6A398D387F9C046E, 0x6C9FD5AD3A30A834, 0x342449FFDB801561,
    ]  # fmt: skip
    assert random.order(1, 2, 12).tolist() == [0, 6, 3, 11, 1, 2, 7, 4, 10, 5, 9, 8]
    drawn = random.words(0, Purpose.VALIDATION, 0, 12)
    assert np.argsort(drawn, kind="stable").tolist() == [11, 2, 9, 0, 3, 10, 5, 1, 7, 4, 6, 8]
    assert random.order(2**63 - 1, 0, 8).tolist() == [7, 3, 6, 4, 5, 2, 1, 0]
    classes = np.arange(12) % 10
    assert random.wrong_classes(1, 2, classes, 10).tolist() == [6, 6, 4, 5, 7, 4, 7, 9, 9, 2, 1, 9]


def hexadecimal(weights: np.ndarray) -> list[str]:
    return [weight.hex() for weight in weights.ravel().tolist()]


def test_pinned_weights() -> None:
    assert hexadecimal(random.uniform(5, Purpose.WEIGHTS, 3, (2, 3), 0.25)) == [
        "-0x1.7d26e00000000p-3", "0x1.1dbc240000000p-3", "0x1.4bbee00000000p-4",
        "0x1.96b6c00000000p-7", "-0x1.b985800000000p-6", "0x1.fd84b80000000p-3",
    ]  # fmt: skip
    assert hexadecimal(random.uniform(5, Purpose.HEAD, 0, (1, 2), 3**-0.5)) == [
        "0x1.99fcf00000000p-2", "0x1.006cd00000000p-2",
    ]  # fmt: skip
    assert hexadecimal(random.normal(5, Purpose.WEIGHTS, 3, (2, 3), 0.3)) == [
        "-0x1.b63aec0000000p-2", "-0x1.2e999a0000000p-3", "-0x1.7f60120000000p-3",
        "-0x1.b0db8e0000000p-4", "0x1.33a02e0000000p-3", "-0x1.d95e6e0000000p-9",
    ]  # fmt: skip
