"""Reading HDF5 that anybody may have written: types and sizes are looked at before memory is taken."""

from __future__ import annotations

import math
import os
from typing import Any

import h5py
import numpy as np

from ..errors import UserError


def fail(file: h5py.File, found: str, expected: str) -> UserError:
    """Return the error that `file` is not what it should be."""
    return UserError(f"{file.filename}: {found}; expected {expected}")


def reason(error: Exception) -> str:
    """Return one line: HDF5's own text holds line breaks, times and addresses."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split())


def attribute(file: h5py.File, name: str, kinds: str, expected: str = "an ffmpi checkpoint") -> Any:
    """Return a scalar attribute of the root, of one of the NumPy kinds `kinds`; UserError if there is none.

    Strings of variable length are none of them: HDF5 keeps these in a heap, and reading from a damaged one may never
    end.
    """
    try:
        found = h5py.h5a.open(file.id, name.encode())
        if found.shape == () and found.dtype.kind in kinds:
            return file.attrs[name]
    except (KeyError, OSError, RuntimeError, TypeError, ValueError):
        pass
    raise fail(file, f"no readable attribute {name!r}", expected)


def stored_array(
    file: h5py.File, name: str, shape: tuple[int, ...] | None, dtype: type | np.dtype | None,
    part: tuple[slice, ...] = (),
) -> Any:  # fmt: skip
    """Return the value, or a part, of the data set `name`, which must lie in this file; UserError if it is another one.

    It must have `shape` and `dtype`, which may be a record's; None stands for any shape that the file has room for, and
    for a text of fixed length.
    """
    kind = "text" if dtype is None else "records" if np.dtype(dtype).names else np.dtype(dtype).name
    expected = " ".join([kind, *([str(shape)] if shape else [])])
    try:
        node: Any = file
        for step in name.split("/"):
            # Links may lead into other files, virtual and external data sets read from them.
            link = node.get(step, getlink=True) if isinstance(node, h5py.Group) else None
            if not isinstance(link, h5py.HardLink):
                raise fail(file, f"no data set {name!r}", f"{expected} stored in the file")
            node = node[step]
        if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external:
            raise fail(file, f"{name!r} is not a plain data set", f"{expected} stored in the file")
        right = node.dtype.kind == "S" if dtype is None else node.dtype == dtype
        if not right or node.shape is None or (shape is not None and node.shape != shape):
            found = "records" if node.dtype.names else node.dtype
            raise fail(file, f"{name!r} is {found} {node.shape}", expected)
        size = math.prod(node.shape) * node.dtype.itemsize
        if (shape is None or dtype is None) and size > os.path.getsize(file.filename):
            raise fail(file, f"{name!r} is said to have {size} bytes", "no more than the file has")
        value = node[part]
    except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
        raise fail(file, f"{name!r} cannot be read ({reason(error)})", expected) from None
    return value if dtype is None else np.asarray(value)
