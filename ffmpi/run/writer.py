"""Writing a checkpoint: beside the old one, then in its place in one step. What is in it is told in `header`."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import h5py
import msgspec
import numpy as np

from .. import __version__
from ..config.read import dump
from ..config.schema import Config
from ..errors import Consequence, UserError
from .checksums import TOGETHER, ByPanel, Checksum, crc, panel_crcs, panels_in, panels_of
from .durable import Syncing, keep, sync_directory
from .header import FORMAT, DatasetText, dtype_of, header_checksum, identity
from .untrusted import reason

if TYPE_CHECKING:  # it imports kernels, which those who describe a checkpoint do without
    from ..data.info import DatasetInfo

_OVERHEAD, _OVERHEAD_EACH = 1 << 17, 1 << 10  # bytes of HDF5's own: headers and attributes
_CHECKSUM = 12  # bytes of a checksum in the header
_NO_AXES: Mapping[str, int] = MappingProxyType({})


class Writer:
    """Writes a checkpoint beside the old one and puts it in its place in one step, so a kill at any moment is safe."""

    at_once = False

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
        self._checksums: dict[str, Checksum] = {}
        self._axes: dict[str, int] = {}
        self._panels: dict[str, dict[int, int | None]] = {}  # CRC-32 of those that were written
        self._left: set[str] = set()  # the arrays of which something has not been written
        self._syncing: Syncing | None = None

    def _open(self) -> h5py.File:
        with suppress(FileNotFoundError):
            os.unlink(self._partial)  # if another ffmpi is writing there, then to a file of its own
        # From this version on HDF5 has checksums of its own for all that says where arrays lie.
        return h5py.File(self._partial, "w", libver=("v110", "latest"), locking=False)

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

    def create(self, shapes: dict[str, tuple[int, ...]], axes: Mapping[str, int] = _NO_AXES) -> None:
        """Make room for the arrays of these names and shapes: on a full disk this fails, and nothing after it.

        Those in `axes` may come in parts, cut along that axis into panels of units; a matrix that is cut along its
        columns lies in the file panel after panel, so that a part of it is written and read in one piece.
        """
        shapes = shapes | {name: array.shape for name, array in self._statistics.items()}
        self._axes = {name: axis % len(shapes[name]) for name, axis in axes.items()}
        self._panels = {name: dict.fromkeys(range(panels_of(shapes[name][axis]))) for name, axis in self._axes.items()}
        self._left = set(shapes)

        def make_room() -> None:
            size = sum(math.prod(shape) * np.dtype(self._dtype(name)).itemsize for name, shape in shapes.items())
            size += sum(len(text.encode()) for text in self._texts.values()) + sum(len(name) for name in shapes)
            size += sum(_CHECKSUM * len(panels) for panels in self._panels.values())
            # HDF5 fails late, or crashes, where a disk fills up under it, so the operating system is asked first.
            with open(self._partial, "rb+") as file:
                os.posix_fallocate(file.fileno(), 0, size + _OVERHEAD + _OVERHEAD_EACH * len(shapes))
            for name, shape in shapes.items():
                by_panel = self._axes.get(name) == 1
                chunks = (shape[0], min(TOGETHER, shape[1])) if by_panel else None
                layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
                self._file.create_dataset(name, shape, self._dtype(name), chunks=chunks, dcpl=layout)

        self._guard(make_room)
        for name, array in self._statistics.items():
            self.write(name, array)

    def write(self, name: str, array: np.ndarray, part: tuple[slice, ...] = ()) -> None:
        """Write an array that there is room for, or whole panels of it, in `part`; UserError if it has diverged."""
        if not np.isfinite(array).all():
            raise Consequence(
                f"{self._partial}: {name} is no longer finite, so it is not saved; the previous checkpoint is intact, "
                "expected a lower optimizer.learning_rate"
            )
        array = np.ascontiguousarray(array, self._dtype(name)).reshape(array.shape)
        node = self._file[name]
        if (axis := self._axes.get(name)) is None:
            assert not part and array.shape == node.shape, "an array that is not cut comes whole"
            self._checksums[name] = crc(array)
            self._left.remove(name)
        else:
            first, stop = panels_in(part, axis, node.shape)
            panels = self._panels[name]
            found = dict(zip(range(first, stop), panel_crcs(array, axis), strict=True))
            assert all(panels[panel] is None for panel in found), "a part that was there already"
            panels.update(found)
            there = [one for one in panels.values() if one is not None]
            if len(there) == len(panels):
                self._checksums[name] = ByPanel(axis, there)
                self._left.remove(name)
        self._guard(lambda: node.__setitem__(part, array))

    def _write_header(self) -> None:
        """Write what the file says of itself, in text of fixed length.

        Reading HDF5's variable-length strings from a damaged file may never end.
        """
        texts = self._texts | {"checksums": msgspec.json.encode(self._checksums).decode()}
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

    def commit(self, wait: bool = True) -> bool:
        """Make what was written the checkpoint, on the disk first, then under its name; return whether it is.

        Unless it is to `wait` the disk takes its time meanwhile, and this is to be called again.
        """
        if self._syncing is None:
            assert not self._left, f"parts of {self._left} are missing"
            self._guard(self._close)
            self._syncing = Syncing(self._partial)
        if not wait and self._syncing.is_alive():
            return False
        self._guard(self._replace)
        return True

    def _close(self) -> None:
        self._write_header()
        self._file.close()

    def _replace(self) -> None:
        assert self._syncing is not None
        self._syncing.finish()
        # Locks, where there are any, exclude this; ids do, too, where nobody has locks.
        if identity(self._partial) != self.id or identity(self._path) not in ("", self._before):
            raise UserError(
                f"{self._path}: another ffmpi writes here, too, so this one ends; what the other saves stays"
            )
        if self._copy:
            keep(self._partial, self._copy)
        os.replace(self._partial, self._path)
        sync_directory(self._path.parent)
