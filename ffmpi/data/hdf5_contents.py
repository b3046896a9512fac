"""What is in a user's HDF5 file: its data sets by name, safely opened, and what to say if one is not there."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import h5py

from ..errors import UserError
from .files import DEFLATE
from .kinds import shortened
from .known import KNOWN, SPLITS, Fields

_MOST, _DEEPEST = 200, 6  # data sets that are looked at for a sentence, and groups around one
#: Registered compression filters that HDF5 does not bring along, all in the package hdf5plugin but those in brackets.
_FILTERS = {
    4: "szip (not in every HDF5)", 305: "LZO (from PyTables)", 307: "bzip2", 32000: "LZF (from h5py)", 32001: "Blosc",
    32004: "LZ4", 32008: "Bitshuffle", 32013: "ZFP", 32015: "Zstandard", 32017: "SZ", 32018: "FCIDECOMP",
    32024: "SZ3", 32026: "Blosc2", 32028: "SPERR",
}  # fmt: skip


def exists(file: h5py.File, name: str) -> bool:
    """Return whether something is called `name`, without following a link into another file."""
    node: Any = file
    for part in name.strip("/").split("/"):
        if not isinstance(node, h5py.Group) or not part or not node.id.links.exists(part.encode()):
            return False
        if node.id.links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
            return True  # `dataset` refuses it
        node = node[part]
    return True


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Open a data set whose data are in this file and nowhere else, so that a file cannot make us read another one."""
    node: Any = file
    for part in name.strip("/").split("/"):
        # The links are asked, not the group: `part in node` would follow a link into another file.
        links = node.id.links if isinstance(node, h5py.Group) else None
        if links is None or not part or not links.exists(part.encode()):
            raise UserError(f"{file.filename}: has no data set {name!r}{_instead(file)}")
        if links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
            raise UserError(f"{file.filename}: {part!r} of {name!r} is a link, expected the data in the file itself")
        node = node[part]
    if not isinstance(node, h5py.Dataset):
        raise UserError(f"{file.filename}: {name!r} is a {type(node).__name__.lower()}, expected a data set")
    if node.is_virtual or node.external:
        raise UserError(f"{file.filename}: {name!r} has its data in other files, expected them in the file itself")
    size = math.prod((0,) if node.shape is None else node.shape) * node.dtype.itemsize  # node.size may overflow
    stored = node.id.get_storage_size()
    if size == 0:
        raise UserError(f"{file.filename}: {name!r} is empty, expected at least one sample")
    if size > DEFLATE * stored:
        found = f"declares {size} bytes but stores {stored}"
        raise UserError(f"{file.filename}: {name!r} {found}, expected data that were written")
    _check_filters(file, name, node)
    return node


def _check_filters(file: h5py.File, name: str, node: h5py.Dataset) -> None:
    """Refuse a data set packed by a filter that is not there, also after hdf5plugin has registered what it has."""
    settings = node.id.get_create_plist()
    for index in range(settings.get_nfilters()):
        code = settings.get_filter(index)[0]
        if not h5py.h5z.filter_avail(code):
            with suppress(ImportError):
                import hdf5plugin  # noqa: F401
        if not h5py.h5z.filter_avail(code):
            called = f"{code}, {_FILTERS[code]}" if code in _FILTERS else str(code)
            raise UserError(
                f"{file.filename}: {name!r} is compressed by HDF5 filter {called}, which is not installed; "
                "expected it after: pip install hdf5plugin, or the file repacked where it can be read, by: "
                "h5repack -f GZIP=4 OLD NEW"
            )


def kind_of(node: h5py.Dataset) -> str:
    """Return the type of a data set's elements, as one would call it."""
    dtype = node.dtype
    if h5py.check_string_dtype(dtype) is not None:
        return "text"
    if h5py.check_vlen_dtype(dtype) is not None:
        return "arrays of different lengths"
    return "records" if dtype.names else str(dtype)


def describe(name: str, node: h5py.Dataset) -> str:
    """Return the name, type and shape of a data set."""
    return f"{name} ({kind_of(node)} {node.shape})"


def contents(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return the first data sets of the file by name, in the order of their names."""
    found: dict[str, h5py.Dataset] = {}

    def walk(group: h5py.Group, prefix: str, depth: int) -> None:
        for part in group:
            if len(found) >= _MOST:
                return
            raw = part.encode(errors="surrogateescape") if isinstance(part, str) else part  # bytes: not in UTF-8
            if group.id.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                continue
            node, name = group[part], prefix + raw.decode(errors="backslashreplace")
            if isinstance(node, h5py.Dataset):
                found[name] = node
            elif isinstance(node, h5py.Group) and depth < _DEEPEST:
                walk(node, f"{name}/", depth + 1)

    walk(file, "", 0)
    return found


def _instead(file: h5py.File) -> str:
    """Say what the file holds, and which settings would read it."""
    if {"format", "ffmpi", "chapter"} <= set(file.attrs):
        return f"; it is a checkpoint of ffmpi's, expected {KNOWN['hdf5'].path}"
    held = contents(file)
    if not held:
        return f"; it holds no data set at all, expected {KNOWN['hdf5'].path}"
    if fields := guess(held):
        names = f"data.images = {fields.images!r} and data.labels = {fields.labels!r}"
        cure = f"{names} would read it (in 'ffmpi data': --images, --labels)"
    else:
        names = "their names in data.images and data.labels, such as 'x_{split}' for x_train and x_test"
        cure = f"expected {KNOWN['hdf5'].path}, or {names}"
    return f"; it holds {shortened(describe(name, node) for name, node in held.items())}; {cure}"


def names_of(file: h5py.File, fields: Fields) -> dict[str, tuple[str, str]]:
    """Return for each split that is in the file the names of its images and of its labels.

    Names that do not say where the split's is to stand are those in groups train and test or, if there is neither
    group, at the root, whose samples are for training. Raises UserError if there is nothing of these names.
    """
    found = {
        split: names
        for split, names in ((split, fields.names(split)) for split in SPLITS)
        if any(exists(file, name) for name in (names if fields.by_split else (split,)))
    }
    if not found and fields.by_split:
        dataset(file, fields.names("train")[0])  # raises
    return found or {"train": (fields.images, fields.labels)}


#: Words for the training samples, and those for samples to test with that may stand in their place.
_WORDS = {
    "train": ("test", "val", "valid", "validation", "dev"),
    "Train": ("Test", "Val", "Valid", "Validation"),
    "TRAIN": ("TEST", "VAL"),
    "training": ("test", "testing", "validation"),
}


def _pattern(name: str, held: dict[str, h5py.Dataset]) -> str:
    """Return the name that covers the training data set `name` and its counterpart for tests; '' if there is none."""
    for word, others in reversed(_WORDS.items()):
        for match in re.finditer(word, name):
            before, after = name[: match.start()], name[match.end() :]
            for other in others:
                if before + other + after in held:
                    if (before, word, other) == ("", "train", "test") and after[:1] == "/":
                        return after[1:]
                    here = "{split}" if (word, other) == ("train", "test") else f"{{{word}|{other}}}"
                    return before + here + after
    return next((name + f"{{|{end}}}" for end in ("_test", "_val") if name + end in held), "")


def _pairs(held: dict[str, h5py.Dataset]) -> Iterator[Fields]:
    def shape(name: str) -> tuple[int, ...]:
        return held[name].shape or ()

    patterns = {name: pattern for name in held if (pattern := _pattern(name, held))}
    for images, as_images in (patterns or {name: name for name in held}).items():
        number = held[images].dtype.kind in "uif" and kind_of(held[images]) != "records"
        if not number or math.prod(shape(images)[1:]) < 2:
            continue
        for labels, as_labels in (patterns or {name: name for name in held}).items():
            one_each = math.prod(shape(labels)[1:]) == 1 and len(shape(labels)) in (1, 2)
            if one_each and held[labels].dtype.kind in "iufb" and shape(labels)[:1] == shape(images)[:1]:
                yield Fields(as_images, as_labels)


def guess(held: dict[str, h5py.Dataset]) -> Fields | None:
    """Return the names under which images and labels can be read, if the data sets leave no doubt."""
    pairs = list(_pairs(held))
    return pairs[0] if len(pairs) == 1 else None
