"""Tables of text: as Kaggle and pandas write them, without a header, with the names of classes, and damaged."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from samples import labels, pixels, refused

from ffmpi import data
from ffmpi.data import csv as reader


def table(
    samples: int, header: str = "", end: bool = False, between: str = ",", write: Callable[[int], str] = str
) -> str:
    """Return samples of 8 x 8 pixels as text, the label first or at the end of each line."""
    rows = []
    for label, image in zip(labels(samples), pixels(samples, 64), strict=True):
        image[[0, 63]] = 255
        fields = list(map(write, image.tolist()))
        rows.append(between.join([*fields, str(label)] if end else [str(label), *fields]))
    return "\n".join([*([header] if header else []), *rows]) + "\n"


def is_whole(path: str, fields: data.Fields = data.Fields(), scale: float = 1) -> None:  # noqa: B008
    for split, samples in (("train", 30), ("test", 20)):
        found = data.load("csv", path, split, fields=fields)
        expected = pixels(samples, 64).astype(np.float64)
        expected[:, [0, 63]] = 255
        assert found.images is not None and found.shape == (8, 8) and found.names == tuple("0123456789")
        assert_array_equal(found.images, (expected / scale).astype(found.images.dtype))
        assert found.images.dtype == (np.uint8 if scale == 1 else np.float32)
        assert_array_equal(found.classes, labels(samples), strict=True)
        assert data.load("csv", path, split, images=False, fields=fields).images is None


NAMES = ",".join(f"pixel{i}" for i in range(64))


@pytest.mark.parametrize(
    ("write", "names"),
    [
        (lambda n: table(n, f"label,{NAMES}"), ("train.csv", "test.csv")),  # Kaggle's MNIST
        (table, ("mnist_train.csv", "mnist_test.csv")),
        (lambda n: table(n, "", True), ("train.csv", "test.csv")),
        (lambda n: table(n, ",".join(map(str, range(65)))), ("train.csv", "test.csv")),  # pandas' names of columns
        (lambda n: table(n, f'"Class";{NAMES}'.replace(",", ";"), between=";"), ("train.csv", "testing.csv")),
        (lambda n: table(n, "", between="\t").replace("\n", "\r\n\r\n"), ("train.tsv", "test.tsv")),
        (lambda n: "\ufeff" + table(n, f"{NAMES},y", True), ("x-train.csv.gz", "x-test.csv.gz")),
    ],
)
def test_forms(
    write: Callable[[int], str], names: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(reader, "_ROWS", 7)  # several blocks
    for name, samples in zip(names, (30, 20), strict=True):
        content = write(samples).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    is_whole(str(tmp_path))
    assert data.check("csv", str(tmp_path)).samples == {"train": 30, "test": 20}


def test_floats(tmp_path: Path) -> None:
    for name, samples in (("train.csv", 30), ("test.csv", 20)):
        (tmp_path / name).write_text(table(samples, f"label,{NAMES}", write=lambda value: repr(value / 255)))
    is_whole(str(tmp_path), scale=255)


def test_numbers_that_are_no_bytes(tmp_path: Path) -> None:
    """Whatever the first lines are like: halves, negative and large ones are floats, whole ones with a point bytes."""
    for text, kind in (("0.5", np.float32), ("-1", np.float32), ("256", np.float32), ("7.0", np.uint8)):
        (tmp_path / "x.csv").write_text("label,a,b\n" + "0,1,2\n" * 1500 + f"1,2,{text}\n")
        found = data.load("csv", str(tmp_path / "x.csv"), "train").images
        assert found is not None and found.dtype == kind and found[-1].tolist() == [2, float(text)]


def test_one_file_with_a_column_of_splits(tmp_path: Path) -> None:
    lines = [line for samples in (20, 30) for line in table(samples).splitlines()]
    splits = ["test"] * 20 + ["Training"] * 30
    path = tmp_path / "all.csv"
    whole = [f"{split},{line}" for split, line in zip(splits, lines, strict=True)]
    path.write_text("\n".join([f"Split,label,{NAMES}", *whole]))
    is_whole(str(path))
    path.write_text("\n".join([f"split,label,{NAMES}", *whole, lines[0].replace(lines[0], f"other,{lines[0]}")]))
    refused(lambda: data.load("csv", str(path), "train"), f"{path}: line 52 has 'other' in the column of splits")


def test_names_of_classes(tmp_path: Path) -> None:
    """Of both files, in the order of the alphabet; four columns are no image."""
    (tmp_path / "train.csv").write_text("5.1,3.5,1.4,0.2,setosa\n7.0,3.2,4.7,1.4,versicolor\n" * 3)
    (tmp_path / "test.csv").write_text('5.1,3.5,1.4,0.2,setosa\n6.3,3.3,6.0,2.5,"a, quoted"\n' * 2)
    found = data.load("csv", str(tmp_path), "test")
    assert found.names == ("a, quoted", "setosa", "versicolor") and found.shape == (4,)
    assert found.classes.tolist() == [1, 0, 1, 0]
    assert_array_equal(found.images, np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]] * 2, np.float32))


def test_which_column_has_the_labels(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"

    def read(name: str = "labels") -> list[int]:
        return data.load("csv", str(path), "train", fields=data.Fields(labels=name)).classes.tolist()

    path.write_text("0,9,1\n1,9,0\n" * 4)
    refused(read, path, "both its first and its last column can be labels", "'first' or 'last' as data.labels")
    assert (read("first"), read("last")) == ([0, 1] * 4, [1, 0] * 4)
    path.write_text("5,9,7\n6,9,8\n" * 4)
    refused(read, path, "neither its first nor its last", "called label, labels, class, target or y")
    path.write_text("a,kind,b\n5,0,7\n6,1,8\n")
    assert read("kind") == [0, 1]
    refused(lambda: read("sort"), "has the columns a, kind, b, expected data.labels = 'sort' among them")
    path.write_text("class,y,b\n5,0,7\n6,1,8\n")
    refused(read, path, "has columns 'class' and 'y', expected the one of the labels")


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("label,a,b\n0,1,2\n1,1\n", ["line 3 has 2 columns, expected 3"]),
        ("label,a,b\n0,1,2\n1,1,x y\n", ["line 3 has 'x y' in column 3, 'b', expected a number"]),
        ("label,a,b\n0,1,2\n1,1,1_0\n", ["line 3 has '1_0' in column 3"]),
        ("label,a,b\n0,1,2\n1,1,\n", ["line 3 has '' in column 3, 'b'"]),
        ("label,a,b\n0,1,2\n1,nan,2\n", ["line 3 has nan in column 2, 'a', expected finite"]),
        ("label,a,b\n0,1,2\n1,1,1e99\n", ["line 3 has 1e+99 in column 3"]),
        ("label,a,b\n0,1,2\n,1,2\n", ["line 3 has no label"]),
        ("label,a,b\n0,1,2\n-1,1,2\n", ["sample 1 has label -1", "number the classes anew"]),
        ("label,a,b\n0,1,2\n1.5,1,2\n", ["the column of labels has the value 1.5", "whole numbers"]),
        ("label,a,b\n0,1,2\n1999,1,2\n", ["sample 1 has label 1999, expected labels from 0 to 999"]),
        ("label,a,b\n0,1,2\n0,1,2\n", ["has 1 classes"]),
        ("label,a,b\n", ["has no samples of train"]),
        ("label\n0\n1\n", ["its first line 'label' has one column"]),
        ("label,split\n0,train\n", ["has no column beside the labels"]),
        ("label,a,b\n0,1,2\n1,1,\xff\n", ["is no UTF-8 after line"]),
        ("<!DOCTYPE html>\n<title>404</title>", ["is a web page"]),
        ("\x89PNG\r\n\x1a\n....", ["begins with the bytes", "a table of text"]),
        ("", ["is empty"]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damage(content: str, fragments: list[str], packed: bool, tmp_path: Path) -> None:
    path, raw = tmp_path / "x.csv", content.encode("latin-1" if "\xff" in content else "utf-8")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    refused(lambda: data.load("csv", str(path), "train"), path, *fragments)


def test_samples_to_predict(tmp_path: Path) -> None:
    """With labels or without, as in competitions; named by their lines."""
    path = tmp_path / "x.csv"
    expected = pixels(20, 64)
    expected[:, [0, 63]] = 255
    for header, first in ((f"label,{NAMES}", 2), ("", 1)):
        path.write_text(table(20, header))
        images, names = data.read_images(str(path), (8, 8))
        assert_array_equal(images, expected)
        assert names == [str(first + index) for index in range(20)]
    path.write_text("\n".join(line.partition(",")[2] for line in table(20).splitlines()))
    assert_array_equal(data.read_images(str(path), (8, 8))[0], expected)
    refused(lambda: data.read_images(str(path), (8, 9)), "has 64 columns, expected 72, one for each pixel")
    path.write_text(f"label,{NAMES}\n")
    refused(lambda: data.read_images(str(path), (8, 8)), "has no line after its first")


def test_places(tmp_path: Path) -> None:
    refused(lambda: data.load("csv", str(tmp_path), "train"), f"{tmp_path}: holds neither train.csv nor test.csv")
    train = tmp_path / "train.csv"
    train.write_text(table(30))
    refused(lambda: data.load("csv", str(train), "test"), "all samples of train.csv are for training, as none says")
    assert data.check("csv", str(train)).samples == {"train": 30}
    (tmp_path / "test.csv").write_text("\n".join(line.partition(",")[2] for line in table(20).splitlines()))
    first = data.Fields(labels="first")
    refused(lambda: data.load("csv", str(tmp_path), "train", fields=first), "has 64 columns, expected 65 as in train.")
    (tmp_path / "test.csv").rename(tmp_path / "a_train.csv")
    refused(lambda: data.load("csv", str(tmp_path), "train"), "holds a_train.csv and train.csv, expected one of them")
    refused(lambda: data.load("hdf5", str(train), "train"), train, "(read with data.name = 'csv')")
    packed = tmp_path / "cut.csv"
    packed.write_bytes(gzip.compress(table(30).encode())[:-20])
    refused(lambda: data.load("csv", str(packed), "train"), packed, "cannot be read (")
