"""Images in one shape for those who have the same pixels in another one."""

from __future__ import annotations

import math

import numpy as np

from ..errors import UserError
from .streamed import Images

_MOST_CHANNELS = 4


def _grey(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without its channel axis, if that is 1 long."""
    if len(shape) == 3 and shape[0] == 1:
        return shape[1:]
    return shape[:2] if len(shape) == 3 and shape[2] == 1 else shape


def _order(found: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the axes of `found` in the order of `wanted`; () if the pixels are so already, None if they differ."""
    one, other = _grey(found), _grey(wanted)
    if one == other or found == (math.prod(wanted),) or (len(one) == 2 and wanted == (math.prod(found),)):
        return ()
    if len(one) == len(other) == 3:
        for axes, channels in (((2, 0, 1), one[2]), ((1, 2, 0), one[0])):
            if tuple(one[axis] for axis in axes) == other and channels <= _MOST_CHANNELS:
                return axes
    return None


def geometry_of(shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """Return planes, height, width and depth of images of `shape`; None for samples that are no images.

    Images are (height, width), (channels, height, width), or else (height, width, channels).
    """
    if len(shape) == 2:
        return 1, *shape, 1
    if len(shape) != 3:
        return None
    if shape[0] <= _MOST_CHANNELS:
        return *shape, 1
    return (1, *shape) if shape[2] <= _MOST_CHANNELS else None


def agree(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Return whether images of shape `found` can be arranged to `wanted`."""
    return _order(found, wanted) is not None


def arranged(images: np.ndarray, found: tuple[int, ...], wanted: tuple[int, ...], where: str) -> np.ndarray:
    """Return `images` (samples, inputs), each of shape `found`, as the rows of images of shape `wanted`.

    Rows of pixels are taken as they are, channels of 1 are left out or put in, and colours are moved from first to last
    or back. Raises UserError, which names `where` they are from, if the shapes do not agree.
    """
    axes = _order(found, wanted)
    if axes:
        moved = images.reshape(-1, *found).transpose(0, *(1 + axis for axis in axes))
        return np.ascontiguousarray(moved).reshape(len(images), -1)
    if axes is not None:
        return images
    hint = ""
    if _grey(found) == _grey(wanted)[::-1]:
        hint = ", rows and columns exchanged"
    elif len(found) == len(wanted) == 3 and 4 in (found[0], found[2]):
        hint = ", without the channel of transparency if there is one"
    raise UserError(f"{where} has images of shape {found}, expected {wanted}, as the network was trained on{hint}")


def rearranged(images: Images, found: tuple[int, ...], wanted: tuple[int, ...], where: str) -> Images:
    """Return images in memory or in their file as `arranged` does."""
    if isinstance(images, np.ndarray):
        return arranged(images, found, wanted, where)
    if _order(found, wanted) == ():
        return images
    return images.changed(lambda block: arranged(block, found, wanted, where))
