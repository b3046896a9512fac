"""Labels in every format of own data: up to 1000 classes, and one sentence for what are no classes at all."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ffmpi import data
from ffmpi.data.labels import MOST_CLASSES
from ffmpi.data.memory import Arrays, holding
from tests.unit.samples import refused

FORMATS = ["hdf5", "numpy", "csv", "memory"]
SAMPLES = 2 * MOST_CLASSES


def write(kind: str, folder: Path, labels: np.ndarray) -> str:
    """Write samples of two pixels with these labels, for training and for tests; memory has them already."""
    images = np.zeros((len(labels), 2), np.float32)
    if kind == "hdf5":
        with h5py.File(folder / "x.h5", "w") as file:
            for split in ("train", "test"):
                file[f"{split}/images"], file[f"{split}/labels"] = images, labels
        return str(folder / "x.h5")
    if kind == "numpy":
        np.savez(folder / "x.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
        return str(folder / "x.npz")
    if kind == "csv":
        for split in ("train", "test"):
            rows = "".join(f"0,1,{label}\n" for label in labels.tolist())
            (folder / f"{split}.csv").write_text(f"a,b,label\n{rows}")
        return str(folder)
    return ""


def load(kind: str, folder: Path, labels: np.ndarray) -> data.DataSet:
    path = write(kind, folder, labels)
    held = {f"{split}/{name}": array for split in ("train", "test") for name, array in
            (("images", np.zeros((len(labels), 2), np.float32)), ("labels", labels))}  # fmt: skip
    with holding(Arrays(held)):
        return data.load(kind, path or None, "train")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("classes", [256, 257, MOST_CLASSES])
def test_as_many_classes_as_there_may_be(kind: str, classes: int, tmp_path: Path) -> None:
    labels = np.arange(SAMPLES) % classes
    found = load(kind, tmp_path, labels)
    assert found.classes.dtype == (np.uint8 if classes == 256 else np.uint16)
    assert len(found.names) == classes
    np.testing.assert_array_equal(found.classes, labels)


REGRESSION = "classes are learnt, no regression targets"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("labels", "fragments"),
    [
        (np.linspace(0, 50, SAMPLES), ["has the value 0.025", "expected whole numbers from 0", REGRESSION]),
        (np.arange(SAMPLES) * 10, ["has 2000 different labels, from 0 to 19990", "2 to 1000 classes", REGRESSION]),
        (np.arange(SAMPLES) * 10.0, ["has 2000 different labels, from 0 to 19990", REGRESSION]),
        (np.arange(SAMPLES) - 1000, ["has 2000 different labels, from -1000 to 999", REGRESSION]),
        (np.arange(SAMPLES) % 2 * 2 - 1, ["sample 0 has label -1", "from -1 to 1 here, so number the classes anew"]),
        (np.arange(SAMPLES) % 9 + 2010, ["sample 0 has label 2010", "from 2010 to 2018 here", "np.unique(labels"]),
        (np.where(np.arange(SAMPLES) == 7, np.nan, 1.0), ["has the value nan, expected whole numbers"]),
        (np.where(np.arange(SAMPLES) == 7, -np.inf, 1.0), ["has the value -inf, expected whole numbers"]),
    ],
)
def test_what_are_no_classes(kind: str, labels: np.ndarray, fragments: list[str], tmp_path: Path) -> None:
    refused(lambda: load(kind, tmp_path, labels), *fragments)


def test_more_directories_or_names_than_classes(tmp_path: Path) -> None:
    for index in range(MOST_CLASSES + 1):
        (tmp_path / "train" / str(index)).mkdir(parents=True)
    refused(lambda: data.load("folder", str(tmp_path), "train"), "of 1001 classes, expected 2 to 1000")
    names = "".join(f"0,1,c{index}\n" for index in range(MOST_CLASSES + 1))
    (tmp_path / "train.csv").write_text(f"a,b,label\n{names}")
    refused(lambda: data.load("csv", str(tmp_path / "train.csv"), "train"), "has 1001 classes, expected 2 to 1000")
