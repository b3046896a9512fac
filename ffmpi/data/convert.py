"""A data set of any format as an HDF5 file from which images can be streamed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from ..errors import UserError
from . import find, load
from .files import CHUNK, look_for
from .known import USUAL, DataSet, Fields
from .labels import LONGEST_NAME

#: Images of a compressed chunk, at most, and a power of 2, so that the blocks of most windows are whole chunks.
_CHUNK_IMAGES = 32


def convert(
    name: str, path: str | None, target: str, fields: Fields = USUAL, compress: bool = False
) -> dict[str, DataSet]:  # fmt: skip
    """Write the data set `name` at `path` to the HDF5 file `target`, which must not be there.

    The file has groups train and test with images and labels, weights of the training samples if `fields` names some,
    and the names of the classes in `class_names`. Images stand in one piece, from which any block of them is one read,
    or compressed in chunks. They are read and written block by block where the format can. Returns the splits that were
    written, without images. Raises UserError.
    """
    known, where = find(name, path, fields)
    out = Path(os.path.expanduser(target))
    if out.exists() or out.is_symlink():
        raise UserError(f"{out}: is there already, expected the name of a new file")
    look_for(out.parent, "a directory to write into")
    written = {}
    with _replacing(out) as partial, h5py.File(partial, "w") as file:
        for split in known.splits(where, fields):
            part = load(name, path, split, fields=fields, streamed=True)
            file.attrs["class_names"] = _encoded(part.names, where)
            _write(file.create_group(split), part, compress)
            written[split] = dataclasses.replace(part, images=None)
    return written


def _encoded(names: tuple[str, ...], where: Path) -> np.ndarray:
    encoded = [name.encode() for name in names]
    for name, text in zip(names, encoded, strict=True):
        if len(text) > LONGEST_NAME:
            raise UserError(f"{where}: the class {name!r} has {len(text)} bytes, expected at most {LONGEST_NAME}")
    return np.array(encoded)


def _write(group: h5py.Group, part: DataSet, compress: bool) -> None:
    images = part.images
    assert images is not None
    count, fitting = len(images), max(1, CHUNK // (images.shape[1] * images.dtype.itemsize))
    how: dict[str, object] = {}
    if compress:
        chunk = 1 << min(count, fitting, _CHUNK_IMAGES).bit_length() - 1
        how = {"chunks": (chunk, *part.shape), "compression": "gzip", "shuffle": True}
    data = group.create_dataset("images", (count, *part.shape), images.dtype, **how)
    rows = -(-fitting // _CHUNK_IMAGES) * _CHUNK_IMAGES
    for start in range(0, count, rows):
        data[start : start + rows] = images[start : start + rows].reshape(-1, *part.shape)
    group["labels"] = part.classes
    if part.weights is not None:
        group["weights"] = part.weights


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Yield where to write what becomes `target` when it is whole; nothing is left of it otherwise."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{target}: cannot be written ({reason}), expected a place with room for it") from error
    finally:
        partial.unlink(missing_ok=True)
