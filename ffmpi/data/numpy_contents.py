"""NumPy arrays in a user's files, an archive .npz or a directory of .npy: by name, read without running anything."""

from __future__ import annotations

import math
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.lib import format as npy

from ..errors import UserError
from . import arrays
from .files import CHUNK, DAMAGE, DEFLATE, fill, reading
from .labels import LONGEST_NAME, MOST_CLASSES

PATH = (
    "a .npz file with x_train, y_train, x_test and y_test (or train_images, train_labels and so on), or a directory "
    "with .npy files of these names"
)
UNREADABLE = (*DAMAGE, KeyError, NotImplementedError, RuntimeError, ValueError, zipfile.BadZipFile)
_MOST, _DEEPEST = 200, 2  # arrays that are looked at for a sentence, and directories between one and the given one


def _kind_of(dtype: np.dtype) -> str:
    """Return what one would call the elements of an array."""
    if dtype.hasobject:
        return "Python objects, which are not read since they can run any program"
    return "text" if dtype.kind in "US" else "records" if dtype.names else str(dtype)


@dataclass
class NumpyArray:
    """An array of which the header has been read.

    store, member : where it is
    start : bytes of the header
    """

    store: Store
    member: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int

    @property
    def kind(self) -> str:
        """The type of its elements as one would call it."""
        return _kind_of(self.dtype)

    def read(self) -> np.ndarray:
        """Return all of it."""
        whole = np.empty(self.shape[::-1] if self.fortran else self.shape, self.dtype)
        for _ in self._read_into(whole, CHUNK):
            pass
        return whole.T if self.fortran else whole

    def read_into(self, array: np.ndarray) -> Iterator[slice]:
        """Read all of it into `array`, of the same shape and perhaps another type; yield the rows that are done."""
        if self.fortran:
            with np.errstate(over="ignore", invalid="ignore"):
                array[...] = self.read()
            yield slice(0, len(array))
        else:
            yield from self._read_into(array, CHUNK)

    def _read_into(self, array: np.ndarray, chunk: int) -> Iterator[slice]:
        rows = max(1, chunk * len(array) // array.nbytes)
        buffer = None if array.dtype == self.dtype else np.empty((rows, *array.shape[1:]), self.dtype)
        with closing(self.store.stream(self.member)) as stream:
            stream.read(self.start)
            for first in range(0, len(array), rows):
                part = slice(first, min(first + rows, len(array)))
                block = array[part] if buffer is None else buffer[: part.stop - first]
                if fill(cast(BufferedIOBase, stream), block.reshape(-1).view(np.uint8)) < block.nbytes:
                    raise UserError(
                        f"{self.store.where}: {self.name!r} is truncated, expected the whole: copy it again"
                    )
                if buffer is not None:
                    with np.errstate(over="ignore", invalid="ignore"):  # what is too large is found as infinite
                        array[part] = block
                yield part
            stream.read(1)  # checks the checksum of an archive's member


class Store(ABC):
    """NumPy arrays by their names, which are those of the files or members without .npy."""

    expected = PATH

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.members: dict[str, str] = {}  # by name

    @abstractmethod
    def stream(self, member: str) -> IO[bytes]:
        """Return the bytes of a member."""

    @abstractmethod
    def sizes(self, member: str) -> tuple[int, int]:
        """Return the bytes that a member has, and those that are stored of it."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is open."""

    def exists(self, name: str) -> bool:
        """Return whether there is an array called `name`, or in a directory of that name."""
        return any(member == name or member.startswith(f"{name}/") for member in self.members)

    def open(self, name: str) -> NumpyArray:
        """Return the array `name`. Raises UserError if it is not there, empty, or larger than its file."""
        if name not in self.members:
            raise UserError(f"{self.where}: has no array {name!r}{arrays.instead(self)}")
        array = self._header(name)
        size = math.prod(array.shape) * array.dtype.itemsize
        there, stored = self.sizes(array.member)
        if array.dtype.hasobject:
            raise UserError(f"{self.where}: {name!r} is an array of {array.kind}; expected an array of numbers")
        if min(array.shape, default=1) < 0 or size == 0:
            raise UserError(f"{self.where}: {name!r} is empty, expected at least one sample")
        if size > there - array.start or there > DEFLATE * stored + CHUNK:
            found = f"{there - array.start} of {size} bytes are there"
            raise UserError(f"{self.where}: {name!r} is truncated, {found}; expected the whole: copy it again")
        return array

    def _header(self, name: str) -> NumpyArray:
        """Read the header of an array; nothing of it is executed."""
        member = self.members[name]
        where, expected = f"{self.where}: {name!r}", "an array in NumPy's format"
        with reading(where, expected, UNREADABLE), closing(self.stream(member)) as stream:
            version = npy.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version[0]}.{version[1]} of the format")
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(stream)
            return NumpyArray(self, member, name, shape, dtype, fortran and len(shape) > 1, stream.tell())

    def arrays(self) -> dict[str, arrays.Array]:
        """Return the first arrays by name; those that cannot be read are left out."""
        found: dict[str, arrays.Array] = {}
        for name in sorted(self.members)[:_MOST]:
            try:
                found[name] = self._header(name)
            except UserError:
                continue
        return found

    def class_names(self) -> tuple[str, ...]:
        """Return the texts in the array ``class_names``, if it is there."""
        if "class_names" not in self.members:
            return ()
        array = self.open("class_names")
        wanted = f"2 to {MOST_CLASSES} strings, at most {LONGEST_NAME} characters each"
        if array.dtype.kind not in "US" or len(array.shape) != 1 or not 2 <= array.shape[0] <= MOST_CLASSES:
            raise UserError(f"{self.where}: 'class_names' is {array.kind} of shape {array.shape}, expected {wanted}")
        texts = array.read()
        names = tuple(np.char.decode(texts, "utf-8").tolist() if texts.dtype.kind == "S" else texts.tolist())
        if not all(name.isprintable() and len(name) <= LONGEST_NAME for name in names):
            raise UserError(f"{self.where}: 'class_names' has unprintable or long names, expected {wanted}")
        return names


class Archive(Store):
    """An .npz file."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        super().__init__(path)
        self._archive = archive
        self.members = {
            info.filename.removesuffix(".npy"): info.filename
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()

    def stream(self, member: str) -> IO[bytes]:
        """Return the unpacked bytes of a member."""
        return self._archive.open(member)

    def sizes(self, member: str) -> tuple[int, int]:
        """Return a member's bytes, unpacked and packed."""
        info = self._archive.getinfo(member)
        return info.file_size, info.compress_size


class Directory(Store):
    """A directory of .npy files, or a single one of them, called `images`."""

    def __init__(self, path: Path, file: Path | None = None) -> None:
        super().__init__(path)
        if file:
            self.members = {"images": str(file)}
        for folder, folders, files in os.walk(path) if not file else ():
            inner = Path(folder).relative_to(path)
            folders[:] = sorted(name for name in folders if name[0] != "." and len(inner.parts) + 1 < _DEEPEST)
            for name in sorted(files):
                if name.endswith(".npy") and name[0] != ".":
                    self.members[str(inner / name).removesuffix(".npy")] = str(Path(folder, name))

    def close(self) -> None:
        """Nothing is open."""

    def stream(self, member: str) -> IO[bytes]:
        """Open a file."""
        return open(member, "rb")

    def sizes(self, member: str) -> tuple[int, int]:
        """Return a file's bytes."""
        return os.path.getsize(member), os.path.getsize(member)
