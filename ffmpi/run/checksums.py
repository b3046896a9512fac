"""Checksums of a checkpoint's arrays: one each, or where an array is cut with a layer's units one for 16 units each.

So parts of an array may come in any order, and be read and checked without the rest.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

#: Units of a layer that are cut from others only together: those of a panel.
TOGETHER = 16


class ByPanel(msgspec.Struct, frozen=True):
    """CRC-32 of each 16 units' numbers in row order; the array's units are counted along `axis`."""

    axis: Annotated[int, Meta(ge=0, le=1)]
    panels: list[int]


#: Of an array as a whole, its CRC-32 in row order, or by panel.
Checksum = int | ByPanel


def panels_of(units: int) -> int:
    """Return how many checksums an array of so many units has."""
    return -(-units // TOGETHER)


def crc(array: np.ndarray) -> int:
    """Return the CRC-32 of an array's bytes in row order."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).data)


def panel_crcs(array: np.ndarray, axis: int) -> list[int]:
    """Return the CRC-32 of each 16 units along `axis`, the last perhaps of fewer."""
    before = (slice(None),) * axis
    return [crc(array[(*before, slice(at, at + TOGETHER))]) for at in range(0, array.shape[axis], TOGETHER)]


def panels_in(part: tuple[slice, ...], axis: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the first panel in a part of an array of `shape` and where they stop; an empty part is all of it.

    A part begins and ends with a panel, and has all of the other axis.
    """
    first, stop, _ = part[axis].indices(shape[axis]) if part else (0, shape[axis], 1)
    assert first % TOGETHER == 0 and (stop % TOGETHER == 0 or stop == shape[axis]), (part, shape)
    return first // TOGETHER, panels_of(stop)


def parts_of(
    span: tuple[slice, ...], shape: tuple[int, ...], axis: int | None, most: int
) -> Iterator[tuple[slice, ...]]:  # fmt: skip
    """Yield the parts of `span`, itself a part of an array of `shape`, that have at most `most` numbers, or a panel.

    An array without an `axis` along which it is cut comes whole, as the part ().
    """
    if axis is None:
        yield ()
        return
    each = math.prod(shape) // max(1, shape[axis])  # numbers of a unit
    step = max(1, most // (max(1, each) * TOGETHER)) * TOGETHER
    start, end, _ = span[axis].indices(shape[axis])
    for first in range(start, end, step):
        yield tuple(
            slice(first, min(first + step, end)) if place == axis else slice(0, size)
            for place, size in enumerate(shape)
        )
