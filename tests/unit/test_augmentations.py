"""How images are moved: evenly, by as much as is said, by one augmentation after the other."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ffmpi import config, kernels
from ffmpi.config.registries import AUGMENTATIONS
from ffmpi.data import DataSet
from ffmpi.data.augmentations import moves_of
from ffmpi.data.augmentations.crop import Crop
from ffmpi.data.augmentations.flip import Flip
from ffmpi.data.augmentations.shift import Shift
from ffmpi.data.info import DatasetInfo
from ffmpi.data.shapes import geometry_of
from ffmpi.errors import UserError
from ffmpi.kernels import reference
from ffmpi.network import random
from ffmpi.network.activations import Inputs
from ffmpi.network.augmented import AugmentedInputBuilder
from ffmpi.runtime import setup

COUNT = 20_000


def words(place: int = 0, epoch: int = 3) -> np.ndarray:
    return random.augmentation(7, epoch, place, COUNT)


def test_draws_are_keyed_by_epoch_and_place() -> None:
    assert_array_equal(words(), words())
    assert (words() != words(1)).mean() > 0.999 and (words() != words(0, 4)).mean() > 0.999
    # A sample's word does not depend on how many there are.
    assert_array_equal(random.augmentation(7, 3, 0, 5), words()[:5])


@pytest.mark.parametrize("pixels", [1, 2, 7])
def test_shifts_are_even(pixels: int) -> None:
    moves = Shift(pixels=pixels).moves(words())
    assert moves.shape == (COUNT, 3) and moves.dtype == np.int64 and not moves[:, 2].any()
    each = 2 * pixels + 1
    counts = np.zeros((each, each), int)
    np.add.at(counts, (moves[:, 0] + pixels, moves[:, 1] + pixels), 1)  # no index is beyond
    expected = COUNT / each**2
    assert ((counts - expected) ** 2 / expected).sum() < each**2 + 5 * np.sqrt(2 * each**2)  # chi-squared, 5 sigma


def test_crops_are_of_the_padded_image() -> None:
    image, padded = np.arange(1, 43).reshape(1, 6, 7, 1), np.zeros((1, 10, 11, 1), int)
    padded[:, 2:8, 2:9] = image
    possible = {padded[:, y : y + 6, x : x + 7].tobytes() for y in range(5) for x in range(5)}
    found = {reference.move(image, *map(int, move), 0.0).tobytes() for move in Crop(padding=2).moves(words()[:1000])}
    assert found == possible


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flips(probability: float) -> None:
    moves = Flip(probability=probability).moves(words())
    assert not moves[:, :2].any()
    assert moves[:, 2].mean() == pytest.approx(probability, abs=5 * np.sqrt(0.25 / COUNT) * (0 < probability < 1))


def test_one_after_the_other() -> None:
    """What the moves say at once is what each augmentation does to the image that the one before has left."""
    rng = np.random.default_rng(0)
    image = np.zeros((1, 12, 12, 1), np.float32)
    image[0, 4:8, 4:8, 0] = rng.random((4, 4))  # nothing is lost beyond the border
    augment = [Shift(pixels=2), Flip(), Shift(pixels=2), Flip()]
    drawn = [random.augmentation(1, 0, place, 50) for place in range(len(augment))]
    total = moves_of(augment, 50, lambda place: drawn[place])
    assert len({tuple(move) for move in total}) > 20 and 0 < total[:, 2].mean() < 1
    for index in range(50):
        moved = image
        for one, found in zip(augment, drawn, strict=True):
            moved = reference.move(moved, *map(int, one.moves(found)[index]), 0.0)
        assert_array_equal(reference.move(image, *map(int, total[index]), 0.0), moved)


def test_nothing_to_do() -> None:
    assert not moves_of([], 3, lambda place: words()).any()


@pytest.mark.parametrize(
    ("shape", "geometry"),
    [
        ((28, 20), (1, 28, 20, 1)),
        ((3, 32, 30), (3, 32, 30, 1)),
        ((32, 30, 3), (1, 32, 30, 3)),
        ((1, 8, 9), (1, 8, 9, 1)),
        ((8, 9, 1), (1, 8, 9, 1)),
        ((2, 16, 16), (2, 16, 16, 1)),
        ((16, 12, 2), (1, 16, 12, 2)),
        ((20, 30, 40), None),
        ((784,), None),
        ((2, 3, 4, 5), None),
    ],
)
def test_geometry(shape: tuple[int, ...], geometry: tuple[int, ...] | None) -> None:
    assert geometry_of(shape) == geometry


def test_every_augmentation_moves_something() -> None:
    for name, member in AUGMENTATIONS.members().items():
        assert member().moves(words()).any(axis=1).mean() > 0.2, name


def test_inputs_are_of_moved_images() -> None:
    """Whatever was there before, as after a resume, and wherever in a batch a sample stands."""
    settled = config.parse(
        "", "run.toml", ["augment=['shift','flip']", "data.mean=0.2", "rule=local-softmax", "seed=5"]
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 7 * 6 * 3)).astype(np.uint8)
    data = DataSet(images, np.zeros(30, np.uint8), (7, 6, 3), ("a", "b"))
    samples, found = rng.permutation(30)[:20], []
    for epochs in ([0, 1, 2], [2]):
        builder, out = AugmentedInputBuilder(settled, data, None), Inputs(7 * 6 * 3, 20, 0, 2, 1.0)
        for epoch in epochs:
            builder.set_epoch(epoch)
        builder.plain(samples, out)
        found.append(kernels.from_panels(out.h, 20, 7 * 6 * 3))
    moves = moves_of(settled.augment, 30, lambda place: random.augmentation(settled.seed, 2, place, 30))[samples]
    moved = [
        reference.move(image, *move, 0)
        for image, move in zip(images[samples].reshape(20, 1, 7, 6, 3), moves, strict=True)
    ]
    np.testing.assert_allclose(found[0], np.stack(moved).reshape(20, -1) / 255 - 0.2, rtol=1e-6, atol=1e-7)
    assert_array_equal(*found)


def test_what_is_no_image_is_not_moved() -> None:
    settled = config.parse("", "run.toml", ["augment=['shift','flip']"])
    setup.check(settled, DatasetInfo((30, 20), ("a", "b"), 10, 10))
    with pytest.raises(UserError, match=r"^augment = shift, flip: .* the shape \(600,\); expected images"):
        setup.check(settled, DatasetInfo((600,), ("a", "b"), 10, 10))
