"""The classes of samples, in the forms in which people keep labels."""

from __future__ import annotations

import numpy as np

from ..errors import UserError

LONGEST_NAME = 64  # bytes
MOST_CLASSES = 1000
_WANTED = "whole numbers from 0, one a sample"
_REGRESSION = "; classes are learnt, no regression targets"


def class_type(count: int) -> type[np.uint8] | type[np.uint16]:
    """Return the type in which classes are kept where there are `count` of them."""
    return np.uint8 if count <= 256 else np.uint16


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
        finite = np.isfinite(values)
        if not finite.all():
            raise UserError(f"{where} has the value {values[~finite][0]:g}, expected {_WANTED}")
        broken = values[np.trunc(values) != values]
        if broken.size:
            raise UserError(f"{where} has the value {broken[0]:g}, expected {_WANTED}{_REGRESSION}")
        values = values.clip(-(2.0**31), 2.0**31).astype(np.int64)
    columns = values.shape[1] if values.ndim == 2 else 1
    if columns == 1:
        return values.reshape(-1), 0
    if not ((values == 0) | (values == 1)).all() or not (values.sum(axis=1) == 1).all():
        raise UserError(f"{where} has shape {values.shape}, but not in every row one 1 among zeros, expected {_WANTED}")
    return values.argmax(axis=1), columns


def check_labels(file: object, labels: np.ndarray, classes: int, first: int = 0) -> None:
    """Raise UserError for the first of `labels` that is not below `classes`, or if they can be no classes at all.

    labels : (samples,) of any integer type; `first` is the number of the first sample
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if not wrong.size:
        return
    least, greatest, different = labels.min(), labels.max(), len(np.unique(labels))
    if different > MOST_CLASSES:
        raise UserError(
            f"{file}: has {different} different labels, from {least} to {greatest}, expected 2 to {MOST_CLASSES} "
            f"classes, numbered from 0{_REGRESSION}"
        )
    hint = ""
    if least > 0 and greatest == classes:
        hint = f": labels go from {least} to {greatest} here, so subtract 1 from all"
    elif least < 0 or classes == MOST_CLASSES:
        hint = (
            f": labels go from {least} to {greatest} here, so number the classes anew, by "
            "np.unique(labels, return_inverse=True)"
        )
    found = f"sample {first + wrong[0]} has label {labels[wrong[0]]}"
    raise UserError(f"{file}: {found}, expected labels from 0 to {classes - 1}{hint}")
