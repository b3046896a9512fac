"""What people really bring: files that are something else, under other names, or of other forms."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import shutil
import struct
import sys
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from samples import idx, labels, pixels, refused, write_mnist

from ffmpi import data
from ffmpi.data import KNOWN
from ffmpi.data.kinds import HEAD, describe


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    return write_mnist(tmp_path)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 2572022\n"


def _bytes(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def picture(kind: str) -> bytes:
    return _bytes(lambda stream: Image.fromarray(pixels(5, 4)).save(stream, kind))


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
    "NumPy file, .npy": _bytes(lambda stream: np.save(stream, pixels(5, 4))),
    "NumPy archive, .npz": _bytes(lambda stream: np.savez(stream, x=pixels(5, 4))),
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
    refused(lambda: data.read_images(str(mnist / "train-images-idx3-ubyte"), (28, 28)), "is an IDX file")
    refused(lambda: data.read_images(str(mine.parent), (5, 4)), "no PNG file; it holds mine.h5")
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
    files = tuple(replace(f, md5=labels_md5) if "train-labels" in f.name else f for f in KNOWN["mnist"].files)
    monkeypatch.setitem(KNOWN, "mnist", replace(KNOWN["mnist"], files=files))
    assert data.load("mnist", str(mnist), "train").names == KNOWN["mnist"].names
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


# hdf5 -----------------------------------------------------------------------------------------------------------------


def hdf5(file: Path, **arrays: Any) -> str:
    """Write arrays under names, in which two underscores stand for a group."""
    with h5py.File(file, "w") as out:
        for name, array in arrays.items():
            out[name.replace("__", "/")] = array
    return str(file)


SETS = {"train": (pixels(30, 5, 4), labels(30)), "test": (pixels(20, 5, 4), labels(20))}


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (("train/data", "train/target", "test/data", "test/target"), ("data", "target")),
        (("x_train", "y_train", "x_test", "y_test"), ("x_{split}", "y_{split}")),
        (("train_set_x", "train_set_y", "test_set_x", "test_set_y"), ("{split}_set_x", "{split}_set_y")),
        (("a/train/x", "a/train/y", "a/val/x", "a/val/y"), ("a/{train|val}/x", "a/{train|val}/y")),
        (("X", "y", "X_test", "y_test"), ("X{|_test}", "y{|_test}")),
        (("Train/X", "Train/y", "Test/X", "Test/y"), ("{Train|Test}/X", "{Train|Test}/y")),
        (("x", "y", "", ""), ("x", "y")),
    ],
)
def test_hdf5_names_as_others_use_them(names: tuple[str, ...], fields: tuple[str, str], tmp_path: Path) -> None:
    """Without the setting the sentence names it; with it the data are read."""
    arrays = [array for pair in SETS.values() for array in pair]
    given = {name.replace("/", "__"): array for name, array in zip(names, arrays, strict=True) if name}
    given["notes__scale" if names[0] != "x" else "version"] = np.float32(2)
    path = hdf5(tmp_path / "x.h5", **given)
    refused(
        lambda: data.load("hdf5", path, "train"), "has no data set", f"{names[0]} (uint8 (30, 5, 4))",
        f"data.images = {fields[0]!r} and data.labels = {fields[1]!r} would read it",
    )  # fmt: skip
    for split, (images, classes) in SETS.items():
        if split == "test" and not names[2]:
            refused(lambda: data.load("hdf5", path, "test", fields=data.Fields(*fields)), "has no test samples")
            continue
        found = data.load("hdf5", path, split, fields=data.Fields(*fields))
        assert_array_equal(found.images, images.reshape(len(images), -1))
        assert_array_equal(found.classes, classes)
    assert len(data.check("hdf5", path, data.Fields(*fields)).samples) == (2 if names[2] else 1)


def test_hdf5_names_in_doubt(tmp_path: Path) -> None:
    """Two sets that could be the images: the sentence lists both and guesses none; nothing at all is said, too."""
    path = hdf5(tmp_path / "x.h5", raw=pixels(30, 5, 4), small=pixels(30, 2, 2), y=labels(30))
    refused(lambda: data.load("hdf5", path, "train"), "raw (uint8 (30, 5, 4)), small (", "names in data.images")
    hdf5(tmp_path / "x.h5")
    refused(lambda: data.load("hdf5", path, "train"), "it holds no data set at all")
    path = hdf5(tmp_path / "x.h5", x_train=pixels(30, 4))
    refused(lambda: data.load("hdf5", path, "train", fields=data.Fields("x_{split}", "y_{split}")), "'y_train'")
    refused(lambda: data.load("hdf5", path, "train", fields=data.Fields("", "y_{split}")), "has no data set 'train/'")
    many = hdf5(tmp_path / "x.h5", **{f"image{i:04}": pixels(2, 2) for i in range(300)})
    refused(lambda: data.load("hdf5", many, "train"), "image0009 (uint8 (2, 2)) and 190 more")


def test_hdf5_names_in_latin_1(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        file["\u00e9t\u00e9".encode("latin-1")] = labels(3)
    refused(lambda: data.load("hdf5", path, "train"), r"it holds \xe9t\xe9 (uint8 (3,))")


def test_hdf5_training_samples_only(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "x.h5", images=pixels(30, 5, 4), labels=labels(30))
    refused(
        lambda: data.load("hdf5", path, "test"), "has no test samples, its 'images' and 'labels' are training samples",
        "into 'test/images' and 'test/labels', the others likewise into 'train'",
    )  # fmt: skip
    path = hdf5(tmp_path / "x.h5", test__images=pixels(30, 5, 4), test__labels=labels(30))
    refused(lambda: data.load("hdf5", path, "train"), "has no training samples, its 'test/images'", "'train/images'")


@pytest.mark.parametrize(
    "form",
    [
        labels(30)[:, None], labels(30).astype(np.float64), labels(30).astype(np.float32)[:, None],
        np.eye(10, dtype=np.float32)[labels(30)], np.eye(10, dtype=bool)[labels(30)],
    ],
)  # fmt: skip
def test_hdf5_forms_of_labels(form: np.ndarray, tmp_path: Path) -> None:
    path = hdf5(tmp_path / "x.h5", images=pixels(30, 5, 4), labels=form)
    assert_array_equal(data.load("hdf5", path, "train").classes, labels(30))


def test_hdf5_labels_that_need_mending(tmp_path: Path) -> None:
    def read(**attributes: Any) -> data.DataSet:
        with h5py.File(path, "a") as file:
            file.attrs.update(attributes)
        return data.load("hdf5", path, "train")

    one_hot = np.eye(12)[labels(30)]
    path = hdf5(tmp_path / "x.h5", images=pixels(30, 5, 4), labels=one_hot)
    assert len(read().names) == 12  # also those without samples
    path = hdf5(tmp_path / "x.h5", images=pixels(30, 5, 4), labels=labels(30) + 1)
    assert len(read().names) == 11  # what may be wrong is a warning
    refused(lambda: read(classes=10), "has label 10, expected labels from 0 to 9: labels go from 1 to 10 here, so subt")
    path = hdf5(tmp_path / "x.h5", images=pixels(30, 5, 4), labels=np.where(labels(30) > 4, 1, -1))
    refused(read, "labels go from -1 to 1 here, so number the classes anew")
    path = hdf5(tmp_path / "x.h5", images=pixels(30, 5, 4), labels=labels(30) > 4)
    assert read().classes.tolist() == (labels(30) > 4).tolist()
    path = hdf5(tmp_path / "x.h5", images=pixels(30, 5, 4), labels=np.where(labels(30) > 4, np.nan, 1))
    refused(read, "'labels' has the value nan, expected whole numbers from 0")


def test_hdf5_with_its_axes_reversed(tmp_path: Path) -> None:
    """MATLAB's version 7.3 is HDF5, its arrays are stored with the axes the other way round."""
    images = pixels(30, 5, 4).transpose()
    path = hdf5(tmp_path / "x.mat", images=images, labels=labels(30)[None])
    refused(lambda: data.load("hdf5", path, "train"), "'labels' is uint8 of shape (1, 30), as MATLAB stores a column")
    path = hdf5(tmp_path / "x.mat", images=images, labels=labels(30))
    refused(lambda: data.load("hdf5", path, "train"), "4 images and 30 labels in train", "np.moveaxis(images, -1, 0)")


def test_hdf5_records_are_listed(tmp_path: Path) -> None:
    """Images and labels in one data set of records cannot be read, but are named."""
    records = np.zeros(30, [("image", "u1", (5, 4)), ("label", "i4")])
    path = hdf5(tmp_path / "x.h5", train=records, test=records)
    refused(lambda: data.load("hdf5", path, "train"), "'train/labels'; it holds test (records (30,)), train (")


@pytest.mark.parametrize(
    ("images", "fragments"),
    [
        (pixels(30, 5, 4) > 9, ["bool of shape (30, 5, 4)", "converted by images.astype('uint8') * 255"]),
        (pixels(30, 5, 4).astype(np.int64), ["int64", "images.astype('uint8') if they go from 0 to 255, else images"]),
        (pixels(30, 5, 4).astype(">u2"), ["'images' is >u2", "images.astype('uint8') if they go up to 255"]),
        (np.array([b"/a/b.png"] * 30), ["'images' is text of shape (30,)"]),
    ],
)
def test_hdf5_pixels_that_need_mending(images: np.ndarray, fragments: list[str], tmp_path: Path) -> None:
    path = hdf5(tmp_path / "x.h5", images=images, labels=labels(30))
    refused(lambda: data.load("hdf5", path, "train"), *fragments)


def test_hdf5_half_floats(tmp_path: Path) -> None:
    images = (pixels(30, 5, 4) / 255).astype(np.float16)
    found = data.load("hdf5", hdf5(tmp_path / "x.h5", images=images, labels=labels(30)), "train")
    assert found.images is not None and found.images.dtype == np.float32
    assert_array_equal(found.images, images.reshape(30, -1).astype(np.float32))


def test_hdf5_missing_filter(tmp_path: Path) -> None:
    """A filter that is not there is named by its number and name; 32001 is Blosc's, 398 nobody's."""
    for code, called in ((32001, "32001, Blosc"), (398, "filter 398, which")):
        file = tmp_path / "x.h5"
        if h5py.h5z.filter_avail(code):
            continue
        with h5py.File(file, "w") as out:
            settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            settings.set_chunk((30, 4))
            settings.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
            space = h5py.h5s.create_simple((30, 4))
            images = h5py.h5d.create(out.id, b"images", h5py.h5t.STD_U8LE, space, settings)
            images.write_direct_chunk((0, 0), zlib.compress(bytes(120)), 0)
            out["labels"] = labels(30)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "hdf5plugin", None)
            refused(lambda: data.load("hdf5", str(file), "train"), "'images' is compressed", called, "hdf5plugin")  # noqa: B023


# png ------------------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: int, *, bits: int = 8, interlace: int = 0) -> bytes:
    """Return a grey PNG of 8 x 8, of which `rows` rows are there."""
    header = struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + bytes(row[: 8 * bits // 8]) for row in pixels(8, 16)[:rows]))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_png_that_is_not_whole(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    read = partial(data.read_images, str(file), (8, 8))
    file.write_bytes(png(8))
    assert_array_equal(read()[0][0], pixels(8, 16)[:, :8].ravel())
    file.write_bytes(png(5))
    refused(read, file, "holds 45 bytes of pixels, expected 72 for 8 rows of 8 columns")
    file.write_bytes(png(8)[:-12])
    refused(read, file, "is truncated after", "IEND")
    file.write_bytes(png(8)[:-20])
    refused(read, file, "is truncated after")
    damaged = bytearray(png(8))
    damaged[50] ^= 1
    file.write_bytes(damaged)
    refused(read, file, "is damaged, its part b'IDAT' does not agree with its checksum")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA"])
def test_png_whole_in_every_kind(mode: str, tmp_path: Path) -> None:
    """No whole PNG is taken for a truncated one."""
    for rows, columns in ((1, 1), (5, 4), (9, 13)):
        image = Image.fromarray(pixels(rows, columns, 3)).convert("L").convert("RGBA" if "A" in mode else "RGB")
        image.convert(mode).save(tmp_path / "x.png")
        assert data.read_images(str(tmp_path / "x.png"), (rows, columns))[0].shape == (1, rows * columns)


def test_png_interlaced_sizes(tmp_path: Path) -> None:
    """Adam7 of an 8 x 8 image has passes of 1x1, 1x1, 1x2, 2x2, 2x4, 4x4, 4x8 pixels, a byte more for each row."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    passes = [(1, 1), (1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 8)]
    raw = b"".join((b"\0" + b"\x07" * wide) * high for high, wide in passes)
    for cut, good in ((0, True), (1, False)):
        content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw[: len(raw) - cut])) + chunk(b"IEND", b"")
        (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
        read = partial(data.read_images, str(tmp_path / "x.png"), (8, 8))
        if good:
            assert read()[0].tolist() == [[7] * 64]
        else:
            refused(read, f"holds {len(raw) - 1} bytes of pixels, expected {len(raw)}")


def test_png_with_a_channel_axis(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(png(8))
    for shape in ((8, 8), (8, 8, 1), (1, 8, 8)):
        assert_array_equal(data.read_images(str(file), shape)[0][0], pixels(8, 16)[:, :8].ravel())
    refused(lambda: data.read_images(str(file), (8, 8, 4)), "shape (8, 8, 4)", "HDF5")


def test_all_bad_files_of_a_folder_at_once(tmp_path: Path) -> None:
    """Content decides: a PNG of any name is read; everything that is called .png and is none is named."""
    (tmp_path / "good").write_bytes(png(8))
    (tmp_path / ".hidden.png").write_bytes(b"AppleDouble")
    (tmp_path / "notes.txt").write_text("not an image")
    assert data.read_images(str(tmp_path), (8, 8))[1] == ["good"]
    (tmp_path / "a.png").write_bytes(png(5))
    refused(lambda: data.read_images(str(tmp_path), (8, 8)), f"{tmp_path / 'a.png'}: holds 45 bytes")
    (tmp_path / "b.png").write_bytes(picture("JPEG"))
    (tmp_path / "photo.jpg").write_bytes(picture("JPEG"))
    (tmp_path / "c.png").write_bytes(LFS)
    fragments = [
        "4 of 5 images",
        "a.png holds 45",
        "b.png is a JPEG image",
        "c.png is a Git LFS",
        "photo.jpg is a JPEG",
    ]
    refused(lambda: data.read_images(str(tmp_path), (8, 8)), *fragments)
    for i in range(20):
        shutil.copy(tmp_path / "b.png", tmp_path / f"d{i:02}.png")
    refused(lambda: data.read_images(str(tmp_path), (8, 8)), "24 of 25", "d06.png is a JPEG", " and 14 more")


# images of another shape ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ((8, 6), (8, 6)), ((8, 6, 1), (8, 6)), ((1, 8, 6), (8, 6, 1)), ((8, 6), (1, 8, 6)), ((48,), (1, 8, 6)),
        ((8, 6), (48,)), ((144,), (8, 6, 3)),
    ],
)  # fmt: skip
def test_shapes_of_the_same_pixels(found: tuple[int, ...], wanted: tuple[int, ...], tmp_path: Path) -> None:
    images = pixels(7, *found)
    path = hdf5(tmp_path / "x.h5", images=images)
    assert_array_equal(data.read_images(path, wanted)[0], images.reshape(7, -1))


def test_shapes_of_colours(tmp_path: Path) -> None:
    images = pixels(7, 8, 6, 3)
    first, last = tmp_path / "first.h5", tmp_path / "last.h5"
    hdf5(first, images=images.transpose(0, 3, 1, 2))
    hdf5(last, images=images)
    assert_array_equal(data.read_images(str(first), (8, 6, 3))[0], images.reshape(7, -1))
    assert_array_equal(data.read_images(str(last), (3, 8, 6))[0], images.transpose(0, 3, 1, 2).reshape(7, -1))
    for wanted, fragments in (
        ((6, 8, 3), ["(8, 6, 3), expected (6, 8, 3)"]),
        ((8, 6), ["(8, 6, 3), expected (8, 6)"]),
        ((144,), []),
    ):
        refused(lambda: data.read_images(str(last), wanted), "'images' has images of shape", *fragments)  # noqa: B023
    other = hdf5(tmp_path / "other.h5", images=pixels(7, 6, 8))
    refused(lambda: data.read_images(other, (8, 6)), "(6, 8), expected (8, 6)", "rows and columns exchanged")


def test_images_to_predict_by_name(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "x.h5", test__images=pixels(7, 5, 4), x=pixels(3, 5, 4))
    refused(lambda: data.read_images(path, (5, 4)), "no data set 'images'; it holds test/images (uint8 (7", "--images")
    assert len(data.read_images(path, (5, 4), ["y", "test/images"])[0]) == 7
    assert len(data.read_images(path, (5, 4), ["x", "test/images"])[0]) == 3
