"""What a layer learns from, when transforms change it: which rows, by which random draws."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ffmpi import config, data, kernels
from ffmpi.errors import UserError
from ffmpi.kernels import reference
from ffmpi.network import random
from ffmpi.network.activations import Activations, Inputs
from ffmpi.network.augmented import AugmentedInputBuilder
from ffmpi.network.inputs import InputBuilder
from ffmpi.network.transformed import TransformedImages, TransformedInput

SAMPLES, NEUTRAL, UNITS = 5, 4, 20
LEARNT, ROWS = 2 * SAMPLES, 2 * SAMPLES + NEUTRAL
KEYS = np.tile(np.array([7, 3, 0, 9, 4]), 2), np.repeat(np.arange(2), SAMPLES)


def transformed(*settings: str, index: int = 2) -> TransformedInput:
    settled = config.parse("", "test", ["seed=5", f"network.layers=[{UNITS},{UNITS},30]", *settings])
    return TransformedInput(settled, index, ROWS)


def output() -> tuple[np.ndarray, Activations]:
    """Return activations of the layer below, also as a matrix."""
    h = np.maximum(np.random.default_rng(0).standard_normal((ROWS, UNITS)), 0).astype(np.float32)
    out = Activations(UNITS, ROWS, {"score": 1})
    out.h[:, :ROWS], out.total[:ROWS], out.score[:ROWS] = kernels.to_panels(h), (h**2).sum(axis=1), 3
    return h, out


def test_only_rows_that_are_learnt_from_change() -> None:
    (h, out), one = output(), transformed("network.transforms=[{name='dropout', probability=0.5}]")
    before = out.flat.copy()
    made = one.of(out, ROWS, *KEYS, 3)
    assert made is one.made
    expected = reference.dropout(h[:LEARNT], *KEYS, 5, 3, random.of_transform(2, 0), 0.5)
    expected = np.vstack([expected, h[LEARNT:]])
    assert_allclose(kernels.from_panels(made.h, ROWS, UNITS), expected, rtol=1e-6)
    assert_allclose(made.total[:ROWS], (expected**2).sum(axis=1), rtol=1e-6)
    assert_array_equal(made.score, out.score)
    assert_array_equal(out.flat, before)


def masks(one: TransformedInput, epoch: int = 3) -> np.ndarray:
    made = one.of(output()[1], ROWS, *KEYS, epoch)
    return np.asarray(kernels.from_panels(made.h, LEARNT, UNITS) != 0)


def test_masks_are_keyed() -> None:
    """By layer, epoch, place in the list, sample and kind of row."""
    half = "network.transforms=[{name='dropout', probability=0.5}]"
    first = masks(transformed(half))
    assert_array_equal(first, masks(transformed(half)))
    for other in (masks(transformed(half, index=1)), masks(transformed(half), 4), masks(transformed(half, "seed=6"))):
        assert (other != first).any()
    twice = masks(transformed(half.replace("[{", "[{name='dropout', probability=0.5}, {")))
    assert (twice <= first).all() and 0 < twice.sum() < first.sum()
    alive = output()[0][:LEARNT] > 0
    both = alive[:SAMPLES] & alive[SAMPLES:]
    assert (first[:SAMPLES] != first[SAMPLES:])[both].any()


def test_purposes_differ_from_each_other_and_fit() -> None:
    purposes = {random.of_transform(layer, place) for layer in (0, 1, 1023) for place in (0, 1, 63)}
    assert len(purposes) == 9 and max(purposes) < 2**24


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", "network.transforms = 3: expected a list of tables [[network.transforms]], or of names"),
        ("dropuot", "network.transforms[0].name = 'dropuot': expected one of 'dropout'; did you mean 'dropout'?"),
        ("[{name='dropout', p=0.5}]", "unknown key 'network.transforms[0].p'"),
        ("[{name='dropout', probability=1}]", "network.transforms[0].probability = 1: expected a number more than 0"),
        ("[" + "'dropout'," * 65 + "]", "network.transforms has 65 entries: expected at most 64"),
    ],
)
def test_refused(value: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        config.parse("", "test", [f"network.transforms={value}"])
    assert expected in str(caught.value)


def images(*settings: str, epoch: int = 3, augment: str = "[]") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images of digits as written for training, their sums of squares, and the same without transforms."""
    made = []
    for more in ([], settings):
        settled = config.parse("", "test", ["seed=5", "data.label=append", f"augment={augment}", *more])
        digits, out = data.load("digits", None, "train"), Inputs(74, SAMPLES, 64, 10, 1.0)
        change = TransformedImages(settled, 74, SAMPLES) if more else None
        kind = AugmentedInputBuilder if settled.augment else InputBuilder
        builder = kind(settled, digits, None, transformed=change)
        builder.set_epoch(epoch)
        builder.plain(KEYS[0][:SAMPLES], out)
        made += [kernels.from_panels(out.h, SAMPLES, 74), out.total[:SAMPLES].copy()]
    return made[2], made[3], made[0]


@pytest.mark.parametrize("augment", ["[]", "['shift']"])
def test_images_change_as_the_specification_says(augment: str) -> None:
    half = "network.input_transforms=[{name='dropout', probability=0.5}]"
    found, total, plain = images(half, augment=augment)
    samples, kinds = KEYS[0][:SAMPLES], np.zeros(SAMPLES, int)
    expected = reference.dropout(plain, samples, kinds, 5, 3, random.of_transform(0, 0), 0.5)
    assert_allclose(found, expected, rtol=1e-6)
    assert_allclose(total, (expected**2).sum(axis=1), rtol=1e-6)
    assert 0.3 < (found != 0).sum() / (plain != 0).sum() < 0.7
    other = images(half, augment=augment, epoch=4)
    assert ((other[0] != 0) != (found != 0))[(other[2] != 0) & (plain != 0)].any()


def test_too_many_for_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"network\.input_transforms has 65 entries: expected at most 64"):
        config.parse("", "test", ["network.input_transforms=[" + "'dropout'," * 65 + "]"])
