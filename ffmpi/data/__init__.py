"""Data sets: files in, uint8 images and classes out.

Everything read here is untrusted: sizes are checked before memory is taken, nothing is unpickled or unpacked to disk,
and whatever is wrong with a file is a `UserError` of one sentence: the file, what was found, what was expected.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, nearest
from .files import look_for, reading
from .kinds import HDF5, PNG, expect
from .known import KNOWN, SPLITS, USUAL, DataSet, Fields, File, Known
from .pixels import fitted, measured_format
from .statistics import Summary, statistics_of, tally

__all__ = ["KNOWN", "DataSet", "Fields", "File", "Known", "Summary", "check", "load", "read_images"]

READERS = {"digits": "digits", "mnist": "idx", "fashion-mnist": "idx", "cifar10": "cifar10", "hdf5": "hdf5"}


def load(
    name: str, path: str | None, split: str, *, images: bool = True, fields: Fields = USUAL
) -> DataSet:  # fmt: skip
    """Load the split ``train`` or ``test`` of the data set `name`.

    `path` says where its files are (`KNOWN`; ``digits`` takes none), `fields` the names in an HDF5 file. With
    ``images=False`` only the classes are read: a rank that owns no first layer needs no pixels. Raises UserError for
    whatever is wrong outside.
    """
    known, where = _find(name, path)
    if split not in SPLITS:
        raise UserError(f"data set {name!r} has no split {split!r}, expected 'train' or 'test'")
    with reading(where, known.path or known.description):
        more = (fields,) if name == "hdf5" else ()
        data: DataSet = _reader(name).load(known, where, split, images, *more)
        return data


def check(name: str, path: str | None, fields: Fields = USUAL) -> Summary:
    """Read all of the data set `name` and compare it with the published MD5s. Raises UserError as `load` does."""
    known, where = _find(name, path)
    reader = _reader(name)
    if name == "cifar10":
        summary: Summary = reader.check(known, where)
        return summary
    splits = SPLITS if name != "hdf5" or reader.has_test(where, fields) else SPLITS[:1]
    tallies, trained = {}, None
    for split in splits:
        part = load(name, path, split, fields=fields)
        tallies[split] = tally(part)
        assert part.images is not None
        trained = trained or measured_format(part.images)
        fitted(part, trained, part.shape, f"{where} ({split})")  # says how the test images are converted, or refuses
    found = statistics_of(part.shape, part.names, tallies)
    return Summary(name, found, {file.name: reader.is_published(where, file) for file in known.files})


def _reader(name: str) -> Any:
    # Imported when needed: HDF5, archives and their decompressors cost every rank time and memory.
    return importlib.import_module(f".{READERS[name]}", __name__)


def _find(name: str, path: str | None) -> tuple[Known, Path]:
    if name not in KNOWN:
        raise UserError(f"unknown data set {name!r}, expected one of {', '.join(KNOWN)}{nearest(name, KNOWN)}")
    if path and not KNOWN[name].path:
        raise UserError(f"data set {name!r} takes no path, found {path!r}; expected none, or another data.name")
    if KNOWN[name].path and not path:
        raise UserError(f"data set {name!r} needs a path, expected {KNOWN[name].path}")
    where = Path(os.path.expanduser(path or ""))
    if KNOWN[name].path:
        look_for(where, KNOWN[name].path)
    return KNOWN[name], where


def read_images(
    path: str, shape: tuple[int, ...], sources: Sequence[str] = ("images",)
) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    """Read images to classify, and a name for each.

    `path` is an HDF5 file with images in the first of the data sets `sources` that is there (of a name that covers both
    splits, that for tests): (samples, *shape), (samples, inputs), with or without a channel axis of 1, or with colours
    first for last, which are named by index; or a PNG file, or a directory of them,
    converted to grey for a `shape` of (rows, columns) or one channel and to colour for (3, rows, columns) or
    (rows, columns, 3). Returns (samples, inputs) uint8 or float32. Raises UserError.
    """
    from . import hdf5, png

    where = Path(os.path.expanduser(path))
    expected = "an HDF5 or PNG file, or a directory of PNG files"
    look_for(where, expected)
    if os.path.isdir(where):
        return png.read_directory(where, shape)
    if expect(where, expected, HDF5, PNG) == PNG:
        return png.read(where, shape)[np.newaxis], [where.name]
    array = hdf5.read_images(where, shape, sources)
    return array, [str(i) for i in range(len(array))]
