"""Images in one shape for a network that was trained on another one of the same pixels."""

from __future__ import annotations

import math

import numpy as np

from ..errors import UserError


def _grey(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without its channel axis, if that is 1 long."""
    if len(shape) == 3 and shape[0] == 1:
        return shape[1:]
    return shape[:2] if len(shape) == 3 and shape[2] == 1 else shape


def arranged(images: np.ndarray, found: tuple[int, ...], wanted: tuple[int, ...], where: str) -> np.ndarray:
    """Return `images` (samples, inputs), each of shape `found`, as the rows of images of shape `wanted`.

    Rows of pixels are taken as they are, channels of 1 are left out or put in, and colours are moved from first to last
    or back. Raises UserError, which names `where` they are from, if the shapes do not agree.
    """
    one, other = _grey(found), _grey(wanted)
    if one == other or found == (math.prod(wanted),) or (len(one) == 2 and wanted == (math.prod(found),)):
        return images
    if len(one) == len(other) == 3:
        for axes in ((2, 0, 1), (1, 2, 0)):
            channels = one[2] if axes == (2, 0, 1) else one[0]
            if tuple(one[axis] for axis in axes) == other and channels <= 4:
                moved = images.reshape(-1, *one).transpose(0, *(1 + axis for axis in axes))
                return np.ascontiguousarray(moved).reshape(len(images), -1)
    hint = ""
    if one == other[::-1]:
        hint = ", rows and columns exchanged"
    elif 4 in (one[0], one[-1]) and len(one) == 3 and len(other) == 3:
        hint = ", without the channel of transparency if there is one"
    raise UserError(f"{where} has images of shape {found}, expected {wanted}, as the network was trained on{hint}")
