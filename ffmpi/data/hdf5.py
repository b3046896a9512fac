"""A user's own images, from an HDF5 file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from ..errors import UserError
from .files import CHUNK, DAMAGE, check_labels, reading
from .hdf5_contents import contents, dataset, describe, exists, kind_of, names_of
from .kinds import HDF5, expect, shortened
from .known import KNOWN, DataSet, Fields, Known
from .labels import MOST_CLASSES, read_class_names, read_labels
from .shapes import agree, arranged

_DAMAGE = (*DAMAGE, KeyError, RuntimeError, TypeError, ValueError)  # h5py's ways to say that a file is broken


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    expected = KNOWN["hdf5"].path
    if not h5py.is_hdf5(path):  # also finds what begins after a long user block
        expect(path, expected, HDF5)
    # Without "best-effort" a read-only file system, or one without locks, cannot be read from.
    with reading(path, expected, _DAMAGE):
        try:
            file = h5py.File(path, "r", locking="best-effort")
        except OSError as error:
            sizes = re.search(r"truncated file: eof = (\d+),.* stored_eof = (\d+)", str(error))
            if not sizes:
                raise
            found = f"{sizes[1]} of {sizes[2]} bytes are there"
            raise UserError(f"{path}: is truncated, {found}; expected the whole file: copy it again") from None
        with file:
            yield file


def has_test(path: Path, fields: Fields) -> bool:
    """Return whether the file holds a split for tests."""
    with _open(path) as file:
        return "test" in names_of(file, fields)


def load(known: Known, path: Path, split: str, images: bool, fields: Fields) -> DataSet:
    """Read groups train and test, or the root as train; both splits' labels decide the number of classes."""
    with _open(path) as file:
        splits = names_of(file, fields)
        names = read_class_names(file)
        labels: dict[str, np.ndarray] = {}
        columns = 0
        for group, (_, name) in splits.items():
            labels[group], found = read_labels(file, name)
            columns = max(columns, found)
            check_labels(f"{path}: {group}", labels[group], len(names) or MOST_CLASSES)
        count = len(names) or max(columns, *(1 + int(values.max()) for values in labels.values()))
        names = names or tuple(str(i) for i in range(count))
        if not 2 <= len(names) <= MOST_CLASSES:
            raise UserError(f"{path}: has {len(names)} classes, expected 2 to {MOST_CLASSES}")
        datasets = {group: _image_dataset(file, name) for group, (name, _) in splits.items()}
        if split not in splits:
            _refuse_split(path, split, splits, fields)
        if len(datasets[split]) != len(labels[split]):
            counts = f"{len(datasets[split])} images and {len(labels[split])} labels"
            last = datasets[split].shape[-1] == len(labels[split])
            hint = ": is the last axis that of the samples? np.moveaxis(images, -1, 0) puts it first" if last else ""
            raise UserError(f"{path}: has {counts} in {split}, expected as many of each{hint}")
        shape = next(iter(datasets.values())).shape[1:]  # of the training images, if there are any
        if not all(agree(node.shape[1:], shape) for node in datasets.values()):
            found_shapes = " and ".join(str(node.shape[1:]) for node in datasets.values())
            raise UserError(f"{path}: has images of shapes {found_shapes} in train and test, expected one shape")
        own = datasets[split]
        pixels = arranged(_read_images(file, own), own.shape[1:], shape, str(path)) if images else None
        return DataSet(pixels, labels[split].astype(np.uint8), shape, names)


def _refuse_split(path: Path, split: str, splits: dict[str, tuple[str, str]], fields: Fields) -> None:
    """Say that the samples of one split are missing, where the others are, and what to do."""
    other = next(iter(splits))
    have = " and ".join(repr(name) for name in splits[other])
    kind, instead = ("test", "training") if split == "test" else ("training", "test")
    lacking = fields.names(split)
    raise UserError(
        f"{path}: has no {kind} samples, its {have} are {instead} samples; expected {KNOWN['hdf5'].path}: "
        f"put a share of the samples, drawn at random, into {lacking[0]!r} and {lacking[1]!r}"
        + ("" if fields.by_split or other in splits[other][0].split("/") else f", the others likewise into '{other}'")
    )


def _image_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    node = dataset(file, name)
    if node.ndim < 2 or node.dtype.kind + str(node.dtype.itemsize) not in ("u1", "f2", "f4", "f8"):
        cures = {
            "b": "images.astype('uint8') * 255",
            "u": "images.astype('uint8') if they go up to 255, else images.astype('float32')",
            "i": "images.astype('uint8') if they go from 0 to 255, else images.astype('float32')",
        }
        cure = f", converted by {cures[node.dtype.kind]}" if node.ndim > 1 and node.dtype.kind in cures else ""
        found = f"{name!r} is {kind_of(node)} of shape {node.shape}"
        raise UserError(
            f"{file.filename}: {found}, expected uint8, float16, float32 or float64 of shape (samples, ...){cure}"
        )
    return node


def _read_images(file: h5py.File, node: h5py.Dataset) -> np.ndarray:
    """Return (samples, inputs) uint8 or float32, read in slices of whole HDF5 chunks straight into the array."""
    array = np.empty(node.shape, np.uint8 if node.dtype.kind == "u" else np.float32)
    chunk = node.chunks[0] if node.chunks else 1
    rows = chunk * max(1, (CHUNK * len(array)) // (array.nbytes * chunk))
    for first in range(0, len(array), rows):
        part = slice(first, min(first + rows, len(array)))
        node.read_direct(array, part, part)
        if array.dtype.kind == "f":
            finite = np.isfinite(array[part]).all(axis=tuple(range(1, array.ndim)))
            if not finite.all():
                found = f"image {first + int(np.argmin(finite))} of {node.name!r} has a NaN or infinite pixel"
                raise UserError(f"{file.filename}: {found}, expected finite float32 values")
    return array.reshape(len(array), -1)


def read_images(path: Path, shape: tuple[int, ...], sources: Sequence[str]) -> np.ndarray:
    """Return the images in the first of the data sets `sources` that is there, arranged to `shape`.

    Returns (samples, inputs) uint8 or float32. Raises UserError for images that cannot be arranged.
    """
    names = [Fields(source).names("test")[0] if Fields(source).by_split else source for source in sources]
    with _open(path) as file:
        name = next((name for name in names if exists(file, name)), "")
        if not name:
            held = shortened(describe(*pair) for pair in contents(file).items()) or "no data set at all"
            missing = " and no ".join(map(repr, names))
            raise UserError(f"{path}: has no data set {missing}; it holds {held}; expected the name of one by --images")
        node = _image_dataset(file, name)
        return arranged(_read_images(file, node), node.shape[1:], shape, f"{path}: {name!r}")
