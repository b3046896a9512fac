"""People's HDF5 files: other names, labels and pixels in other forms, compression, images in other shapes."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from samples import labels, pixels, refused

from ffmpi import data


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
    refused(
        lambda: data.load("hdf5", path, "train"),
        "raw (uint8 (30, 5, 4)), small (",
        "names in data.images and",
    )
    hdf5(tmp_path / "x.h5")
    refused(lambda: data.load("hdf5", path, "train"), "it holds no data set at all")
    with h5py.File(path, "a") as file:
        file.attrs.update({"format": 2, "ffmpi": "0.1.0", "chapter": 3})
    refused(lambda: data.load("hdf5", path, "train"), "it is a checkpoint of ffmpi's")
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


def test_both_splits_in_the_shape_of_training(tmp_path: Path) -> None:
    images = pixels(30, 5, 4, 3)
    last = {"train__images": images, "train__labels": labels(30), "test__labels": labels(30)}
    path = hdf5(tmp_path / "x.h5", **last, test__images=images.transpose(0, 3, 1, 2))
    train, test = data.load("hdf5", path, "train"), data.load("hdf5", path, "test")
    assert_array_equal(test.images, train.images)
    assert train.shape == test.shape == (5, 4, 3)
    assert data.load("hdf5", path, "test", images=False).shape == (5, 4, 3)


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
