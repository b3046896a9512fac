"""Sets of every format written as HDF5 files: the same samples, in bounded memory, and nothing half-done."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from ffmpi import data
from ffmpi.data.convert import convert
from ffmpi.data.streamed import StreamedImages
from tests.unit.samples import labels, pixels, refused, write_mnist

FIELDS = {"hdf5": data.Fields("x", "y", "often"), "csv": data.Fields(weights="p3")}


def write(name: str, folder: Path) -> Path | None:
    """Write a small set in the format `name`; return its path."""
    train, test = pixels(50, 6, 5), pixels(20, 6, 5)
    if name in ("mnist", "fashion-mnist"):
        return write_mnist(folder)
    if name == "cifar10":
        with tarfile.open(folder / "cifar-10-binary.tar", "w") as archive:
            for number, file in enumerate(file.name for file in data.FORMATS[name].files):
                records = np.column_stack([labels(30), pixels(30 + number, 3072)[:30]])
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{file}")
                member.size = records.nbytes
                archive.addfile(member, BytesIO(records.tobytes()))
    elif name == "hdf5":
        with h5py.File(folder / "set.h5", "w") as file:
            file.attrs["class_names"] = np.array([f"class {index} é".encode() for index in range(12)])
            for split, part in (("train", train), ("test", test)):
                file.create_dataset(f"{split}/x", data=part / np.float16(3), chunks=(7, 2, 5))
                file[f"{split}/y"] = labels(len(part))
                file[f"{split}/often"] = np.arange(len(part)) % 3
        return folder / "set.h5"
    elif name == "numpy":
        np.savez_compressed(
            folder / "set.npz", x_train=train, y_train=labels(50), x_test=np.asfortranarray(test), y_test=labels(20)
        )
        return folder / "set.npz"
    elif name == "csv":
        for split, part in (("train", train), ("test", test)):
            lines = [
                ",".join(map(str, [*row, f"of{label}"]))
                for row, label in zip(part.reshape(-1, 30) / 2, labels(len(part)), strict=True)
            ]
            (folder / f"{split}.csv").write_text(
                "\n".join([",".join(f"p{i}" for i in range(30)) + ",label", *lines]) + "\n"
            )
    elif name == "folder":
        for split, part in (("train", train), ("test", test)):
            for index, (image, label) in enumerate(zip(part, labels(len(part)), strict=True)):
                file = folder / split / f"class{label}" / f"{index}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(file)
    return None if name == "digits" else folder


@pytest.fixture
def small_cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ffmpi.data.cifar10.FORMAT", replace(data.FORMATS["cifar10"], train=150, test=30))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", [name for name in data.FORMATS if name != "memory"])
def test_the_same_samples(
    name: str, compress: bool, tmp_path: Path, small_cifar: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every bit that a run depends on: pixels and their type, classes and their names, shapes."""
    monkeypatch.setattr("ffmpi.data.convert.CHUNK", 2000)
    monkeypatch.setattr("ffmpi.data.streamed.CHUNK", 2000)
    place, fields = write(name, tmp_path), FIELDS.get(name, data.Fields())
    path, target = str(place) if place else None, tmp_path / "out" / "set.h5"
    target.parent.mkdir()
    written = convert(name, path, str(target), fields, compress)
    assert list(target.parent.iterdir()) == [target]
    for split, part in written.items():
        weighted = data.Fields(weights="weights" if fields.weights else "")
        before, after = (
            data.load(name, path, split, fields=fields),
            data.load("hdf5", str(target), split, fields=weighted),
        )
        assert (before.weights is None) == (not fields.weights or split == "test")
        np.testing.assert_array_equal(before.weights, after.weights)
        assert isinstance(before.images, np.ndarray) and isinstance(after.images, np.ndarray)
        assert_array_equal(after.images, before.images, strict=True)
        assert_array_equal(after.classes, before.classes, strict=True)
        assert (after.shape, after.names) == (before.shape, before.names) == (part.shape, part.names)
        assert_array_equal(part.classes, before.classes)
        with h5py.File(target) as file:
            chunks = file[f"{split}/images"].chunks
            assert chunks == ((max(1, chunks[0]), *after.shape) if compress else None)
    assert set(written) == {"train", "test"}


@pytest.mark.parametrize("name", ["numpy", "folder"])
def test_images_are_read_when_they_are_wanted(name: str, tmp_path: Path) -> None:
    """Backwards and forwards, of archives, too."""
    path = str(write(name, tmp_path))
    for split in ("train", "test"):
        whole, found = data.load(name, path, split), data.load(name, path, split, streamed=True)
        if (name, split) == ("numpy", "test"):  # by columns: an image is in pieces all over it
            assert isinstance(found.images, np.ndarray)
            continue
        assert isinstance(found.images, StreamedImages) and isinstance(whole.images, np.ndarray)
        assert_array_equal(found.classes, whole.classes)
        for part in (slice(10, 18), slice(0, 3), slice(5, 50), slice(2, None, 4)):
            assert_array_equal(found.images[part], whole.images[part], strict=True)


def test_training_samples_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x_train=pixels(9, 4), y_train=labels(9))
    assert list(convert("numpy", str(tmp_path / "set.npz"), str(tmp_path / "set.h5"))) == ["train"]
    assert data.FORMATS["hdf5"].splits(tmp_path / "set.h5", data.Fields()) == ("train",)


def test_refusals_leave_nothing(tmp_path: Path) -> None:
    there = tmp_path / "there.h5"
    there.write_text("mine")
    refused(lambda: convert("digits", None, str(there)), there, "is there already, expected the name of a new file")
    assert there.read_text() == "mine"
    refused(lambda: convert("digits", None, str(tmp_path / "none" / "a.h5")), tmp_path / "none", "no such file")
    bad = pixels(200, 40).astype(np.float32)
    bad[150, 3] = np.inf
    np.savez(tmp_path / "set.npz", x_train=bad, y_train=labels(200))
    wrong = "image 150 has a NaN or infinite pixel"
    refused(lambda: convert("numpy", str(tmp_path / "set.npz"), str(tmp_path / "a.h5")), "set.npz: 'x_train'", wrong)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["set.npz", "there.h5"]
