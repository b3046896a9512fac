"""A user's own images, from an HDF5 file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import h5py
import numpy as np

from ..errors import UserError
from . import arrays
from .files import CHUNK, DAMAGE, reading
from .format import Format
from .hdf5_contents import contents, dataset, exists, kind_of, read_class_names
from .kinds import HDF5, expect
from .known import DataSet, Fields
from .names import names_of
from .streamed import LARGEST_CHUNK, Images

PATH = "an HDF5 file with groups train and test, each with images and labels"
#: Bytes of chunks that HDF5 keeps, since the next images may be in them, too; and a prime number of places for them.
_CHUNK_CACHE, _CHUNK_SLOTS = LARGEST_CHUNK, 10007
_DAMAGE = (*DAMAGE, KeyError, RuntimeError, TypeError, ValueError)  # h5py's ways to say that a file is broken


class _Array:
    """A data set of numbers or of anything else."""

    def __init__(self, name: str, node: h5py.Dataset) -> None:
        self.name, self.node = name, node
        self.shape, self.dtype, self.kind = node.shape or (), node.dtype, kind_of(node)

    def read(self) -> np.ndarray:
        """Return all of it."""
        return np.asarray(self.node[()])

    def read_into(self, array: np.ndarray) -> Iterator[slice]:
        """Read all of it into `array`, in slices of whole HDF5 chunks; yield the rows that are done."""
        chunk = self.node.chunks[0] if self.node.chunks else 1
        rows = chunk * max(1, (CHUNK * len(array)) // (array.nbytes * chunk))
        for first in range(0, len(array), rows):
            part = slice(first, min(first + rows, len(array)))
            self.node.read_direct(array, part, part)
            yield part


class _Rows:
    """Images in a file that stays open, see `streamed.Source`."""

    def __init__(self, file: h5py.File, array: _Array) -> None:
        self._file, self._path, node = file, file.filename, array.node  # without `file` it would be closed
        self.where = f"{self._path}: {array.name!r}"
        self.shape, self.dtype = array.shape, np.dtype(np.uint8 if array.dtype.kind == "u" else np.float32)
        self.at_once = math.prod(node.chunks) * array.dtype.itemsize if node.chunks else 1
        self._id, self._space, self._memory = node.id, node.id.get_space(), h5py.h5s.create_simple(self.shape)

    def read_rows(self, first: int, out: np.ndarray) -> None:
        """Read the images from number `first` on into `out`; h5py's own calls, since its slices take 80 us more."""
        with reading(self._path, PATH, _DAMAGE):
            self._space.select_hyperslab((first, *(0 for _ in self.shape[1:])), out.shape)
            if self._memory.shape != out.shape:
                self._memory = h5py.h5s.create_simple(out.shape)
            self._id.read(self._memory, self._space, out)


class _Store:
    """An open HDF5 file as a store of arrays."""

    expected = PATH

    def __init__(self, file: h5py.File) -> None:
        self._file, self.where = file, file.filename

    def exists(self, name: str) -> bool:
        """Return whether there is a group or data set called `name`, or a link."""
        return exists(self._file, name)

    def open(self, name: str) -> _Array:
        """Return the data set `name`, which is to lie in this file."""
        if self.exists(name):
            return _Array(name, dataset(self._file, name))
        if {"format", "ffmpi", "chapter"} <= set(self._file.attrs):
            instead = f"; it is a checkpoint of ffmpi's, expected {PATH}"
        else:
            instead = arrays.instead(self)
        raise UserError(f"{self.where}: has no data set {name!r}{instead}")

    def arrays(self) -> dict[str, arrays.Array]:
        """Return the first data sets by name."""
        return {name: _Array(name, node) for name, node in contents(self._file).items()}

    def class_names(self) -> tuple[str, ...]:
        """Return what the root's attributes say of the classes."""
        return read_class_names(self._file)


def _file(path: Path) -> h5py.File:
    """Open a file. Raises UserError, or one of _DAMAGE."""
    if not h5py.is_hdf5(path):  # also finds what begins after a long user block
        expect(path, PATH, HDF5)
    # Without "best-effort" a read-only file system, or one without locks, cannot be read from.
    try:
        return h5py.File(
            path, "r", locking="best-effort", rdcc_nbytes=_CHUNK_CACHE, rdcc_nslots=_CHUNK_SLOTS, rdcc_w0=1.0
        )
    except OSError as error:
        sizes = re.search(r"truncated file: eof = (\d+),.* stored_eof = (\d+)", str(error))
        if not sizes:
            raise
        found = f"{sizes[1]} of {sizes[2]} bytes are there"
        raise UserError(f"{path}: is truncated, {found}; expected the whole file: copy it again") from None


@contextmanager
def _open(path: Path) -> Iterator[_Store]:
    with reading(path, PATH, _DAMAGE), _file(path) as file:
        yield _Store(file)


class Hdf5(Format):
    """A user's own images in an HDF5 file."""

    own = True
    streams = True
    reads = ("images", "labels", "weights")
    kinds = (HDF5,)
    holds = ((r".*\.(h5|hdf5|he5)$", "which data.name = 'hdf5' reads, one file given as the path"),)

    def load(self, path: Path, split: str, images: bool, fields: Fields) -> DataSet:
        """Read groups train and test, or the root as train; both splits' labels decide the number of classes."""
        with _open(path) as store:
            return arrays.load(store, split, images, fields)

    def stream(self, path: Path, split: str, fields: Fields) -> DataSet:
        """Read a split's labels and leave its images in the file, which stays open."""
        with reading(path, PATH, _DAMAGE):
            file = _file(path)
            return arrays.load(_Store(file), split, True, fields, lambda array: _Rows(file, cast(_Array, array)))

    def splits(self, path: Path, fields: Fields) -> tuple[str, ...]:
        """Return which splits the file holds."""
        with _open(path) as store:
            return tuple(dict.fromkeys(["train", *names_of(store, fields)]))

    def images_of(
        self, path: Path, kind: str, shape: tuple[int, ...], sources: Sequence[str]
    ) -> tuple[Images, Sequence[str]]:  # fmt: skip
        """Return the images in the first of the data sets `sources` that is there, named by index."""
        with reading(path, PATH, _DAMAGE):
            file = _file(path)
            return arrays.stream_images(_Store(file), shape, sources, lambda array: _Rows(file, cast(_Array, array)))


FORMAT = Hdf5("hdf5", "your own images, in HDF5", PATH)
