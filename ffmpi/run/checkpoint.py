"""Checkpoints: HDF5 files keyed by layer, never by rank; written atomically, read as untrusted input.

What is in them is told in `header`.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import msgspec
import numpy as np

from .. import __version__
from ..config.aliases import array_name
from ..config.read import dump, parse
from ..config.schema import Config
from ..data.kinds import HDF5, expect
from ..data.scaling import PixelScaling
from ..errors import Consequence, UserError, why_missing
from .durable import keep, sync, sync_directory
from .header import FORMAT, MOST, DatasetText, Header, dtype_of, header_checksum, identity
from .untrusted import attribute, fail, reason, stored_array

if TYPE_CHECKING:  # they import kernels, which those who describe a checkpoint do without
    from ..data.info import DatasetInfo
    from ..network.parameters import Parameters

_OVERHEAD, _OVERHEAD_EACH = 1 << 17, 1 << 10  # bytes of HDF5's own: headers and attributes


def copy(source: Path, place: Path) -> None:
    """Copy a checkpoint in one step. Raises UserError if it is none, or where the copy cannot be written."""
    with reading(source) as reader:
        reader.check()
    partial = place.with_name(place.name + ".partial")
    try:
        shutil.copyfile(source, partial)
        os.replace(partial, place)
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror or error})") from None


class Writer:
    """Writes a checkpoint beside the old one and puts it in its place in one step, so a kill at any moment is safe."""

    def __init__(
        self, path: Path, config: Config, dataset: DatasetInfo, chapter: int, before: str = "", copy: Path | None = None
    ) -> None:  # fmt: skip
        """Begin a checkpoint at `path` of a state in which `chapter` chapters are done.

        `before` is the id of the checkpoint that it is to replace, if there is one that has an id; `copy` is where it
        is to be kept, too.
        """
        self._copy = copy
        self._path, self._partial, self._before = path, path.with_name(path.name + ".partial"), before
        self._file = self._guard(self._open)
        fields = {name: getattr(dataset, name) for name in DatasetText.__struct_fields__}
        self._texts = {"config": dump(config), "problem": msgspec.json.encode(fields).decode()}
        self.id, self._chapter, self._statistics = secrets.token_hex(8), chapter, dataset.statistics
        self._classes = dataset.classes
        self._checksums: dict[str, int] = {}
        self._left: dict[str, int] = {}  # rows of each array that have not been written

    def _open(self) -> h5py.File:
        with suppress(FileNotFoundError):
            os.unlink(self._partial)  # if another ffmpi is writing there, then to a file of its own
        # From this version on HDF5 has checksums of its own, for what says where arrays lie.
        return h5py.File(self._partial, "w", libver=("v108", "latest"), locking=False)

    def _guard(self, action: Any) -> Any:
        try:
            return action()
        except (OSError, RuntimeError) as error:
            there = self._path.parent.is_dir()
            why = reason(error) if there else "its directory was deleted, or moved away, while the run wrote there"
            rest = "; the previous one is intact" if there else ", so the run ends"
            raise UserError(f"{self._partial}: cannot write the checkpoint ({why}){rest}") from None

    def _dtype(self, name: str) -> type:
        return dtype_of(name, self._classes)

    def create(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Make room for the arrays of these names and shapes: on a full disk this fails, and nothing after it."""
        shapes = shapes | {name: array.shape for name, array in self._statistics.items()}
        self._left = {name: shape[0] if shape else 1 for name, shape in shapes.items()}

        def make_room() -> None:
            for name, shape in shapes.items():
                self._file.create_dataset(name, shape, self._dtype(name))
            size = sum(math.prod(shape) * np.dtype(self._dtype(name)).itemsize for name, shape in shapes.items())
            size += sum(len(text.encode()) for text in self._texts.values()) + sum(len(name) for name in shapes)
            # HDF5 may crash where a disk fills up under it, so the operating system is asked first.
            with open(self._partial, "rb+") as file:
                os.posix_fallocate(file.fileno(), 0, size + _OVERHEAD + _OVERHEAD_EACH * len(shapes))

        self._guard(make_room)
        for name, array in self._statistics.items():
            self.write(name, array)

    def write(self, name: str, array: np.ndarray, part: slice | tuple[()] = ()) -> None:
        """Write an array that there is room for, or the next rows of it, in `part`; UserError if it has diverged."""
        if not np.isfinite(array).all():
            raise Consequence(
                f"{self._partial}: {name} is no longer finite, so it is not saved; the previous checkpoint is intact, "
                "expected a lower optimizer.learning_rate"
            )
        rows = len(array) if array.ndim else 1
        done = self._file[name].shape[0] - self._left[name] if array.ndim else 0
        assert isinstance(part, tuple) or (part.start, part.stop) == (done, done + rows), "parts come in order"
        self._left[name] -= rows
        self._checksums[name] = zlib.crc32(
            np.ascontiguousarray(array, self._dtype(name)).reshape(-1).data, self._checksums.get(name, 0)
        )
        self._guard(lambda: self._file[name].__setitem__(part, array))

    def _write_header(self) -> None:
        """Write what the file says of itself, in text of fixed length.

        Reading HDF5's variable-length strings from a damaged file may never end.
        """
        texts = self._texts | {"checksums": json.dumps(self._checksums)}
        for name, text in texts.items():
            encoded = text.encode()
            self._file.create_dataset(
                f"header/{name}", data=encoded, dtype=h5py.string_dtype("utf-8", max(1, len(encoded)))
            )
        attributes = {
            "format": FORMAT,
            "ffmpi": np.bytes_(__version__),
            "id": np.bytes_(self.id),
            "chapter": self._chapter,
            "checksum": header_checksum(FORMAT, __version__, self.id, self._chapter, texts),
        }
        self._file.attrs.update(attributes)

    def commit(self) -> None:
        """Make what was written the checkpoint: on the disk first, then under its name."""
        assert not any(self._left.values()), "an array of which rows are missing"

        def replace() -> None:
            self._write_header()
            self._file.close()
            # Locks, where there are any, exclude this; ids do, too, where nobody has locks.
            if identity(self._partial) != self.id or identity(self._path) not in ("", self._before):
                raise UserError(
                    f"{self._path}: another ffmpi writes here, too, so this one ends; what the other saves stays"
                )
            with open(self._partial, "rb+") as file:
                sync(file.fileno())
            if self._copy:
                keep(self._partial, self._copy)
            os.replace(self._partial, self._path)
            sync_directory(self._path.parent)

        self._guard(replace)


class Reader:
    """Reads a checkpoint; every method raises UserError for a file that is not what it should be."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self._file = path, file
        self._checksums: dict[str, int] | None = None  # by the name of an array; format 1 has none
        self.header = self._header()

    def _fail(self, found: str, expected: str) -> UserError:
        return fail(self._file, found, expected)

    def _decode(self, name: str, value: Any) -> str:
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise self._fail(f"{name!r} is not text", "UTF-8") from None

    def _text(self, name: str) -> str:
        return self._decode(name, attribute(self._file, name, "S"))

    def _parse(self, name: str, text: str, kind: Any) -> Any:
        try:
            return msgspec.json.decode(text, type=kind)
        except (ValueError, RecursionError) as error:
            raise self._fail(f"{name!r} cannot be read ({reason(error)})", "an ffmpi checkpoint") from None

    def _header(self) -> Header:
        if (number := int(attribute(self._file, "format", "iu"))) not in range(1, FORMAT + 1):
            raise self._fail(
                f"checkpoint format {number}", f"format 1 to {FORMAT}, as written by ffmpi up to {__version__}"
            )
        self._format = number
        version, chapter, identity = self._text("ffmpi"), int(attribute(self._file, "chapter", "iu")), ""
        if number == 1:
            texts = {name: self._text(name) for name in ("config", "problem")}
        else:
            identity = self._text("id")
            names = [f"header/{name}" for name in ("config", "problem", "checksums")]
            texts = {name[7:]: self._decode(name, stored_array(self._file, name, (), None)) for name in names}
            checksum = int(attribute(self._file, "checksum", "iu"))
            if header_checksum(number, version, identity, chapter, texts) != checksum:
                raise self._fail("damaged: the header does not agree with its checksum", "the file as it was written")
            self._checksums = self._parse("checksums", texts["checksums"], dict[str, int])
        config = parse(texts["config"], f"{self.path} (its configuration)", [])
        dataset = self._parse("problem", texts["problem"], DatasetText)
        self._classes = len(dataset.names)
        if not 0 <= chapter <= config.chapters:
            raise self._fail(f"{chapter} chapters done", f"a chapter of the run, which has {config.chapters}")
        return Header(
            config, **msgspec.structs.asdict(dataset), chapter=chapter, version=version, id=identity,
            scaling=self._scaling(config, math.prod(dataset.shape)),
        )  # fmt: skip

    def _scaling(self, config: Config, pixels: int) -> PixelScaling | None:
        if config.data.standardise == "fixed":
            return None
        arrays = {name: self._read(name, None) for name in self._others() if name.startswith("inputs/")}
        try:
            return PixelScaling.restored(arrays, pixels)
        except ValueError as error:
            raise self._fail(str(error), f"one number, or one for each of {pixels} pixels") from None

    def _others(self) -> list[str]:
        """Return the names of the arrays that are no layer's and no classifier's."""
        return [name for name in self._checksums or () if not name.startswith(("layers/", "head/", "classifiers/"))]

    def check(self, others: bool = False) -> None:
        """Compare every array with its checksum, if the file has checksums, or those that `load` does not read."""
        for name in self._others() if others else self._checksums or ():
            self._read(name, None)

    def _read(self, name: str, shape: tuple[int, ...] | None) -> np.ndarray:
        value: np.ndarray = stored_array(self._file, name, shape, dtype_of(name, self._classes))
        if self._checksums is not None and zlib.crc32(value.reshape(-1).data) != self._checksums.get(name):
            raise self._fail(f"damaged: {name!r} does not agree with its checksum", "the file as it was written")
        if not np.isfinite(value).all():
            raise self._fail(f"{name!r} holds a value that is not finite", "finite ones")
        return value

    def array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return the array `name`, which must have `shape` and its type, lie in this file, be undamaged and finite."""
        return self._read(name, shape)

    def load(self, name: str, parameters: Parameters) -> None:
        """Fill `parameters`, which are called `name`: where they do not learn nothing else is read of their block."""
        for array in parameters.held:
            value = self._array_of(name, array.name, array.shape)
            if array.nonnegative and (value < 0).any():
                raise self._fail(f"'{name}/{array.name}' holds a negative number", "none below 0")
            parameters.set_array(array.name, value)
        if parameters.learns and parameters.block.optimizer is not None:
            steps = int(self._array_of(name, "steps", ()))
            if not 0 <= steps <= MOST:
                raise self._fail(f"'{name}/steps' is {steps}", f"a count, at most {MOST}")
            parameters.steps = steps

    def _array_of(self, name: str, array: str, shape: tuple[int, ...]) -> np.ndarray:
        return self.array(array_name(f"{name}/{array}", self._format), shape)

    def choices(self, classes: np.ndarray) -> dict[int, np.ndarray]:
        """Return the adaptive negatives of samples of `classes` by chapter, (samples,) of `class_type`."""
        header, negatives = self.header, self.header.config.negatives
        found: dict[int, np.ndarray] = {}
        if not negatives.adaptive or negatives.resample == "batch":
            return found
        last = min(header.chapter + negatives.lag, header.config.chapters)
        for chapter in range(max(header.chapter, negatives.lag), last):
            name = f"negatives/{chapter}"
            chosen = self.array(name, (header.train,))
            if (chosen >= len(header.names)).any() or (chosen == classes).any():
                raise self._fail(f"{name!r} holds a class that cannot be", "wrong classes below the number of classes")
            found[chapter] = chosen
        return found


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open the checkpoint at `path`."""
    if os.path.isfile(path) and not h5py.is_hdf5(path):
        expect(path, "an ffmpi checkpoint (HDF5)", HDF5)
    try:
        file = h5py.File(path, "r", locking=False)
    except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
        why = why_missing(path) or reason(error)
        raise UserError(f"{path}: cannot be opened ({why}); expected an ffmpi checkpoint (HDF5)") from None
    with file:
        yield Reader(path, file)
