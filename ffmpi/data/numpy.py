"""A user's own images in NumPy's files: an archive, .npz, or a directory of .npy."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np

from ..errors import UserError
from . import arrays
from .files import fill, reading
from .format import Format
from .kinds import NPY, NPZ, expect, listing
from .known import USUAL, DataSet, Fields
from .names import names_of
from .numpy_contents import PATH, UNREADABLE, Archive, Directory, NumpyArray, Store
from .streamed import Images

#: Names of images and labels that need not be told.
_NAMES = (
    Fields("x_{split}", "y_{split}"),
    Fields("X_{split}", "y_{split}"),
    Fields("{split}_images", "{split}_labels"),
    Fields("images_{split}", "labels_{split}"),
    Fields("{split}_x", "{split}_y"),
    Fields("{split}_X", "{split}_y"),
    Fields("{split}_data", "{split}_labels"),
)


class _Rows:
    """Images in an array that stays open, see `streamed.Source`; in an archive only reading on is fast."""

    def __init__(self, array: arrays.Array) -> None:
        array = cast(NumpyArray, array)
        self._array = array
        self.at_once = 1 << 62 if array.fortran else 1  # else each image is in pieces all over the file
        self._stream = cast(BufferedIOBase, array.store.stream(array.member))
        self.where = f"{array.store.where}: {array.name!r}"
        self.shape, self.dtype = array.shape, np.dtype(np.uint8 if array.dtype.kind == "u" else np.float32)

    def read_rows(self, first: int, out: np.ndarray) -> None:
        """Read the images from number `first` on into `out`."""
        array, path = self._array, self._array.store.where
        block = out if out.dtype == array.dtype else np.empty(out.shape, array.dtype)
        with reading(path, PATH, UNREADABLE):
            self._stream.seek(array.start + first * (block.nbytes // len(block)))
            if fill(self._stream, block.reshape(-1).view(np.uint8)) < block.nbytes:
                raise UserError(f"{path}: {array.name!r} is truncated, expected the whole: copy it again")
            if first + len(out) == self.shape[0]:
                self._stream.read(1)  # checks the checksum of an archive's member
        if block is not out:
            with np.errstate(over="ignore", invalid="ignore"):  # what is too large is found as infinite
                out[...] = block


def _store(path: Path, expected: str = PATH) -> Store:
    """Open an archive or a directory. Raises UserError, or one of UNREADABLE."""
    if path.is_dir():
        store = Directory(path)
        if not store.members:
            raise UserError(f"{path}: holds no .npy file; it {listing(path)}, expected {expected}")
        return store
    expect(path, expected, NPZ)
    try:
        return Archive(path, zipfile.ZipFile(path))
    except zipfile.BadZipFile:
        raise UserError(f"{path}: is truncated or damaged, expected the whole file: copy it again") from None


@contextmanager
def _open(path: Path, expected: str = PATH) -> Iterator[Store]:
    with reading(path, expected, UNREADABLE), closing(_store(path, expected)) as store:
        yield store


def _named(store: Store, fields: Fields) -> Fields:
    """Return the names of images and labels: those given or, if these are the usual ones, what else is usual."""
    if (fields.images, fields.labels) == (USUAL.images, USUAL.labels):
        for usual in _NAMES:
            if any(all(map(store.exists, usual.names(split))) for split in ("train", "test")):
                return replace(usual, weights=fields.weights)
    return fields


class Numpy(Format):
    """A user's own images in an .npz file or a directory of .npy files."""

    own = True
    reads = ("images", "labels", "weights")
    kinds = (NPZ, NPY)
    holds = (
        (r".*\.npy$", "NumPy files, which data.name = 'numpy' reads, the directory given as the path"),
        (r".*\.npz$", "which data.name = 'numpy' reads, one file given as the path"),
    )

    def load(self, path: Path, split: str, images: bool, fields: Fields) -> DataSet:
        """Read a split's arrays; both splits' labels decide the number of classes."""
        with _open(path) as store:
            return arrays.load(store, split, images, _named(store, fields))

    def stream(self, path: Path, split: str, fields: Fields) -> DataSet:
        """Read a split's labels and leave its images in the file, which stays open."""
        with reading(path, PATH, UNREADABLE):
            store = _store(path)
            named = _named(store, fields)
            images, _ = named.names(split)
            if images in store.members and store.open(images).fortran:  # each image is in pieces all over the file
                return arrays.load(store, split, True, named)
            return arrays.load(store, split, True, named, _Rows)

    def splits(self, path: Path, fields: Fields) -> tuple[str, ...]:
        """Return which splits there are."""
        with _open(path) as store:
            return tuple(dict.fromkeys(["train", *names_of(store, _named(store, fields))]))

    def images_of(
        self, path: Path, kind: str, shape: tuple[int, ...], sources: Sequence[str]
    ) -> tuple[Images, Sequence[str]]:  # fmt: skip
        """Return the images in an .npy file, or in the first array of an archive that is called as one of `sources`."""
        if kind == NPY:
            with reading(path, "a NumPy file of images", UNREADABLE):
                return arrays.stream_images(Directory(path, path), shape, ["images"], _Rows)
        expected = "a NumPy archive of images"
        with reading(path, expected, UNREADABLE):
            store = _store(path, expected)
            usual = [name for fields in _NAMES if store.exists(name := fields.names("test")[0])]
            return arrays.stream_images(store, shape, [*filter(store.exists, sources), *usual] or sources, _Rows)


FORMAT = Numpy("numpy", "your own images, in NumPy's .npz or .npy", PATH)
