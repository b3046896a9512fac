"""NumPy's files: archives and directories under the names that are in use, every form of arrays, every damage."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from samples import labels, pixels, refused

from ffmpi import data
from ffmpi.data import numpy_contents as reader
from ffmpi.errors import UserError

NAMES = [
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("images_train", "labels_train", "images_test", "labels_test"),
    ("train/images", "train/labels", "test/images", "test/labels"),
]


def arrays(names: tuple[str, ...] = NAMES[0]) -> dict[str, np.ndarray]:
    return dict(zip(names, (pixels(30, 5, 4), labels(30), pixels(20, 5, 4), labels(20)), strict=True))


def write(path: Path, found: dict[str, Any], packed: bool = False) -> str:
    """Write an archive, or a directory of single files if the name has no ending."""
    if path.suffix == ".npz":
        (np.savez_compressed if packed else np.savez)(path, **found)
        return str(path)
    for name, array in found.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(path / name, array)
    return str(path)


def is_whole(path: str, fields: data.Fields = data.Fields()) -> None:  # noqa: B008
    for split, samples in (("train", 30), ("test", 20)):
        found = data.load("numpy", path, split, fields=fields)
        assert found.images is not None and found.shape == (5, 4) and len(found.names) == 10
        assert_array_equal(found.images, pixels(samples, 20).reshape(samples, -1), strict=True)
        assert_array_equal(found.classes, labels(samples), strict=True)
        assert data.load("numpy", path, split, images=False, fields=fields).images is None


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("place", ["set.npz", "directory"])
def test_usual_names(names: tuple[str, ...], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK", 100)  # several slices
    path = write(tmp_path / place, arrays(names), packed=names is NAMES[1])
    is_whole(path)
    found = data.check("numpy", path)
    assert found.samples == {"train": 30, "test": 20} and found.verified is None


def test_names_that_are_given(tmp_path: Path) -> None:
    path = write(tmp_path / "set.npz", arrays(("a0", "b0", "a1", "b1")))
    is_whole(path, data.Fields("a{0|1}", "b{0|1}"))
    refused(
        lambda: data.load("numpy", path, "train"), path, "no array 'labels'; it holds a0 (uint8 (30, 5, 4)), a1",
        "x_train",
    )  # fmt: skip
    path = write(tmp_path / "other.npz", arrays(("Xtrain", "Ytrain", "Xtest", "Ytest")))
    cure = "data.images = 'X{split}' and data.labels = 'Y{split}' would read it"
    refused(lambda: data.load("numpy", path, "train"), cure)


def test_training_samples_only(tmp_path: Path) -> None:
    path = write(tmp_path / "shard.npz", dict(list(arrays().items())[:2]))
    assert data.check("numpy", path).samples == {"train": 30}
    refused(lambda: data.load("numpy", path, "test"), path, "has no test samples", "'x_test' and 'y_test'")


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (np.asfortranarray(pixels(30, 5, 4)), np.uint8),
        (pixels(30, 5, 4).astype(">f8") / 255, np.float32),
        (np.asfortranarray(pixels(30, 5, 4).astype("f2")), np.float32),
    ],
)
@pytest.mark.parametrize("place", ["set.npz", "directory"])
def test_forms_of_images(images: np.ndarray, expected: type, place: str, tmp_path: Path) -> None:
    form = labels(30).astype(">i8")
    path = write(tmp_path / place, {"x_train": images, "y_train": form, "class_names": [f"n{i}" for i in range(10)]})
    found = data.load("numpy", path, "train")
    assert_array_equal(found.images, images.reshape(30, 20).astype(expected), strict=True)
    assert_array_equal(found.classes, labels(30))
    assert found.names == tuple(f"n{i}" for i in range(10))


DAMAGE: list[tuple[dict[str, Any], list[str]]] = [
    ({"x_train": np.array([[1, "a"]] * 30, object)}, ["'x_train'", "Python objects", "an array of numbers"]),
    ({"x_train": pixels(30, 5, 4).astype(np.int32)}, ["'x_train' is int32", "images.astype('uint8') if they go"]),
    ({"x_train": pixels(30)}, ["'x_train' is uint8 of shape (30,), expected"]),
    ({"x_train": pixels(29, 5, 4)}, ["29 images and 30 labels in train"]),
    ({"x_train": np.empty((0, 5, 4), np.uint8)}, ["'x_train' is empty"]),
    ({"x_train": np.where(pixels(30, 5, 4) == pixels(30, 5, 4)[3, 2, 1], np.nan, 0)}, ["a NaN or infinite pixel"]),
    ({"x_train": np.full((30, 5, 4), 1e300)}, ["image 0 of 'x_train' has a NaN or infinite pixel"]),
    ({"y_train": labels(30) - np.int64(1)}, ["has label -1", "number the classes anew"]),
    ({"y_train": labels(30) / 2}, ["'y_train' has the value 3.5", "whole numbers"]),
    ({"y_train": np.array([str(i) for i in labels(30)])}, ["'y_train' is text", "class_names"]),
    ({"y_train": np.zeros(30, int), "y_test": np.zeros(20, int)}, ["has 1 classes"]),
    ({"x_test": pixels(20, 4, 5)}, ["shapes (5, 4) and (4, 5)"]),
    ({"class_names": np.array(["a\n"] * 10)}, ["'class_names' has unprintable"]),
    ({"class_names": np.arange(10)}, ["'class_names' is int64 of shape (10,), expected 2 to 1000 strings"]),
]


@pytest.mark.parametrize(("change", "fragments"), DAMAGE)
def test_arrays_that_need_mending(change: dict[str, Any], fragments: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "set.npz", arrays() | change)
    refused(lambda: data.load("numpy", path, "train"), path, *fragments)


def test_files_that_are_not_whole(tmp_path: Path) -> None:
    """Cut off, of a wrong checksum, of an absurd size in the header, of another format: no memory is taken for it."""
    path = tmp_path / "set.npz"
    content = Path(write(path, arrays())).read_bytes()

    def read() -> data.DataSet:
        return data.load("numpy", str(path), "train")

    path.write_bytes(content[: len(content) // 2])
    refused(read, path, "is truncated or damaged")
    at = content.index(pixels(30, 5, 4).tobytes()[:40])
    path.write_bytes(content[:at] + bytes(40) + content[at + 40 :])
    refused(read, path, "cannot be read (Bad CRC-32")
    folder = tmp_path / "directory"
    write(folder, arrays())
    file = folder / "x_train.npy"
    file.write_bytes(file.read_bytes()[:-1])
    refused(lambda: data.load("numpy", str(folder), "train"), folder, "'x_train' is truncated, 599 of 600 bytes")
    header = io.BytesIO()
    huge = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**9)}
    np.lib.format.write_array_header_1_0(header, huge)
    file.write_bytes(header.getvalue() + bytes(600))
    refused(lambda: data.load("numpy", str(folder), "train"), "'x_train' is truncated, 600 of 1000000000000000 bytes")
    file.write_bytes(b"\x93NUMPY\x03\0\x10\0\0\0{'descr': '|u1'}\n")
    refused(lambda: data.load("numpy", str(folder), "train"), "version 3.0")
    file.write_bytes(b"\x93NUMPY\x01\0\x10\0__import__('os')")
    refused(lambda: data.load("numpy", str(folder), "train"), "'x_train': cannot be read (")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", header.getvalue())
    refused(read, path, "no array 'labels'; it holds x_train (uint8 (1000000, 1000000000))")


def test_places(tmp_path: Path) -> None:
    refused(
        lambda: data.load("numpy", str(tmp_path), "train"), f"{tmp_path}: holds no .npy file; it is empty", "a .npz"
    )
    path = Path(write(tmp_path / "set.npz", arrays()))
    refused(lambda: data.load("numpy", str(tmp_path), "train"), "holds set.npz, which data.name = 'numpy' reads, one")
    refused(lambda: data.load("hdf5", str(path), "train"), "is a NumPy archive, .npz (read with data.name = 'numpy'")
    np.save(tmp_path / "x.npy", pixels(30, 5, 4))
    refused(lambda: data.load("numpy", str(tmp_path / "x.npy"), "train"), "is a NumPy file, .npy (read with")
    path.write_bytes(b"hello world")
    refused(lambda: data.load("numpy", str(path), "train"), path, "is a text which begins 'hello world'", "a .npz file")


def test_images_to_predict(tmp_path: Path) -> None:
    path = write(tmp_path / "set.npz", arrays())
    found, names = data.read_images(path, (5, 4))
    assert names[:] == [str(i) for i in range(20)]
    assert_array_equal(found, pixels(20, 5, 4).reshape(20, -1))
    found, _ = data.read_images(path, (20,), ["x_train"])
    assert len(found) == 30
    np.save(tmp_path / "one.npy", pixels(3, 20) / np.float32(255))
    assert data.read_images(str(tmp_path / "one.npy"), (5, 4))[0].shape == (3, 20)
    refused(lambda: data.read_images(str(tmp_path / "one.npy"), (6, 4)), "one.npy: 'images' has images of shape (20,)")
    other = write(tmp_path / "other.npz", {"pictures": pixels(3, 5, 4)})
    refused(lambda: data.read_images(other, (5, 4)), "it holds pictures (uint8 (3, 5, 4)); expected the name of one by")


def test_damaged_bytes_never_escape(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    content = Path(write(path, arrays(), packed=True)).read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content)
        for at in generator.integers(0, len(content), 3):
            damaged[at] = generator.integers(0, 256)
        path.write_bytes(damaged)
        message = ""
        try:
            data.load("numpy", str(path), "train")
        except UserError as error:
            message = str(error)
        assert "\n" not in message
