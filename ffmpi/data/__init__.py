"""Data sets: files in, uint8 images and classes out.

Everything read here is untrusted: sizes are checked before memory is taken, nothing is unpickled or unpacked to disk,
and whatever is wrong with a file is a `UserError` of one sentence: the file, what was found, what was expected.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..config.registries import FORMATS
from ..errors import UserError
from .files import look_for, reading
from .format import Format
from .kinds import HDF5, IMAGES, NPY, NPZ, PNG, expect
from .known import SPLITS, USUAL, DataSet, Fields, File
from .statistics import Summary

__all__ = ["FORMATS", "DataSet", "Fields", "File", "Format", "Summary", "check", "load", "read_images"]


def load(
    name: str, path: str | None, split: str, *, images: bool = True, fields: Fields = USUAL
) -> DataSet:  # fmt: skip
    """Load the split ``train`` or ``test`` of the data set `name`.

    `path` says where its files are (`Format.path`; ``digits`` takes none), `fields` the names in a user's own file.
    With ``images=False`` only the classes are read: a rank that owns no first layer needs no pixels. Raises UserError
    for whatever is wrong outside.
    """
    known, where = _find(name, path)
    if split not in SPLITS:
        raise UserError(f"data set {name!r} has no split {split!r}, expected 'train' or 'test'")
    with reading(where, known.path or known.description):
        return known.load(where, split, images, fields)


def check(name: str, path: str | None, fields: Fields = USUAL) -> Summary:
    """Read all of the data set `name` and compare it with the published MD5s. Raises UserError as `load` does."""
    known, where = _find(name, path)
    with reading(where, known.path or known.description):
        return known.check(where, fields)


def _find(name: str, path: str | None) -> tuple[Format, Path]:
    known: Format = FORMATS[name]
    if path and not known.path:
        raise UserError(f"data set {name!r} takes no path, found {path!r}; expected none, or another data.name")
    if known.path and not path:
        raise UserError(f"data set {name!r} needs a path, expected {known.path}")
    where = Path(os.path.expanduser(path or ""))
    if known.path:
        look_for(where, known.path)
    return known, where


def read_images(
    path: str, shape: tuple[int, ...], sources: Sequence[str] = ("images",)
) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    """Read images to classify, and a name for each.

    `path` is an HDF5 file or a NumPy archive with images in the first of the arrays `sources` that is there (of a name
    that covers both splits, that for tests), or an .npy file: (samples, *shape), (samples, inputs), with or without a
    channel axis of 1, or with colours first for last, which are named by index; or an image file, or a directory of
    them, converted to grey for a `shape` of (rows, columns) or one channel and to colour for (3, rows, columns) or
    (rows, columns, 3). Returns (samples, inputs) uint8 or float32. Raises UserError.
    """
    from . import images

    where = Path(os.path.expanduser(path))
    expected = "an HDF5 or NumPy file, an image such as PNG or JPEG, or a directory of images"
    look_for(where, expected)
    if os.path.isdir(where):
        return images.read_directory(where, shape)
    kind = expect(where, expected, HDF5, NPY, NPZ, PNG, *IMAGES)
    if kind in (PNG, *IMAGES):
        return images.read(where, shape)[np.newaxis], [where.name]
    if kind == HDF5:
        from . import hdf5

        array = hdf5.read_images(where, shape, sources)
    else:
        from . import numpy

        array = numpy.read_images(where, shape, sources, kind)
    return array, [str(i) for i in range(len(array))]
