"""Weights of samples in every format of own data that has room for them, and one sentence for what are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ffmpi import config, data
from ffmpi.data.memory import Arrays, holding
from ffmpi.data.remarks import describe
from ffmpi.data.split import contents, load, subset
from ffmpi.data.weights import expect_some
from tests.unit.samples import labels, pixels, refused

FORMATS = ["hdf5", "numpy", "csv", "memory"]
IMAGES, LABELS = pixels(30, 4), labels(30)
WEIGHTS = np.arange(30) / 8


def write(kind: str, folder: Path, weights: np.ndarray) -> str:
    """Write 30 samples with weights called ``often``, and the same as test samples without."""
    if kind == "hdf5":
        with h5py.File(folder / "x.h5", "w") as file:
            for split in ("train", "test"):
                file[f"{split}/images"], file[f"{split}/labels"] = IMAGES, LABELS
            file["train/often"] = weights
        return str(folder / "x.h5")
    if kind == "numpy":
        np.savez(folder / "x.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS, often=weights)
        return str(folder / "x.npz")
    if kind == "csv":
        for split in ("train", "test"):
            lines = ["label,a,b,often,c,d" if split == "train" else "label,a,b,c,d"]
            for image, label, weight in zip(IMAGES.tolist(), LABELS, weights.tolist(), strict=False):
                middle = [weight] if split == "train" else []
                lines.append(",".join(map(str, [label, *image[:2], *middle, *image[2:]])))
            (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
        return str(folder)
    return ""


def read(kind: str, path: str, weights: np.ndarray, split: str, name: str = "often") -> data.DataSet:
    held = {f"{split}/{one}": array for split in ("train", "test") for one, array in
            (("images", IMAGES), ("labels", LABELS))} | {"train/often": weights}  # fmt: skip
    settled = config.parse("", "test", [f"data.name={kind}", f"data.path={path}", f"data.weights={name}"])
    with holding(Arrays(held)):
        return load(settled, split, images=True)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("column", [False, True])
def test_training_samples_have_weights(kind: str, column: bool, tmp_path: Path) -> None:
    weights = WEIGHTS[:, None] if column and kind != "csv" else WEIGHTS
    path = write(kind, tmp_path, weights)
    found, test = (read(kind, path, weights, split) for split in ("train", "test"))
    assert found.weights is not None and found.weights.dtype == np.float32
    np.testing.assert_array_equal(found.weights, WEIGHTS)
    assert test.weights is None
    for part in (found, test):
        np.testing.assert_array_equal(part.images, IMAGES)
        np.testing.assert_array_equal(part.classes, LABELS)


@pytest.mark.parametrize("name", ["w_{split}", "w_{train|test}", "w_train"])
def test_names_of_weights(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / "x.npz")
    np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS, w_train=WEIGHTS)
    found = read("numpy", path, WEIGHTS, "train", name).weights
    np.testing.assert_array_equal(found, WEIGHTS)


def changed(place: int, value: Any) -> np.ndarray:
    return np.where(np.arange(30) == place, value, WEIGHTS)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("weights", "fragment"),
    [
        (changed(3, -1.0), "sample 3 has the weight -1, expected one finite number from 0"),
        (changed(5, np.nan), "sample 5 has the weight nan"),
        (changed(5, np.inf), "sample 5 has the weight inf"),
        (changed(7, 1e300), "sample 7 has the weight 1e+300"),
    ],
)
def test_what_are_no_weights(kind: str, weights: np.ndarray, fragment: str, tmp_path: Path) -> None:
    path = write(kind, tmp_path, weights)
    refused(lambda: read(kind, path, weights, "train"), "often", fragment)


@pytest.mark.parametrize("kind", ["hdf5", "numpy", "memory"])
def test_weights_of_another_shape(kind: str, tmp_path: Path) -> None:
    for weights, found in ((WEIGHTS[:29], "float64 of shape (29,)"), (np.ones((30, 2)), "float64 of shape (30, 2)")):
        path = write(kind, tmp_path, weights)
        refused(lambda w=weights, p=path: read(kind, p, w, "train"), "often", found, "expected shape (30,)")
    texts = np.array([b"1"] * 30)
    path = write(kind, tmp_path, texts)
    refused(lambda: read(kind, path, texts, "train"), "often", "of shape (30,)", "one finite number")


@pytest.mark.parametrize("kind", FORMATS)
def test_weights_that_are_not_there(kind: str, tmp_path: Path) -> None:
    path = write(kind, tmp_path, WEIGHTS)
    refused(lambda: read(kind, path, WEIGHTS, "train", "seldom"), "seldom")
    if kind != "csv":  # there it would be a column more than the test samples have
        assert read(kind, path, WEIGHTS, "test", "seldom").weights is None


def test_formats_without_weights(tmp_path: Path) -> None:
    expected = "data.weights = 'often': the samples of data.name = 'digits' have none; expected none, or data.name ="
    refused(lambda: read("digits", "", WEIGHTS, "train"), expected, "'hdf5' or 'numpy' or 'csv'")


def test_a_text_in_a_column_of_weights(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("label,a,b,often\n0,1,2,1\n1,1,2,much\n")
    path = str(tmp_path / "train.csv")
    refused(lambda: read("csv", path, WEIGHTS, "train"), "train.csv: line 3 has the weight 'much', expected a number")
    (tmp_path / "train.csv").write_text("0,1,2,1\n1,1,2,4\n0,1,2,1\n1,1,2,4\n")
    refused(lambda: read("csv", path, WEIGHTS, "train"), "has no names of columns, expected data.weights = 'often'")


def test_weights_are_part_of_the_contents() -> None:
    whole = data.DataSet(IMAGES, LABELS, (4,), tuple("0123456789"))
    one, other = (
        data.DataSet(IMAGES, LABELS, (4,), whole.names, w.astype(np.float32)) for w in (WEIGHTS, changed(3, 9))
    )
    digests = {contents(each).digest for each in (whole, one, other)}
    assert len(digests) == 3
    assert contents(one).facts("x")["x, weights"] != contents(other).facts("x")["x, weights"]
    part = subset(one, np.array([2, 5]))
    np.testing.assert_array_equal(part.weights, WEIGHTS[[2, 5]])


def test_shards_of_which_nothing_counts() -> None:
    expect_some([None], "x.h5")
    expect_some([np.array([0, 1], np.float32)], "x.h5")
    nothing = np.zeros(2, np.float32)
    refused(lambda: expect_some([nothing], "x.h5"), "x.h5: the weights are all 0, expected")
    refused(lambda: expect_some([nothing + 1, nothing], "x.h5"), "x.h5: the weights of shard 2 are all 0")


def test_weights_are_told(tmp_path: Path) -> None:
    fields = data.Fields(weights="often")
    told = describe(data.check("hdf5", write("hdf5", tmp_path, WEIGHTS), fields).statistics)
    assert told[-1] == "weights of training samples: 0 to 3.625, mean 1.812; 1 samples of weight 0"
    refused(lambda: data.check("digits", None, fields), "the samples of data.name = 'digits' have none")
