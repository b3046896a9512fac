"""What is in a user's HDF5 file: its data sets by name, safely opened, and what to say if one is not there."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import h5py

from ..errors import UserError
from .files import DEFLATE
from .labels import LONGEST_NAME, MOST_CLASSES

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
            raise UserError(f"{file.filename}: has no data set {name!r}")
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


def read_class_names(file: h5py.File) -> tuple[str, ...]:
    """Return the root's attributes ``class_names`` (strings) or ``classes`` (an integer); empty if it has neither.

    Strings of variable length, h5py's default, are refused: HDF5 keeps them in a heap, and a damaged heap makes it loop
    for ever (HDFGroup/hdf5 issue 1707), which under MPI is a job that hangs.
    """
    found = {name: file.attrs.get_id(name) for name in ("class_names", "classes") if name in file.attrs}
    if "class_names" in found:
        attribute = found["class_names"]
        example = "NumPy: np.array([name.encode() for name in names])"
        wanted = f"2 to {MOST_CLASSES} strings of fixed length in UTF-8, at most {LONGEST_NAME} bytes each ({example})"
        where = f"{file.filename}: attribute 'class_names'"
        shape, kind = attribute.shape, attribute.dtype
        if kind.kind != "S" or kind.itemsize > LONGEST_NAME or len(shape) != 1 or not 1 <= shape[0] <= MOST_CLASSES:
            what = "strings of variable length" if h5py.check_string_dtype(kind) and kind.kind == "O" else str(kind)
            raise UserError(f"{where} is {what} of shape {shape}, expected {wanted}")
        names = []
        for encoded in file.attrs["class_names"]:
            try:
                names.append(bytes(encoded).decode())
            except UnicodeDecodeError:
                perhaps = encoded.decode("latin-1")
                latin = f", in Latin-1 {perhaps!r}" if perhaps.isprintable() else ""
                raise UserError(
                    f"{where} has {bytes(encoded)!r}{latin}, which is no UTF-8, expected {wanted}"
                ) from None
        if not all(map(str.isprintable, names)):
            raise UserError(f"{where} has unprintable characters, expected {wanted}")
        return tuple(names)
    if "classes" in found:
        attribute = found["classes"]
        count = int(file.attrs["classes"]) if attribute.dtype.kind in "iu" and attribute.shape == () else 0
        if not 2 <= count <= MOST_CLASSES:
            what = f"{attribute.dtype} of shape {attribute.shape}" + (f" with value {count}" if count else "")
            raise UserError(
                f"{file.filename}: attribute 'classes' is {what}, expected an integer from 2 to {MOST_CLASSES}"
            )
        return tuple(str(i) for i in range(count))
    return ()
