"""Data sets: files in, images and classes out.

Everything read here is untrusted: sizes are checked before memory is taken, nothing is unpickled or unpacked to disk,
and whatever is wrong with a file is a `UserError` of one sentence: the file, what was found, what was expected.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..config.registries import FORMATS
from ..errors import UserError
from .files import look_for, reading
from .format import Format
from .kinds import expect
from .known import SPLITS, USUAL, DataSet, Fields, File
from .statistics import Summary
from .streamed import Images

__all__ = ["FORMATS", "DataSet", "Fields", "File", "Format", "Summary", "check", "load", "read_images"]


def load(
    name: str, path: str | None, split: str, *, images: bool = True, fields: Fields = USUAL, streamed: bool = False
) -> DataSet:  # fmt: skip
    """Load the split ``train`` or ``test`` of the data set `name`.

    `path` says where its files are (`Format.path`; ``digits`` takes none), `fields` the names in a user's own file.
    With ``images=False`` only the classes are read: a rank that owns no first layer needs no pixels. With `streamed`
    images are left in their file until they are wanted, if the format can. Raises UserError for whatever is wrong
    outside.
    """
    known, where = find(name, path, fields if split == "train" else USUAL)
    if split not in SPLITS:
        raise UserError(f"data set {name!r} has no split {split!r}, expected 'train' or 'test'")
    with reading(where, known.path or known.description):
        if streamed and images:
            return known.stream(where, split, fields)
        return known.load(where, split, images, fields)


def check(name: str, path: str | None, fields: Fields = USUAL) -> Summary:
    """Read all of the data set `name` and compare it with the published MD5s. Raises UserError as `load` does."""
    known, where = find(name, path, fields)
    with reading(where, known.path or known.description):
        return known.check(where, fields)


def find(name: str, path: str | None, fields: Fields = USUAL) -> tuple[Format, Path]:
    """Return the format called `name`, and where its files are.

    Raises UserError if nothing is there, or if it has no weights and `fields` names some.
    """
    known: Format = FORMATS[name]
    if fields.weights and "weights" not in known.reads:
        those = " or ".join(repr(one.name) for one in FORMATS.members().values() if "weights" in one.reads)
        raise UserError(
            f"data.weights = {fields.weights!r}: the samples of data.name = {name!r} have none; expected none, or "
            f"data.name = {those}"
        )
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
) -> tuple[Images, Sequence[str]]:  # fmt: skip
    """Find images to classify, and a name for each; many are read when they are wanted, if they can be.

    `path` is a file of a kind that one of the formats reads, with images of `shape`, or with as many pixels in another
    arrangement, such as colours first for last; where names tell arrays in it apart, in the first of `sources` that is
    there (of a name that covers both splits, that for tests). Or it is a directory of image files. Returns (samples,
    inputs) uint8 or float32. Raises UserError.
    """
    from . import images

    where = Path(os.path.expanduser(path))
    expected = "an HDF5, NumPy, IDX or CSV file, an image such as PNG or JPEG, or a directory of images"
    look_for(where, expected)
    if os.path.isdir(where):
        return images.read_directory(where, shape)
    readers: dict[str, Format] = {kind: one for one in FORMATS.members().values() for kind in one.kinds}
    kind = expect(where, expected, *readers)
    return readers[kind].images_of(where, kind, shape, sources)
