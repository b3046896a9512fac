"""What people really bring: files that are something else, under other names, or of other forms."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from samples import LFS, bytes_of, idx, labels, picture, pixels, refused, write_mnist

from ffmpi import data
from ffmpi.data import FORMATS
from ffmpi.data.kinds import HEAD, describe


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    return write_mnist(tmp_path)


KINDS = {
    "Git LFS pointer in place of the file of 2572022 bytes (fetch the file with: git lfs pull)": LFS,
    "git annex get": b"/annex/objects/SHA256E-s2572022--0123456789abcdef.h5\n",
    "web page (perhaps a server's error": b"\n<!DOCTYPE html>\n<title>404</title>",
    "XML": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "JPEG image": picture("JPEG"),
    "GIF image": picture("GIF"),
    "TIFF image": picture("TIFF"),
    "WebP image": picture("WEBP"),
    "BMP image": picture("BMP"),
    "NumPy file, .npy": bytes_of(lambda stream: np.save(stream, pixels(5, 4))),
    "NumPy archive, .npz": bytes_of(lambda stream: np.savez(stream, x=pixels(5, 4))),
    "Python pickle (pickles are not read": pickle.dumps({"data": [1, 2]}),
    "zstd file (unpack it first)": b"\x28\xb5\x2f\xfd....",
    "MATLAB file of version 5": b"MATLAB 5.0 MAT-file, Platform: GLNXA64",
    "table of text, such as CSV, which begins '7,0,0,12.5,3'": b"7,0,0,12.5,3\n2,0,0,0,1\n",
    "table of text, such as CSV, which begins 'label,pixel0,pixel1'": b"label,pixel0,pixel1\n2,0,0\n",
    "text which begins 'hello world'": b"hello world",
    "nothing but zero bytes": bytes(9000),
    "is empty": b"",
    "begins with the bytes ff fe fd fc 01 02 03 04, which is no format known here": bytes.fromhex("fffefdfc01020304"),
}


@pytest.mark.parametrize("what", KINDS)
def test_every_reader_says_what_a_file_is(what: str, tmp_path: Path) -> None:
    """Under each reader's own names: HDF5, IDX plain and packed, an archive, a batch of CIFAR-10, PNG."""
    content = KINDS[what]
    mine, archive, image = tmp_path / "mine.h5", tmp_path / "cifar-10-binary.tar.gz", tmp_path / "image.png"
    folder = tmp_path / "idx"
    folder.mkdir()
    for file in (mine, archive, image, folder / "train-labels-idx1-ubyte"):
        file.write_bytes(content)
    refused(lambda: data.load("hdf5", str(mine), "train"), mine, what, "groups train and test")
    refused(lambda: data.load("cifar10", str(archive), "train"), archive, what, "cifar-10-binary.tar.gz")
    refused(lambda: data.load("mnist", str(folder), "train"), folder, what, "0x00000801")
    if not any(read in what for read in ("NumPy", "image", "CSV")):
        refused(lambda: data.read_images(str(image), (5, 4)), image, what, "PNG")
    packed = folder / "train-labels-idx1-ubyte.gz"
    (folder / "train-labels-idx1-ubyte").unlink()
    packed.write_bytes(gzip.compress(content))
    refused(lambda: data.load("mnist", str(folder), "train"), packed, what, "0x00000801")
    batches = tmp_path / "cifar-10-batches-bin"
    batches.mkdir()
    (batches / "data_batch_1.bin").write_bytes(content)
    where = what if "no format" not in what else f"is {len(content)} bytes long"
    refused(lambda: data.load("cifar10", str(tmp_path), "train"), "data_batch_1.bin", where)


def test_good_data_are_no_other_kind() -> None:
    for content in (b"\x06" + bytes(pixels(3072)), b"\0" + b"\xff" * 50):
        assert "no format known here" in describe(content[:HEAD])


def test_wrong_places(mnist: Path, tmp_path: Path) -> None:
    """The folder or file of another data set, a directory for a file, a file for a directory, a link to nothing."""
    refused(lambda: data.load("cifar10", str(mnist), "train"), mnist, "as MNIST and Fashion-MNIST do")
    refused(lambda: data.load("hdf5", str(mnist), "train"), f"{mnist}: is a directory, which holds t10k-", "'mnist'")
    mine = tmp_path / "sub" / "mine.h5"
    mine.parent.mkdir()
    h5py.File(mine, "w").close()
    refused(lambda: data.load("hdf5", str(mine.parent), "train"), "holds mine.h5, which data.name = 'hdf5' reads")
    one = mnist / "train-labels-idx1-ubyte.gz"
    refused(lambda: data.load("mnist", str(one), "train"), f"{one}: is one of the files, expected a directory with")
    refused(lambda: data.load("mnist", str(mine), "train"), mine, "is an HDF5 file (read with data.name = 'hdf5')")
    refused(lambda: data.load("cifar10", str(mine), "train"), mine, "is an HDF5 file (read with data.name = 'hdf5')")
    refused(lambda: data.load("hdf5", str(mnist / "train-images-idx3-ubyte"), "train"), "is an IDX file (read with")
    images, names = data.read_images(str(mnist / "train-images-idx3-ubyte"), (28, 28))
    assert_array_equal(images, pixels(30, 28, 28).reshape(30, -1))
    assert names[-1] == "29"
    refused(lambda: data.read_images(str(mnist / "train-images-idx3-ubyte"), (8, 8)), "has dimensions 30 x 28 x 28")
    refused(lambda: data.read_images(str(mine.parent), (5, 4)), "no image; it holds mine.h5")
    python = tmp_path / "python"
    (python / "cifar-10-batches-py").mkdir(parents=True)
    refused(lambda: data.load("cifar10", str(python), "train"), python, "as CIFAR-10's version for Python does")
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(mine, "cifar-10-batches-py/data_batch_1")
    packed = tmp_path / "cifar-10-python.tar.gz"
    refused(lambda: data.load("cifar10", str(packed), "train"), packed, "it holds cifar-10-batches-py/data_batch_1, ")
    link = tmp_path / "annexed.h5"
    link.symlink_to(".git/annex/objects/x/y.h5")
    refused(lambda: data.load("hdf5", str(link), "train"), link, "is a link to .git/annex", "git annex get")
    refused(lambda: data.load("hdf5", str(tmp_path / "a\0b"), "train"), "cannot be read (", "null")


def test_files_that_may_not_be_read(mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object, *_: object, **__: object) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    refused(lambda: data.load("mnist", str(mnist), "train"), "train-labels-idx1-ubyte.gz: cannot be read (Permission")
    monkeypatch.setattr(os, "stat", denied)
    refused(lambda: data.load("hdf5", "/private/x.h5", "train"), "/private/x.h5", "cannot be read (Permission denied)")


# idx ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rename", "pack"),
    [
        (lambda name: f"{name}.gz", bytes),  # content decides, not the name
        (lambda name: name, gzip.compress),
        (lambda name: name.replace("-idx", ".idx"), bytes),  # as on several mirrors
        (lambda name: name.replace("-idx", ".idx") + ".gz", gzip.compress),
        (lambda name: f"{name}/{name}", bytes),  # as an archive's folders
        (lambda name: f"MNIST/raw/{name}", bytes),  # as torchvision
        (lambda name: name.replace("t10k", "test"), bytes),
    ],
)
def test_idx_as_others_publish_it(rename: Callable[[str], str], pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    for split, samples in (("train", 30), ("t10k", 20)):
        for part, array in (("images-idx3", pixels(samples, 28, 28)), ("labels-idx1", labels(samples))):
            file = tmp_path / rename(f"{split}-{part}-ubyte")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(pack(idx(array)))
    for split, samples in (("train", 30), ("test", 20)):
        found = data.load("mnist", str(tmp_path), split)
        assert_array_equal(found.images, pixels(samples, 28 * 28).reshape(samples, -1))
        assert_array_equal(found.classes, labels(samples))
    assert set(data.check("mnist", str(tmp_path)).files.values()) == {False}


def test_idx_of_the_other_set(mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST and Fashion-MNIST have files of the same names and sizes; the published checksums tell."""
    labels_md5 = hashlib.md5(idx(labels(30))).hexdigest()
    files = tuple(replace(f, md5=labels_md5) if "train-labels" in f.name else f for f in FORMATS["mnist"].files)
    monkeypatch.setattr("ffmpi.data.mnist.FORMAT", replace(data.FORMATS["mnist"], files=files))
    assert data.load("mnist", str(mnist), "train").names == FORMATS["mnist"].names
    refused(lambda: data.load("fashion-mnist", str(mnist), "train"), "is the published file of 'mnist', expected")


def test_idx_swapped_and_of_other_types(mnist: Path) -> None:
    images, classes = mnist / "train-images-idx3-ubyte", mnist / "train-labels-idx1-ubyte.gz"
    content = images.read_bytes()
    images.write_bytes(idx(labels(30)))
    refused(lambda: data.load("mnist", str(mnist), "train"), images, "0x00000801 as labels do: two files are swapped")
    classes.write_bytes(content)
    refused(lambda: data.load("mnist", str(mnist), "train"), classes, "0x00000803 as images do: two files are swapped")
    classes.write_bytes(struct.pack(">2I", 0x0D01, 30) + bytes(120))
    refused(lambda: data.load("mnist", str(mnist), "train"), classes, "0x00000d01 (float32, 1 dimensions)")
    classes.unlink()
    refused(lambda: data.load("mnist", str(mnist), "train"), "it holds t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte")
