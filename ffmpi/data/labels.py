"""The classes of samples, in the forms in which people keep labels."""

from __future__ import annotations

import numpy as np

from ..errors import UserError

LONGEST_NAME = 64  # bytes
MOST_CLASSES = 256
_WANTED = "whole numbers from 0, one a sample"


def expect_labels(shape: tuple[int, ...], dtype: np.dtype, kind: str, where: str) -> None:
    """Raise UserError if no labels can have this shape and type; `kind` is what one calls the type."""
    columns = shape[1] if len(shape) == 2 else 1
    if kind == "text":
        raise UserError(
            f"{where} is text, expected {_WANTED}: np.unique(texts, return_inverse=True) numbers them, and their names "
            "can stand in 'class_names', an attribute of an HDF5 file's root or an array of NumPy's"
        )
    if len(shape) == 2 and shape[0] == 1 < columns:
        found = f"is {kind} of shape {shape}, as MATLAB stores a column"
        raise UserError(f"{where} {found}; expected shape (samples,), and images of shape (samples, ...)")
    if len(shape) not in (1, 2) or dtype.kind not in "iufb" or columns > MOST_CLASSES:
        images = ", as images have" if len(shape) > 2 or columns > MOST_CLASSES else ""
        raise UserError(f"{where} is {kind} of shape {shape}{images}, expected {_WANTED}")


def classes_of(values: np.ndarray, where: str) -> tuple[np.ndarray, int]:
    """Return classes, (samples,) of an integer type, and their number if `values` say it by their shape, else 0.

    values : (samples,) or (samples, 1) whole numbers of any type, or (samples, classes) one-hot rows
    """
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if values.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isfinite(values.ravel()) | (np.trunc(values) != values).ravel())
        if wrong.size:
            raise UserError(f"{where} has the value {values.flat[wrong[0]]:g}, expected {_WANTED}")
        values = values.clip(-(2.0**31), 2.0**31).astype(np.int64)
    columns = values.shape[1] if values.ndim == 2 else 1
    if columns == 1:
        return values.reshape(-1), 0
    if not ((values == 0) | (values == 1)).all() or not (values.sum(axis=1) == 1).all():
        raise UserError(f"{where} has shape {values.shape}, but not in every row one 1 among zeros, expected {_WANTED}")
    return values.argmax(axis=1), columns
