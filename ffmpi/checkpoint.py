"""Checkpoints: HDF5 files keyed by layer, never by rank; written atomically, read as untrusted input.

The root has the attributes format, ffmpi (version), config (TOML), problem (JSON) and chapter (chapters done).
Group layers/K has weights (inputs, units) and bias (units,) float32, their moments weights_m, bias_m and, with Adam,
weights_v, bias_v of the same shapes, and steps, int64. Group head/K has the same for the head's block on layer K, and
classifiers/K for the classifier of layer K. negatives/C are the adaptive negatives for chapter C, (samples,) uint8.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from . import __version__
from .config import dump, parse
from .errors import Consequence, UserError
from .layer import Parameters
from .problem import Problem
from .tables import Config

FORMAT = 1
_MOST = 2**62  # of anything counted
_PROBLEM = ("shape", "names", "train", "digest")  # the fields that a checkpoint keeps of it
_OVERHEAD, _OVERHEAD_EACH = 1 << 17, 1 << 10  # bytes of HDF5's own: headers and attributes


def dtype_of(name: str) -> type:
    """Return the type of the array `name`: float32, but for the number of steps and for classes."""
    return np.int64 if name.endswith("steps") else np.uint8 if name.startswith("negatives/") else np.float32


def _reason(error: Exception) -> str:
    """Return one line: HDF5's own text holds line breaks, times and addresses."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split())


class Writer:
    """Writes a checkpoint beside the old one and puts it in its place in one step, so a kill at any moment is safe."""

    def __init__(self, path: Path, config: Config, problem: Problem, chapter: int) -> None:
        """Begin a checkpoint at `path` of a state in which `chapter` chapters are done."""
        self._path, self._partial = path, path.with_name(path.name + ".partial")
        self._file = self._guard(lambda: h5py.File(self._partial, "w", locking=False))
        attributes = {
            # Text of fixed length: reading HDF5's variable-length strings from a damaged file may never end.
            "format": FORMAT,
            "ffmpi": np.bytes_(__version__),
            "config": np.bytes_(dump(config).encode()),
            "problem": np.bytes_(json.dumps({name: getattr(problem, name) for name in _PROBLEM}).encode()),
            "chapter": chapter,
        }
        self._guard(lambda: self._file.attrs.update(attributes))

    def _guard(self, action: Any) -> Any:
        try:
            return action()
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{self._partial}: cannot write the checkpoint ({_reason(error)}); the previous one is intact"
            ) from None

    def create(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Make room for the arrays of these names and shapes: on a full disk this fails, and nothing after it."""

        def make_room() -> None:
            for name, shape in shapes.items():
                self._file.create_dataset(name, shape, dtype_of(name))
            size = sum(math.prod(shape) * np.dtype(dtype_of(name)).itemsize for name, shape in shapes.items())
            # HDF5 may crash where a disk fills up under it, so the operating system is asked first.
            with open(self._partial, "rb+") as file:
                os.posix_fallocate(file.fileno(), 0, size + _OVERHEAD + _OVERHEAD_EACH * len(shapes))

        self._guard(make_room)

    def write(self, name: str, array: np.ndarray, part: slice | tuple[()] = ()) -> None:
        """Write an array that there is room for, or the rows of it in `part`; UserError if it has diverged."""
        if not np.isfinite(array).all():
            raise Consequence(
                f"{self._partial}: {name} is no longer finite, so it is not saved; the previous checkpoint is intact, "
                "expected a lower optimizer.rate"
            )
        self._guard(lambda: self._file[name].__setitem__(part, array))

    def commit(self) -> None:
        """Make what was written the checkpoint: on the disk first, then under its name."""

        def replace() -> None:
            self._file.close()
            with open(self._partial, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(self._partial, self._path)
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

        self._guard(replace)


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself."""

    config: Config
    shape: tuple[int, ...]  # of an image
    names: tuple[str, ...]  # of the classes
    train: int  # samples it was trained on
    digest: int  # CRC-32 of them
    chapter: int  # chapters done
    version: str  # of ffmpi


class Reader:
    """Reads a checkpoint; every method raises UserError for a file that is not what it should be."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self._file = path, file
        self.header = self._header()

    def _fail(self, found: str, expected: str) -> UserError:
        return UserError(f"{self.path}: {found}; expected {expected}")

    def _number(self, name: str) -> int:
        return int(self._attribute(name, "i"))

    def _text(self, name: str) -> str:
        try:
            return bytes(self._attribute(name, "S")).decode()
        except UnicodeDecodeError:
            raise self._fail(f"attribute {name!r} is not text", "UTF-8") from None

    def _attribute(self, name: str, kind: str) -> Any:
        """Return a scalar attribute of NumPy kind `kind`, looking at its type before its value is read."""
        try:
            attribute = h5py.h5a.open(self._file.id, name.encode())
            if attribute.shape == () and attribute.dtype.kind == kind:
                return self._file.attrs[name]
        except (KeyError, OSError, RuntimeError, TypeError, ValueError):
            pass
        raise self._fail(f"no readable attribute {name!r}", "an ffmpi checkpoint")

    def _header(self) -> Header:
        if (number := self._number("format")) != FORMAT:
            raise self._fail(f"checkpoint format {number}", f"format {FORMAT}, as written by ffmpi {__version__}")
        config = parse(self._text("config"), f"{self.path} (attribute config)", [])
        try:
            problem = json.loads(self._text("problem"))
            shape, names = tuple(map(int, problem["shape"])), tuple(map(str, problem["names"]))
            train, digest = int(problem["train"]), int(problem["digest"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise self._fail(
                "attribute 'problem' cannot be read", "image shape, class names and sample count"
            ) from None
        chapter = self._number("chapter")
        if (
            min(shape, default=0) < 1
            or not 2 <= len(names) <= 256
            or not 1 <= train <= _MOST
            or not 0 <= chapter <= config.chapters
        ):
            raise self._fail("impossible sizes in the header", "positive sizes, 2 to 256 classes, a chapter of the run")
        return Header(config, shape, names, train, digest, chapter, self._text("ffmpi"))

    def array(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Return the array `name`, which must have `shape` and `dtype`, lie in this file, and be finite."""
        expected = f"{np.dtype(dtype).name} {shape}"
        try:
            group: Any = self._file
            for part in name.split("/"):
                # Links may lead into other files, virtual and external data sets read from them.
                link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
                if not isinstance(link, h5py.HardLink):
                    raise self._fail(f"no data set {name!r}", f"{expected} stored in the file")
                group = group[part]
            if not isinstance(group, h5py.Dataset) or group.is_virtual or group.external:
                raise self._fail(f"{name!r} is not a plain data set", f"{expected} stored in the file")
            if group.shape != shape or group.dtype != dtype:
                raise self._fail(f"{name!r} is {group.dtype} {group.shape}", expected)
            value = group[()]
        except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
            raise self._fail(f"{name!r} cannot be read ({_reason(error)})", expected) from None
        if not np.isfinite(value).all():
            raise self._fail(f"{name!r} holds a value that is not finite", f"finite {expected}")
        return np.asarray(value)

    def load(self, name: str, parameters: Parameters) -> None:
        """Fill `parameters` from the group `name`."""
        config = self.header.config
        optimizer = config.optimizer if name.startswith("layers") else config.head.optimizer
        for array_name, shape in Parameters.shapes_of(parameters.inputs, parameters.units, optimizer).items():
            value = self.array(f"{name}/{array_name}", shape, dtype_of(array_name))
            if array_name in ("steps", "weights_v", "bias_v") and (value < 0).any():
                raise self._fail(f"'{name}/{array_name}' holds a negative number", "a count, or mean squares")
            if array_name == "steps" and value > _MOST:
                raise self._fail(f"'{name}/steps' is {value}", f"at most {_MOST}")
            parameters.set_array(array_name, value)

    def choices(self, classes: np.ndarray) -> dict[int, np.ndarray]:
        """Return the adaptive negatives of samples of `classes` by chapter, (samples,) uint8."""
        header, negatives = self.header, self.header.config.negatives
        found: dict[int, np.ndarray] = {}
        if negatives.kind != "adaptive" or negatives.redraw == "batch":
            return found
        last = min(header.chapter + negatives.lag, header.config.chapters)
        for chapter in range(max(header.chapter, negatives.lag), last):
            name = f"negatives/{chapter}"
            chosen = self.array(name, (header.train,), np.uint8)
            if (chosen >= len(header.names)).any() or (chosen == classes).any():
                raise self._fail(f"{name!r} holds a class that cannot be", "wrong classes below the number of classes")
            found[chapter] = chosen
        return found


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open the checkpoint at `path`."""
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        reason = "no such file" if not os.path.exists(path) else _reason(error)
        raise UserError(f"{path}: cannot be opened ({reason}); expected an ffmpi checkpoint (HDF5)") from None
    with file:
        yield Reader(path, file)
