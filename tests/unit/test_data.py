"""Data sets: small files of every kind are read exactly, and every kind of damage is one sentence."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import struct
import subprocess
import sys
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from samples import idx, labels, pixels, refused, write_mnist

from ffmpi import data
from ffmpi.data import digits, files, hdf5
from ffmpi.data.cifar10 import FOLDER
from ffmpi.errors import UserError

# the calls ------------------------------------------------------------------------------------------------------------


def test_unknown_name_path_and_split(tmp_path: Path) -> None:
    refused(lambda: data.load("minst", None, "train"), "'minst'", "did you mean 'mnist'?")
    refused(lambda: data.load("mnist", None, "train"), "'mnist' needs a path", "train-images-idx3-ubyte")
    refused(lambda: data.check("cifar10", ""), "'cifar10' needs a path", "cifar-10-binary.tar.gz")
    refused(lambda: data.load("digits", None, "validation"), "'validation'", "'train' or 'test'")
    refused(lambda: data.load("digits", "some/file", "train"), "takes no path", "some/file")
    for name in ("mnist", "cifar10", "hdf5"):
        refused(partial(data.load, name, str(tmp_path / "none"), "train"), tmp_path / "none", "no such")


def test_known_sets_agree_with_themselves() -> None:
    assert "idx" not in data.FORMATS
    for name, known in data.FORMATS.members().items():
        assert known.name == name and known.description
        assert known.own == (known.classes == 0) and known.classes == len(known.names)


# digits ---------------------------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    bunch = datasets.load_digits()
    table = digits.table()
    assert_array_equal(table[:, :-1], bunch.data)
    assert_array_equal(table[:, -1], bunch.target)


def test_digits_split() -> None:
    pytest.importorskip("sklearn")
    train, test = data.load("digits", None, "train"), data.load("digits", None, "test")
    assert train.images is not None and test.images is not None
    assert train.images.shape == (1437, 64) and test.images.shape == (360, 64)
    assert train.images.dtype == train.classes.dtype == np.uint8
    assert train.images.min() == 0 and train.images.max() == 255
    # The split is part of what a recipe's accuracy means: it may never change.
    assert np.bincount(train.classes).tolist() == [142, 149, 135, 148, 146, 146, 133, 150, 142, 146]
    assert np.bincount(test.classes).tolist() == [36, 33, 42, 35, 35, 36, 48, 29, 32, 34]
    assert train.classes[:8].tolist() == [1, 6, 1, 8, 9, 7, 3, 7]
    whole = digits.table()
    together = np.vstack([train.images, test.images])
    expected = np.rint(whole[:, :-1] * 255 / 16 + 1e-9)
    assert_array_equal(together[np.lexsort(together.T)], expected[np.lexsort(expected.T)])
    assert data.load("digits", None, "test", images=False).images is None


def test_digits_import_nothing_heavy() -> None:
    pytest.importorskip("sklearn")
    program = (
        "import sys; from ffmpi import data; data.load('digits', None, 'test');"
        "sys.exit(' '.join({'sklearn', 'h5py', 'tarfile', 'PIL'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_digits_by_import_when_the_file_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn.datasets")
    table = digits.table()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert_array_equal(digits.table(), table)


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    refused(lambda: data.load("digits", None, "train"), "pip install ffmpi[digits]")


# mnist, fashion-mnist -------------------------------------------------------------------------------------------------


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    return write_mnist(tmp_path)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx(mnist: Path, name: str) -> None:
    for split, samples in (("train", 30), ("test", 20)):
        found = data.load(name, str(mnist), split)
        assert found.images is not None
        assert_array_equal(found.images, pixels(samples, 28 * 28).reshape(samples, -1))
        assert_array_equal(found.classes, labels(samples))
        assert found.images.flags.c_contiguous and found.images.flags.writeable
        assert found.shape == (28, 28) and len(found.names) == 10


def test_idx_plain_is_preferred_and_only_classes(mnist: Path) -> None:
    (mnist / f"{IMAGES}.gz").write_bytes(b"never read")
    assert data.load("mnist", str(mnist), "train").images is not None
    (mnist / IMAGES).unlink()
    assert data.load("mnist", str(mnist), "train", images=False).images is None
    refused(lambda: data.load("mnist", str(mnist), "train"), f"{IMAGES}.gz: is a text which begins 'never read'")


def test_idx_larger_than_a_chunk(mnist: Path) -> None:
    samples = 2 * files.CHUNK // 784 + 5
    (mnist / IMAGES).unlink()
    (mnist / f"{IMAGES}.gz").write_bytes(gzip.compress(idx(pixels(samples, 28, 28)), 1))
    (mnist / LABELS).write_bytes(gzip.compress(idx(labels(samples))))
    assert_array_equal(data.load("mnist", str(mnist), "train").images, pixels(samples, 28, 28).reshape(samples, -1))


GOOD = idx(pixels(30, 28, 28))


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        (b"", ["is empty", "0x00000803"]),
        (b"<html>not found</html>", ["is a web page", "0x00000803"]),
        (struct.pack(">4I", 0x0801, 30, 28, 28), ["begins with 0x00000801", "3 dimensions"]),
        (struct.pack(">4I", 0x0D03, 30, 28, 28), ["begins with 0x00000d03", "unsigned bytes"]),
        (struct.pack(">4I", 0x0803, 30, 28, 29), ["30 x 28 x 29", "samples x 28 x 28"]),
        (struct.pack(">4I", 0x0803, 0, 28, 28), ["0 x 28 x 28", "samples x 28 x 28"]),
        (struct.pack(">4I", 0x0803, 0xFFFFFFFF, 28, 28), ["truncated", "3367254359280 bytes"]),
        (GOOD[:-1], ["truncated after 23519 bytes", "expected 23520"]),
        (GOOD + b"x", ["has bytes after its last sample", "23520 bytes"]),
        (idx(pixels(29, 28, 28)), ["29 images", "expected 30", "train-labels-idx1-ubyte"]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_damage(mnist: Path, content: bytes, fragments: list[str], packed: bool) -> None:
    (mnist / IMAGES).unlink()
    file = mnist / (f"{IMAGES}.gz" if packed else IMAGES)
    file.write_bytes(gzip.compress(content) if packed else content)
    refused(lambda: data.load("mnist", str(mnist), "train"), file, *fragments)


def test_idx_gzip_damage(mnist: Path) -> None:
    packed = gzip.compress(GOOD)
    file = mnist / f"{IMAGES}.gz"
    (mnist / IMAGES).unlink()
    for content in (packed[:-100], packed[:-8] + bytes(8), packed[:40] + b"\xff" * 40 + packed[80:]):
        file.write_bytes(content)
        refused(lambda: data.load("mnist", str(mnist), "train"), f"{file}: cannot be read (", "0x00000803")


def test_idx_label_out_of_range(mnist: Path) -> None:
    wrong = labels(30)
    wrong[17] = 10
    (mnist / LABELS).write_bytes(gzip.compress(idx(wrong)))
    refused(lambda: data.load("mnist", str(mnist), "train"), mnist / LABELS, "sample 17 has label 10", "from 0 to 9")


def test_idx_missing_files(mnist: Path) -> None:
    (mnist / LABELS).unlink()
    refused(lambda: data.load("mnist", str(mnist), "train"), f"{mnist}: holds neither", "train-labels-idx1-ubyte.gz")
    refused(lambda: data.load("mnist", str(mnist / IMAGES), "train"), "expected a directory")


def test_idx_check(mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = data.check("mnist", str(mnist))
    assert found.samples == {"train": 30, "test": 20} and found.shape == (28, 28) and found.dtype == "uint8"
    assert found.per_class == {"train": (3,) * 10, "test": (2,) * 10}
    assert found.verified is False and set(found.files.values()) == {False}
    assert data.check("fashion-mnist", str(mnist)).files[IMAGES] is None  # plain: only its .gz has a published MD5
    contents = {file.name: file.name for file in data.FORMATS["mnist"].files}
    for name in contents:
        plain = mnist / name
        content = plain.read_bytes() if plain.exists() else gzip.decompress((mnist / f"{name}.gz").read_bytes())
        contents[name] = hashlib.md5(content).hexdigest()
    files = tuple(data.File(name, md5) for name, md5 in contents.items())
    monkeypatch.setattr("ffmpi.data.mnist.FORMAT", replace(data.FORMATS["mnist"], files=files))
    assert data.check("mnist", str(mnist)).verified is True


# cifar10 --------------------------------------------------------------------------------------------------------------

MEMBERS = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


@pytest.fixture
def small_cifar(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """CIFAR-10 with 300 images per batch (more than one block) instead of 10000."""
    monkeypatch.setattr("ffmpi.data.cifar10.FORMAT", replace(data.FORMATS["cifar10"], train=1500, test=300))
    records = np.column_stack([labels(1800), pixels(1800, 3072)])
    return {name: records[300 * i : 300 * i + 300].tobytes() for i, name in enumerate(MEMBERS)}


def archive(file: Path, members: dict[str, bytes], mode: Any = "w:gz", folder: str = FOLDER + "/") -> str:
    fast: Any = {"preset": 0} if mode == "w:xz" else {}
    with tarfile.open(file, mode, **fast) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(folder + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(file)


def is_cifar(path: str) -> None:
    train, test = data.load("cifar10", path, "train"), data.load("cifar10", path, "test")
    assert train.images is not None and test.images is not None and train.shape == (3, 32, 32)
    assert_array_equal(np.vstack([train.images, test.images]), pixels(1800, 3072))
    assert_array_equal(np.hstack([train.classes, test.classes]), labels(1800))
    classes = data.load("cifar10", path, "train", images=False)
    assert classes.images is None
    assert_array_equal(classes.classes, labels(1800)[:1500])


@pytest.mark.parametrize(("suffix", "mode"), [(".gz", "w:gz"), (".xz", "w:xz"), ("", "w")])
def test_cifar_archive(tmp_path: Path, small_cifar: dict[str, bytes], suffix: str, mode: str) -> None:
    # The members of the published archive are not in order, and there are others among them.
    members = {"readme.html": b"x"} | {name: small_cifar[name] for name in sorted(small_cifar, key=lambda n: n[::-1])}
    path = archive(tmp_path / f"cifar-10-binary.tar{suffix}", members, mode, f"./{FOLDER}/")
    is_cifar(path)
    is_cifar(str(tmp_path))
    assert not (tmp_path / FOLDER).exists()


def test_cifar_folder(tmp_path: Path, small_cifar: dict[str, bytes]) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name, content in small_cifar.items():
        (folder / name).write_bytes(content)
    is_cifar(str(tmp_path))
    is_cifar(str(folder))
    (folder / "data_batch_3.bin").unlink()
    refused(lambda: data.load("cifar10", str(tmp_path), "train"), folder / "data_batch_3.bin", "No such file")


def test_cifar_check(tmp_path: Path, small_cifar: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "cifar.tar.gz", small_cifar)
    found = data.check("cifar10", path)
    assert found.samples == {"train": 1500, "test": 300} and found.per_class["test"] == (30,) * 10
    assert found.verified is False
    files = tuple(data.File(name, hashlib.md5(content).hexdigest()) for name, content in small_cifar.items())
    monkeypatch.setattr("ffmpi.data.cifar10.FORMAT", replace(data.FORMATS["cifar10"], files=files))
    assert data.check("cifar10", path).verified is True


def test_cifar_damage(tmp_path: Path, small_cifar: dict[str, bytes]) -> None:
    def load() -> object:
        return data.load("cifar10", str(file), "train")

    file = tmp_path / "cifar-10-binary.tar.gz"
    refused(lambda: data.load("cifar10", str(tmp_path), "train"), tmp_path, "holds neither")
    archive(file, small_cifar | {"data_batch_2.bin": small_cifar["data_batch_2.bin"][:-1]})
    refused(load, file, "data_batch_2.bin", "is 921899 bytes long", "921900 (300 records of 3073 bytes)")
    wrong = bytearray(small_cifar["data_batch_4.bin"])
    wrong[3073 * 290] = 11
    archive(file, small_cifar | {"data_batch_4.bin": bytes(wrong)})
    refused(load, file, "data_batch_4.bin", "sample 290 has label 11", "from 0 to 9")
    archive(file, {name: content for name, content in small_cifar.items() if name != "data_batch_5.bin"})
    refused(load, file, "holds no cifar-10-batches-bin/data_batch_5.bin")
    archive(file, small_cifar, folder="../")  # names are compared, never followed
    refused(load, file, "holds no cifar-10-batches-bin/data_batch_1.bin")
    archive(file, small_cifar)
    file.write_bytes(file.read_bytes()[:2_000_000])
    refused(load, file, "cifar-10-binary.tar.gz")
    file.write_bytes(b"<html>404</html>" * 100)
    refused(load, file, "is a web page")
    file.write_bytes(b"")
    refused(load, file, "is empty")


def test_cifar_link_members_are_no_batches(tmp_path: Path, small_cifar: dict[str, bytes]) -> None:
    file = tmp_path / "cifar.tar"
    with tarfile.open(file, "w") as tar:
        info = tarfile.TarInfo(f"{FOLDER}/test_batch.bin")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(info)
    refused(lambda: data.load("cifar10", str(file), "test"), "holds no cifar-10-batches-bin/test_batch.bin")


# hdf5 -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.h5"


def write(file: Path, images: Any = None, classes: Any = None, *, test: bool = True) -> str:
    with h5py.File(file, "w") as out:
        for split in ("train", "test") if test else ("train",):
            out[f"{split}/images"] = pixels(30, 5, 4) if images is None else images
            out[f"{split}/labels"] = labels(30).astype(np.int64) if classes is None else classes
    return str(file)


@pytest.mark.parametrize("kind", ["u1", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("chunks", [None, (7, 5, 4)])
def test_hdf5(file: Path, kind: str, chunks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "CHUNK", 200)  # several slices
    images = pixels(30, 5, 4) if kind == "u1" else np.random.default_rng(0).random((30, 5, 4))
    with h5py.File(file, "w") as out:
        out.create_dataset("train/images", data=images.astype(kind), chunks=chunks)
        out["train/labels"] = labels(30)
    found = data.load("hdf5", str(file), "train")
    assert found.images is not None
    assert found.images.dtype == (np.uint8 if kind == "u1" else np.float32)
    assert_array_equal(found.images, images.astype(found.images.dtype).reshape(30, 20))
    assert_array_equal(found.classes, labels(30))
    assert found.classes.dtype == np.uint8 and found.shape == (5, 4) and found.names == tuple("0123456789")
    only = data.load("hdf5", str(file), "train", images=False)
    assert only.images is None and only.shape == (5, 4)


def test_hdf5_classes_of_both_splits(file: Path) -> None:
    path = write(file, classes=labels(30) % 3)
    with h5py.File(file, "a") as out:
        out["test/labels"][4] = 5
    assert len(data.load("hdf5", path, "train").names) == 6


def test_hdf5_attributes(file: Path) -> None:
    def with_attributes(**attributes: Any) -> data.DataSet:
        path = write(file, classes=labels(30) % 3)
        with h5py.File(file, "a") as out:
            out.attrs.update(attributes)
        return data.load("hdf5", path, "train")

    assert with_attributes(class_names=np.array(["cat", "dog", "owl"], "S")).names == ("cat", "dog", "owl")
    assert len(with_attributes(classes=7).names) == 7
    refused(lambda: with_attributes(class_names=np.array(["a", "b"], "S")), file, "train", "label 2", "from 0 to 1")
    refused(lambda: with_attributes(class_names=np.array([b"a", b"\x1b[2J"])), file, "class_names", "unprintable")
    refused(
        lambda: with_attributes(class_names=["cat", "dog"]),
        file,
        "strings of variable length of shape (2,)",
        "2 to 1000 strings of fixed length",
    )
    refused(lambda: with_attributes(class_names=np.array(["a", "b" * 65], "S")), "|S65", "at most 64 bytes each")
    refused(lambda: with_attributes(class_names=np.array([b"a", b"\xff"])), file, "'ÿ'", "no UTF-8")
    refused(lambda: with_attributes(class_names=[1, 2, 3]), file, "int64 of shape (3,)", "strings of fixed length")
    refused(lambda: with_attributes(classes="many"), file, "'classes' is object of shape ()", "from 2 to 1000")
    refused(lambda: with_attributes(classes=1001), file, "'classes' is int64", "value 1001", "from 2 to 1000")


def test_hdf5_root(file: Path) -> None:
    with h5py.File(file, "w") as out:
        out["images"], out["labels"] = pixels(30, 20), labels(30)
    assert_array_equal(data.load("hdf5", str(file), "train").images, pixels(30, 20))
    refused(
        lambda: data.load("hdf5", str(file), "test"), file, "no test samples, its 'images' and 'labels' are training"
    )
    found = data.check("hdf5", str(file))
    assert found.samples == {"train": 30} and found.shape == (20,) and found.verified is None


def test_hdf5_check(file: Path) -> None:
    found = data.check("hdf5", write(file, images=pixels(30, 6).astype(np.float64)))
    assert found.samples == {"train": 30, "test": 30} and found.dtype == "float32"
    assert found.per_class["test"] == (3,) * 10


@pytest.mark.parametrize(
    ("images", "classes", "fragments"),
    [
        (
            np.zeros((30, 4), np.uint16),
            None,
            ["'train/images' is uint16", "uint8, float16, float32 or float64", "astype('uint8')"],
        ),
        (np.zeros((30, 4), complex), None, ["is complex128"]),
        (pixels(30), None, ["shape (30,)", "(samples, ...)"]),
        (np.uint8(3), None, ["shape ()"]),
        (np.zeros((0, 4), np.uint8), None, ["'train/images' is empty"]),
        (h5py.Empty("u1"), None, ["'train/images' is empty"]),
        (pixels(29, 4), None, ["29 images and 30 labels in train"]),
        (None, labels(30) / 2, ["'train/labels' has the value 3.5", "whole numbers from 0"]),
        (None, labels(30).repeat(2).reshape(30, 2), ["shape (30, 2), but not in every row one 1 among zeros"]),
        (None, pixels(30, 8, 8), ["'train/labels' is uint8 of shape (30, 8, 8), as images have"]),
        (None, np.array([b"cat", b"dog"] * 15), ["'train/labels' is text", "np.unique(", "class_names"]),
        (None, labels(30).astype(np.int64) - 1, ["train: sample 0 has label -1"]),
        (None, labels(30).astype(np.uint64) << 60, ["train: sample 1 has label 8070450532247928832", "0 to 999"]),
        (None, np.zeros(30, int), ["has 1 classes", "2 to 1000"]),
        (np.where(np.arange(120).reshape(30, 4) == 50, np.nan, 0), None, ["image 12 of 'train/images' has a NaN"]),
        (np.where(np.arange(120).reshape(30, 4) == 50, 1e200, 0), None, ["image 12", "expected finite float32"]),
    ],
)
def test_hdf5_damage(file: Path, images: Any, classes: Any, fragments: list[str]) -> None:
    path = write(file, images, classes)
    refused(lambda: data.load("hdf5", path, "train"), file, *fragments)


def test_hdf5_strings_are_no_images(file: Path) -> None:
    path = write(file, images=np.array([[b"a"]] * 30, object))
    refused(lambda: data.load("hdf5", path, "train"), file, "'train/images' is text")


def test_hdf5_missing_parts(file: Path) -> None:
    path = write(file, test=False)
    refused(lambda: data.load("hdf5", path, "test"), file, "no test samples", "'test/images' and 'test/labels'")
    with h5py.File(file, "a") as out:
        del out["train/labels"]
    refused(lambda: data.load("hdf5", path, "train"), file, "no data set 'train/labels'")
    with h5py.File(file, "w") as out:
        out["train"] = 1
    refused(lambda: data.load("hdf5", path, "train"), file, "no data set 'train/labels'")
    with h5py.File(file, "w") as out:
        out.create_group("train/labels")
    refused(lambda: data.load("hdf5", path, "train"), file, "'train/labels' is a group")
    path = write(file)
    with h5py.File(file, "a") as out:
        del out["test/images"]
        out["test/images"] = pixels(30, 4, 5)
    refused(lambda: data.load("hdf5", path, "train"), file, "(5, 4) and (4, 5)", "one shape")


def test_hdf5_never_reads_another_file(file: Path, tmp_path: Path) -> None:
    """External links, soft links, external storage and virtual datasets could reach files the user did not name."""
    other, raw = tmp_path / "other.h5", tmp_path / "raw"
    write(other)
    raw.write_bytes(bytes(600))
    layout = h5py.VirtualLayout((30, 5, 4), "u1")
    layout[:] = h5py.VirtualSource(str(other), "train/images", (30, 5, 4))

    def external_link(group: h5py.Group) -> None:
        group["images"] = h5py.ExternalLink(str(other), "train/images")

    def soft_link(group: h5py.Group) -> None:
        group["images"] = h5py.SoftLink("/test/images")

    def external_storage(group: h5py.Group) -> None:
        group.create_dataset("images", (30, 5, 4), "u1", external=[(str(raw), 0, 600)])

    def virtual(group: h5py.Group) -> None:
        group.create_virtual_dataset("images", layout)

    link, elsewhere = "is a link", "data in other files"
    kinds = ((external_link, link), (soft_link, link), (external_storage, elsewhere), (virtual, elsewhere))
    for kind, what in kinds:
        path = write(file)
        with h5py.File(file, "a") as out:
            del out["train/images"]
            kind(out["train"])
        refused(partial(data.load, "hdf5", path, "train"), file, "'train/images'", what)
    with h5py.File(file, "w") as out:
        out["train"] = h5py.ExternalLink(str(other), "train")
    refused(lambda: data.load("hdf5", str(file), "train"), file, "'train' of 'train/labels' is a link")


def test_hdf5_absurd_sizes_take_no_memory(file: Path) -> None:
    for shape in ((1 << 40, 28, 28), (1 << 31, 1 << 31, 4)):
        with h5py.File(file, "w") as out:
            out.create_dataset("images", shape, "u1", chunks=(1, 28, 4))
            out["labels"] = labels(30)
        refused(lambda: data.load("hdf5", str(file), "train"), file, "'images' declares", "but stores 0")


def test_hdf5_broken_files(file: Path, tmp_path: Path) -> None:
    path = write(file)
    content = file.read_bytes()
    file.write_bytes(content[:-300])
    refused(lambda: data.load("hdf5", path, "train"), f"{file}: is truncated", "bytes are there")
    file.write_bytes(b"hello")
    refused(lambda: data.load("hdf5", path, "train"), f"{file}: is a text which begins 'hello'", "an HDF5 file")
    refused(lambda: data.load("hdf5", str(tmp_path), "train"), f"{tmp_path}: is a directory, which holds mine.h5")


def test_hdf5_damaged_bytes_never_escape(file: Path) -> None:
    """Whatever bytes are flipped, the file is read or refused: no other exception."""
    path = write(file, classes=labels(30))
    reads = (partial(data.load, "hdf5", path, "train"), partial(data.read_images, path, (5, 4)))  # finds no images
    with h5py.File(file, "a") as out:
        out.attrs["class_names"] = np.array(list("abcdefghij"), "S")
    content = file.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 8):
            damaged[at] = rng.integers(256)
        file.write_bytes(damaged)
        for read in reads:
            message = ""
            try:
                read()
            except UserError as error:
                message = str(error)
            assert "\n" not in message


# images to predict ----------------------------------------------------------------------------------------------------


def png(file: Path, array: np.ndarray, mode: str | None = None) -> str:
    image_module = pytest.importorskip("PIL.Image")
    image = image_module.fromarray(array)
    (image.convert(mode) if mode else image).save(file)
    return str(file)


def test_png_folder(tmp_path: Path) -> None:
    images = pixels(3, 5, 4)
    for name, image in zip(("b.png", "a.PNG", "c.png"), images, strict=True):
        png(tmp_path / name, image)
    (tmp_path / "notes.txt").write_text("not an image")
    found, names = data.read_images(str(tmp_path), (5, 4))
    assert names == ["a.PNG", "b.png", "c.png"] and found.dtype == np.uint8
    assert_array_equal(found, images[[1, 0, 2]].reshape(3, -1))
    found, names = data.read_images(str(tmp_path / "c.png"), (5, 4))
    assert names == ["c.png"]
    assert_array_equal(found, images[2].reshape(1, -1))


def test_png_colours(tmp_path: Path) -> None:
    image = pixels(5, 4, 3)  # 5 rows, 4 columns, 3 channels
    path = png(tmp_path / "colour.png", image)
    assert_array_equal(data.read_images(path, (3, 5, 4))[0][0], image.transpose(2, 0, 1).ravel())
    assert_array_equal(data.read_images(path, (5, 4, 3))[0][0], image.ravel())
    assert data.read_images(path, (5, 4))[0].shape == (1, 20)
    grey = png(tmp_path / "grey.png", image[:, :, 0])
    assert_array_equal(data.read_images(grey, (3, 5, 4))[0][0].reshape(3, 5, 4), np.stack([image[:, :, 0]] * 3))
    palette = png(tmp_path / "palette.png", np.array([[0, 255], [255, 0]], np.uint8), "P")
    assert data.read_images(palette, (2, 2))[0].tolist() == [[0, 255, 255, 0]]


def test_png_damage(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    refused(lambda: data.read_images(str(tmp_path), (5, 4)), tmp_path, "holds no image")
    refused(lambda: data.read_images(str(file), (5, 4)), file, "no such file")
    png(file, pixels(5, 4))
    refused(lambda: data.read_images(str(file), (4, 5)), file, "5 rows and 4 columns", "4 rows and 5 columns")
    refused(lambda: data.read_images(str(file), (20,)), file, "shape (20,)", "HDF5")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2 + 5])
    refused(lambda: data.read_images(str(file), (5, 4)), f"{file}: is truncated after", "a PNG image")
    file.write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    refused(lambda: data.read_images(str(file), (5, 4)), f"{file}: cannot be read (", "an image such as PNG")
    png(file, pixels(5, 4).astype(np.uint16) * 257)
    refused(lambda: data.read_images(str(file), (5, 4)), file, "16 bits per channel", "expected 8 bits")
    png(file, pixels(5, 4, 4))
    refused(lambda: data.read_images(str(file), (5, 4)), file, "transparent pixels")
    file.write_bytes(b"GIF89a")
    refused(lambda: data.read_images(str(file), (5, 4)), file, "cannot be read (")


def test_png_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    png(tmp_path / "image.png", pixels(5, 4))
    monkeypatch.setitem(sys.modules, "PIL", None)
    refused(lambda: data.read_images(str(tmp_path), (5, 4)), "needs Pillow")


def test_read_images_from_hdf5(file: Path) -> None:
    images = np.random.default_rng(0).random((4, 5, 4), np.float32)
    with h5py.File(file, "w") as out:
        out["images"] = images
    found, names = data.read_images(str(file), (5, 4))
    assert names[:] == ["0", "1", "2", "3"] and names[2] == "2"
    assert_array_equal(found, images.reshape(4, 20))
    refused(lambda: data.read_images(str(file), (4, 5)), file, "shape (5, 4)", "expected (4, 5)")
    file = file.with_name("rows.h5")  # the other one is still open
    with h5py.File(file, "w") as out:
        out["images"] = images.reshape(4, 20)
    assert_array_equal(data.read_images(str(file), (5, 4))[0], images.reshape(4, 20))
    file = file.with_name("pictures.h5")
    with h5py.File(file, "w") as out:
        out["pictures"] = images
    refused(lambda: data.read_images(str(file), (5, 4)), file, "no data set 'images'")
