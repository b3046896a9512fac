"""A user's own images, from an HDF5 file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from ..errors import UserError
from .files import CHUNK, DAMAGE, DEFLATE, check_labels, reading
from .known import KNOWN, SPLITS, DataSet, Known

_DAMAGE = (*DAMAGE, KeyError, RuntimeError, TypeError, ValueError)  # h5py's ways to say that a file is broken
LONGEST_NAME = 64


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    # Without "best-effort" a read-only file system, or one without locks, cannot be read from.
    with reading(path, KNOWN["hdf5"].path, _DAMAGE), h5py.File(path, "r", locking="best-effort") as file:
        yield file


def has_test(path: Path) -> bool:
    """Return whether the file holds a split for tests."""
    with _open(path) as file:
        return bool(file.id.links.exists(b"test"))


def load(known: Known, path: Path, split: str, images: bool) -> DataSet:
    """Read groups train and test, or the root as train; both splits' labels decide the number of classes."""
    with _open(path) as file:
        groups = [group for group in SPLITS if file.id.links.exists(group.encode())]
        if split not in (groups or ["train"]):
            raise UserError(f"{path}: has no group {split!r}, expected {KNOWN['hdf5'].path}")
        labels = {group: _labels(file, f"{group}/labels") for group in groups} or {"train": _labels(file, "labels")}
        names = _class_names(file)
        for group, values in labels.items():
            check_labels(f"{path}: {group}", values, len(names) or 256)
        names = names or tuple(str(i) for i in range(1 + max(int(a.max()) for a in labels.values())))
        if not 2 <= len(names) <= 256:
            raise UserError(f"{path}: has {len(names)} classes, expected 2 to 256")
        datasets = {group: _image_dataset(file, f"{group}/images" if groups else "images") for group in labels}
        shape = datasets[split].shape[1:]
        if any(dataset.shape[1:] != shape for dataset in datasets.values()):
            found = " and ".join(str(dataset.shape[1:]) for dataset in datasets.values())
            raise UserError(f"{path}: has images of shapes {found} in train and test, expected one shape")
        if len(datasets[split]) != len(labels[split]):
            found = f"{len(datasets[split])} images and {len(labels[split])} labels"
            raise UserError(f"{path}: has {found} in {split}, expected as many of each")
        pixels = _read_images(file, datasets[split]) if images else None
        return DataSet(pixels, labels[split].astype(np.uint8), shape, names)


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Open a dataset whose data are in this file and nowhere else, so that a file cannot make us read another one."""
    node: Any = file
    for part in name.split("/"):
        # The links are asked, not the group: `part in node` would follow a link into another file.
        links = node.id.links if isinstance(node, h5py.Group) else None
        if links is None or not links.exists(part.encode()):
            raise UserError(f"{file.filename}: has no dataset {name!r}, expected {KNOWN['hdf5'].path}")
        if links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
            raise UserError(f"{file.filename}: {part!r} of {name!r} is a link, expected the data in the file itself")
        node = node[part]
    if not isinstance(node, h5py.Dataset):
        raise UserError(f"{file.filename}: {name!r} is a {type(node).__name__.lower()}, expected a dataset")
    if node.is_virtual or node.external:
        raise UserError(f"{file.filename}: {name!r} has its data in other files, expected them in the file itself")
    size = math.prod((0,) if node.shape is None else node.shape) * node.dtype.itemsize  # node.size may overflow
    stored = node.id.get_storage_size()
    if size == 0:
        raise UserError(f"{file.filename}: {name!r} is empty, expected at least one sample")
    if size > DEFLATE * stored:
        found = f"declares {size} bytes but stores {stored}"
        raise UserError(f"{file.filename}: {name!r} {found}, expected data that were written")
    return node


def _labels(file: h5py.File, name: str) -> np.ndarray:
    """Return (samples,) of any integer type."""
    dataset = _dataset(file, name)
    if dataset.ndim != 1 or dataset.dtype.kind not in "iu":
        found = f"{name!r} is {dataset.dtype} of shape {dataset.shape}"
        raise UserError(f"{file.filename}: {found}, expected integers of shape (samples,)")
    return cast(np.ndarray, dataset[:])


def _class_names(file: h5py.File) -> tuple[str, ...]:
    """The root's attributes ``class_names`` (strings) or ``classes`` (an integer); empty if it has neither.

    Strings of variable length, h5py's default, are refused: HDF5 keeps them in a heap, and a damaged heap makes it loop
    for ever (HDFGroup/hdf5 issue 1707), which under MPI is a job that hangs.
    """
    found = {name: file.attrs.get_id(name) for name in ("class_names", "classes") if name in file.attrs}
    if "class_names" in found:
        attribute = found["class_names"]
        # A checkpoint keeps the names in an attribute, which HDF5 limits to 64 KB.
        wanted = f"1 to 256 strings of fixed length, at most {LONGEST_NAME} bytes each (NumPy: np.array(names, 'S'))"
        shape, kind = attribute.shape, attribute.dtype
        if kind.kind != "S" or kind.itemsize > LONGEST_NAME or len(shape) != 1 or not 1 <= shape[0] <= 256:
            what = f"{attribute.dtype} of shape {attribute.shape}"
            raise UserError(f"{file.filename}: attribute 'class_names' is {what}, expected {wanted}")
        names = tuple(name.decode() for name in file.attrs["class_names"])
        if not all(map(str.isprintable, names)):
            raise UserError(f"{file.filename}: attribute 'class_names' has unprintable characters, expected {wanted}")
        return names
    if "classes" in found:
        attribute = found["classes"]
        count = int(file.attrs["classes"]) if attribute.dtype.kind in "iu" and attribute.shape == () else 0
        if not 2 <= count <= 256:
            what = f"{attribute.dtype} of shape {attribute.shape}" + (f" with value {count}" if count else "")
            raise UserError(f"{file.filename}: attribute 'classes' is {what}, expected an integer from 2 to 256")
        return tuple(str(i) for i in range(count))
    return ()


def _image_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    dataset = _dataset(file, name)
    if dataset.ndim < 2 or dataset.dtype.kind + str(dataset.dtype.itemsize) not in ("u1", "f4", "f8"):
        found = f"{name!r} is {dataset.dtype} of shape {dataset.shape}"
        raise UserError(f"{file.filename}: {found}, expected uint8, float32 or float64 of shape (samples, ...)")
    return dataset


def _read_images(file: h5py.File, dataset: h5py.Dataset) -> np.ndarray:
    """Return (samples, inputs) uint8 or float32, read in slices of whole HDF5 chunks straight into the array."""
    array = np.empty(dataset.shape, np.uint8 if dataset.dtype.kind == "u" else np.float32)
    chunk = dataset.chunks[0] if dataset.chunks else 1
    rows = chunk * max(1, (CHUNK * len(array)) // (array.nbytes * chunk))
    for first in range(0, len(array), rows):
        part = slice(first, min(first + rows, len(array)))
        dataset.read_direct(array, part, part)
        if array.dtype.kind == "f":
            finite = np.isfinite(array[part]).all(axis=tuple(range(1, array.ndim)))
            if not finite.all():
                found = f"image {first + int(np.argmin(finite))} of {dataset.name!r} has a NaN or infinite pixel"
                raise UserError(f"{file.filename}: {found}, expected finite float32 values")
    return array.reshape(len(array), -1)


def read_images(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the dataset ``images`` of `path`, (samples, inputs) uint8 or float32, each an image of `shape`."""
    with _open(path) as file:
        dataset = _image_dataset(file, "images")
        if dataset.shape[1:] not in (shape, (math.prod(shape),)):
            raise UserError(f"{path}: has images of shape {dataset.shape[1:]}, expected {shape}")
        return _read_images(file, dataset)
