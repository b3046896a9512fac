"""The classes of samples, in the forms in which people keep labels."""

from __future__ import annotations

import h5py
import numpy as np

from ..errors import UserError
from .hdf5_contents import dataset, kind_of

LONGEST_NAME = 64  # bytes
MOST_CLASSES = 256
_WANTED = "whole numbers from 0, one a sample"


def read_labels(file: h5py.File, name: str) -> tuple[np.ndarray, int]:
    """Return the classes in the data set `name`, (samples,) of an integer type, and their number; 0: not said there.

    Floats that are whole numbers, booleans, shape (samples, 1) and one-hot rows (samples, classes) are read, too.
    Raises UserError for what are no labels.
    """
    node = dataset(file, name)
    where = f"{file.filename}: {name!r}"
    columns = node.shape[1] if node.ndim == 2 else 1
    if kind_of(node) == "text":
        raise UserError(
            f"{where} is text, expected {_WANTED}: np.unique(texts, return_inverse=True) numbers them, and their names "
            "can stand in the root's attribute 'class_names'"
        )
    if node.ndim == 2 and node.shape[0] == 1 < columns:
        found = f"is {kind_of(node)} of shape {node.shape}, as MATLAB stores a column"
        raise UserError(f"{where} {found}; expected shape (samples,), and images of shape (samples, ...)")
    if node.ndim not in (1, 2) or node.dtype.kind not in "iufb" or columns > MOST_CLASSES:
        images = ", as images have" if node.ndim > 2 or columns > MOST_CLASSES else ""
        raise UserError(f"{where} is {kind_of(node)} of shape {node.shape}{images}, expected {_WANTED}")
    values = np.asarray(node[:])
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if values.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isfinite(values.ravel()) | (np.trunc(values) != values).ravel())
        if wrong.size:
            raise UserError(f"{where} has the value {values.flat[wrong[0]]:g}, expected {_WANTED}")
        values = values.clip(-(2.0**31), 2.0**31).astype(np.int64)
    if columns == 1:
        return values.reshape(-1), 0
    if not ((values == 0) | (values == 1)).all() or not (values.sum(axis=1) == 1).all():
        raise UserError(f"{where} has shape {node.shape}, but not in every row one 1 among zeros, expected {_WANTED}")
    return values.argmax(axis=1), columns


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
