"""Checkpoints: HDF5 files keyed by layer, never by rank; read as untrusted input.

What is in them is told in `header`; `writer` makes them.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import msgspec
import numpy as np

from .. import __version__
from ..config.aliases import array_name
from ..config.read import parse
from ..config.schema import Config
from ..data.kinds import HDF5, expect
from ..data.scaling import PixelScaling
from ..errors import UserError, why_missing
from .checksums import ByPanel, Checksum, crc, panel_crcs, panels_in, panels_of, parts_of
from .header import FORMAT, MOST, DatasetText, Header, dtype_of, header_checksum
from .untrusted import attribute, fail, reason, stored_array

if TYPE_CHECKING:  # they import kernels, which those who describe a checkpoint do without
    from ..network.parameters import Parameters

_AT_ONCE = 1 << 22  # numbers that are read at once


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


class Reader:
    """Reads a checkpoint; every method raises UserError for a file that is not what it should be."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self._file = path, file
        self._checksums: dict[str, Checksum] | None = None  # by the name of an array; format 1 has none
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
            self._checksums = self._parse("checksums", texts["checksums"], dict[str, Checksum])
        config = parse(texts["config"], f"{self.path} (its configuration)", [])
        dataset = self._parse("problem", texts["problem"], DatasetText)
        self._classes = len(dataset.names)
        if not 0 <= chapter <= config.chapters:
            raise self._fail(f"{chapter} chapters done", f"a chapter of the run, which has {config.chapters}")
        return Header(
            config, **msgspec.structs.asdict(dataset), chapter=chapter, version=version, id=identity,
            scaling=self._scaling(config, math.prod(dataset.shape)), format=number,
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

    def _read(self, name: str, shape: tuple[int, ...] | None, part: tuple[slice, ...] = ()) -> np.ndarray:
        """Return an array, or only a part of it: nothing else is read where there is a checksum for each panel."""
        checksum, kind = (self._checksums or {}).get(name), dtype_of(name, self._classes)
        if isinstance(checksum, ByPanel):
            value = stored_array(self._file, name, shape, kind, part)
            whole = shape or value.shape
            right = checksum.axis < len(whole) and len(checksum.panels) == panels_of(whole[checksum.axis])
            if right:
                first, stop = panels_in(part, checksum.axis, whole)
                right = panel_crcs(value, checksum.axis) == checksum.panels[first:stop]
        else:
            value = stored_array(self._file, name, shape, kind)
            right = self._checksums is None or crc(value) == checksum
            value = value[part]
        if not right:
            raise self._fail(f"damaged: {name!r} does not agree with its checksum", "the file as it was written")
        if not np.isfinite(value).all():
            raise self._fail(f"{name!r} holds a value that is not finite", "finite ones")
        return value

    def array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return the array `name`, which must have `shape` and its type, lie in this file, be undamaged and finite."""
        return self._read(name, shape)

    def load(self, name: str, parameters: Parameters) -> None:
        """Fill `parameters`, which are called `name`: where they do not learn nothing else is read of their block.

        Where they are those of some units only, nothing is read of the others.
        """
        for array in parameters.held:
            cut = array.scope == "unit"
            axis = array.axis % len(array.shape) if cut else None
            span = parameters.span(array.name)
            for part, value in self._parts_of(f"{name}/{array.name}", span, array.shape, axis):
                if array.nonnegative and (value < 0).any():
                    raise self._fail(f"'{name}/{array.name}' holds a negative number", "none below 0")
                if axis is None:
                    parameters.set_array(array.name, value)
                else:
                    parameters.set_array_part(array.name, part[axis].start - span[axis].start, value)
        if parameters.learns and parameters.block.optimizer is not None:
            steps = int(self._read(array_name(f"{name}/steps", self._format), ()))
            if not 0 <= steps <= MOST:
                raise self._fail(f"'{name}/steps' is {steps}", f"a count, at most {MOST}")
            parameters.steps = steps

    def _parts_of(
        self, name: str, span: tuple[slice, ...], shape: tuple[int, ...], axis: int | None
    ) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:  # fmt: skip
        """Yield an array of `shape`, or `span` of it, in parts: each by where it lies, with its numbers."""
        name = array_name(name, self._format)
        if isinstance((self._checksums or {}).get(name), ByPanel):
            for part in parts_of(span, shape, axis, _AT_ONCE):
                yield part, self._read(name, shape, part)
        else:
            yield span, self._read(name, shape)[span]

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
