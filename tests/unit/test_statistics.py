"""What is measured on samples, and what is told of them."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose

from ffmpi.commands.data import data_sets
from ffmpi.data import DataSet, remarks
from ffmpi.data import statistics as s
from ffmpi.errors import UserError

RNG = np.random.default_rng(1)
NAMES = ("cat", "dog", "emu")


def part(images: np.ndarray, classes: Any, names: tuple[str, ...] = NAMES) -> DataSet:
    return DataSet(images, np.asarray(classes, np.uint8), (images.shape[1],), names)


def measured(train: DataSet, test: DataSet | None = None) -> s.Statistics:
    tallies = {"train": s.tally(train)} | ({"test": s.tally(test)} if test else {})
    return s.statistics_of(train.shape, train.names, tallies)


def pixels(count: int, inputs: int = 20, kind: str = "uint8") -> np.ndarray:
    if kind == "uint8":
        return RNG.integers(0, 256, (count, inputs), np.uint8)
    return RNG.normal(1000, 0.01, (count, inputs)).astype(np.float32)


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_moments_are_numpys(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured in several blocks, in one place or in two."""
    monkeypatch.setattr(s, "_CHUNK", 60)
    images, classes = pixels(50, kind=kind), np.arange(50) % 2
    images[:, 3] = images[0, 3]
    train, test = [part(images[:20], classes[:20]), part(images[20:], classes[20:])], part(images, classes)
    apart = s.combined([measured(one, test) for one in train])
    assert apart.splits["test"].samples == apart.shared == 50
    for found in (s.tally(*train).split(), apart.splits["train"]):
        agrees(found, images, kind)


def agrees(found: s.Split, images: np.ndarray, kind: str) -> None:
    assert (found.samples, found.dtype, found.per_class) == (50, kind, (25, 25, 0))
    assert (found.least, found.greatest, found.constant_pixels) == (images.min(), images.max(), 1)
    assert_allclose([found.mean, found.std], [images.mean(dtype=float), images.std(dtype=float)], rtol=1e-9)
    assert (found.repeated, found.contradicting) == (0, 0)


def test_identical_images() -> None:
    images = pixels(10)
    images[[4, 5, 6]] = images[0]  # four times the same, with two classes
    images[9] = images[8]  # with one class
    train = part(images, [0, 0, 0, 0, 0, 1, 0, 1, 2, 2])
    test = part(np.concatenate([images[[0, 8, 8]], pixels(7)]), [0, 1, 1, 0, 1, 2, 0, 1, 2, 0])
    found = measured(train, test)
    assert (found.splits["train"].repeated, found.splits["train"].contradicting) == (4, 1)
    assert (found.splits["test"].repeated, found.shared) == (1, 3)
    assert remarks.outline(found)[0].endswith("; 4 images are the same as an earlier one")
    shared, contradicting = (text for text in reversed(remarks.check(found, "own.h5")) if "image" in text)
    assert contradicting == "own.h5: in train 1 image is there more than once with different classes"
    assert shared.startswith("own.h5: 3 test images are training images, too")


def told(train: DataSet, test: DataSet | None) -> str:
    return "; ".join(remarks.check(measured(train, test), "x"))


def test_sound_samples_are_not_complained_of() -> None:
    every = np.arange(60) % 3
    assert told(part(pixels(60), every), part(pixels(30), every[:30])) == ""
    assert told(part(pixels(60, kind="float32"), every), part(pixels(30, kind="float32"), every[:30])) == ""


def test_what_may_be_wrong() -> None:
    every = np.arange(60) % 3
    train, test = part(pixels(60), every), part(pixels(30), every[:30])
    assert "class emu has no training samples" in told(part(pixels(60), every % 2), test)
    assert "class cat has no" in (first := told(part(pixels(60), 1 + every % 2), test)) and "begin at 1" in first
    rare = np.where(np.arange(60) < 56, 0, every)
    one = part(pixels(30), np.zeros(30))
    assert told(train, one) == "x: 2 of the 3 classes with training samples have no test samples: were they shuffled?"
    assert told(train, part(pixels(30), every[:30] % 2)) == ""
    assert "class cat has 57 of the 60 training samples" in told(part(pixels(60), rare), test)
    assert "all 60 images of train are the same" in told(part(np.zeros((60, 20), np.uint8), every), test)
    floats = part((test.images / np.float32(255)).astype(np.float32), test.classes)  # type: ignore[operator]
    assert told(train, floats) == "x: the pixels are uint8 in train and float32 in test, and are converted"
    bright = part(np.float32(255) * floats.images, test.classes)  # type: ignore[operator]
    assert "elsewhere" not in told(train, bright) + told(floats, bright)
    halved = part(floats.images / np.float32(4), test.classes)  # type: ignore[operator]
    assert "elsewhere in test (mean" in told(floats, halved)
    standardised = part((bright.images - np.float32(128)) / np.float32(74), test.classes)  # type: ignore[operator]
    assert told(standardised, standardised).startswith("x: 30 test images are training images")
    assert "elsewhere" in told(standardised, part(standardised.images * np.float32(4), test.classes))  # type: ignore[operator]
    assert "no test samples" in told(train, None)


def test_one_class_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^x: all 9 training samples are of class dog; expected samples of at least two"
    ):
        remarks.check(measured(part(pixels(9), np.ones(9)), part(pixels(9), np.arange(9) % 3)), "x")


def test_many_classes_are_summed_up() -> None:
    names = tuple(map(str, range(100)))
    classes = np.concatenate([np.arange(99), np.full(40, 7)])
    found = measured(part(pixels(139), classes, names), part(pixels(139), classes, names))
    assert remarks.outline(found)[1] == "training samples of each class: 1 to 41 in 99 classes; 1 without any"
    assert len(remarks.outline(found)) == 2 and "7 41, 8 1," in remarks.describe(found)[1]


def test_little_memory_is_taken() -> None:
    images = np.zeros((3000, 3072), np.uint8)
    tracemalloc.start()
    s.tally(part(images, np.zeros(3000))).split()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6 < images.nbytes


def test_the_command_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        for split in ("train", "test"):
            file[f"{split}/images"], file[f"{split}/labels"] = pixels(40).reshape(40, 4, 5), 1 + np.arange(40) % 2
    data_sets("hdf5", str(path), False, None, False)
    out, err = capsys.readouterr()
    assert "train: 40 images of shape 4 x 5, uint8, " in out and "train: samples of each class: 0 0, 1 20, 2 20" in out
    assert err.startswith(f"ffmpi: warning: {path}: class 0 has no training samples") and err.count("\n") == 1
    data_sets("hdf5", str(path), False, None, True)
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == {"train": 40, "test": 40} and found["splits"]["test"]["per_class"] == [0, 20, 20]
    assert found["shape"] == [4, 5] and found["names"] == ["0", "1", "2"] and found["shared"] == 0
    assert len(found["warnings"]) == 1 and found["splits"]["train"]["std"] > 60
