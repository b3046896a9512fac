"""What pixels are, numbers of which type and range, and the same pictures in the pixels of another set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..errors import UserError, note, warn
from .files import CHUNK
from .known import DataSet
from .shapes import rearranged
from .streamed import Images, StreamedImages

_CHUNK = 1 << 18  # pixels that are widened to float64 at once
_BYTES, _UNIT, _SIGNED = (0.0, 255.0), (0.0, 1.0), (-1.0, 1.0)
_SLACK = 0.05  # of a scale's width: so far pixels may lie outside, as after resampling
#: Floats above this are no 0 to 1, but below _BRIGHT they may go to 16 or 20 as well as to 255.
_BRIGHT = 32.0
_OUTLIERS = 0.02  # share of an image's pixels: more of them outside a scale are another scale
_ALL = slice(None)
_SNAP = 1e-4  # of 255: nearer to a whole number is that number, rounded in another scale


@dataclass(frozen=True)
class PixelFormat:
    """The type, uint8 or float32, and the range of the pixels of a set of images."""

    dtype: str
    least: float
    greatest: float

    def __str__(self) -> str:
        """Say it as in a message."""
        return f"{self.dtype} from {self.least:.4g} to {self.greatest:.4g}"


def measured_format(images: Images) -> PixelFormat:
    """Return the format of `images`, (samples, inputs) uint8 or float32, finite."""
    if isinstance(images, StreamedImages):
        return PixelFormat(images.dtype.name, *images.contents[1:])
    return PixelFormat(images.dtype.name, float(images.min()), float(images.max()))


#: Images that are looked at to estimate something of all.
_SAMPLED = 1000


def nonzero_share(images: Images) -> float:
    """Return the share of pixels of `images`, (samples, inputs), that are not zero, by some of them."""
    some = range(0, len(images), -(-len(images) // _SAMPLED))
    found = sum(int(np.count_nonzero(images[index : index + 1])) for index in some)
    return found / (len(some) * images.shape[1])


def combined_format(parts: Sequence[PixelFormat], where: str) -> PixelFormat:
    """Return the format of all `parts` of a set together. Raises UserError if their types are not the same."""
    for index, (one, other) in enumerate(pairwise(parts)):
        if one.dtype != other.dtype:
            raise UserError(
                f"{where}: pixels of shard {index + 2} are {other}, expected {one.dtype} as in shard {index + 1}"
            )
    return PixelFormat(parts[0].dtype, min(part.least for part in parts), max(part.greatest for part in parts))


def _lies_in(pixels: PixelFormat, scale: tuple[float, float]) -> bool:
    slack = _SLACK * (scale[1] - scale[0])
    return scale[0] - slack <= pixels.least and pixels.greatest <= scale[1] + slack


def _scale_of_training(pixels: PixelFormat) -> tuple[float, float] | None:
    """Return black and white of pixels that are as good as certain to be 0..255, 0..1 or -1..1; None for others.

    Pixels that have been centred or standardised have the scale of their own set.
    """
    if _lies_in(pixels, _BYTES) and pixels.greatest > _BRIGHT:
        return _BYTES
    if pixels.dtype == "uint8":
        return None  # such as 0 and 1, or 0 to 16
    if _lies_in(pixels, _UNIT) and pixels.greatest > 0.25:
        return _UNIT
    # Pixels of 0..1 from which their mean was taken reach neither so far down nor over so wide a range.
    return _SIGNED if _lies_in(pixels, _SIGNED) and pixels.least < -0.9 and pixels.greatest > 0.3 else None


def _scale_of_images(pixels: PixelFormat, own: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return black and white of images, perhaps few; None if in doubt.

    `own` is the scale of the network's pixels if these are of the same type.
    """
    if pixels.dtype == "uint8":
        return _BYTES
    if _lies_in(pixels, _UNIT):
        return _UNIT
    if _lies_in(pixels, _SIGNED) and (pixels.least < -0.5 or own == _SIGNED):
        return _SIGNED
    dark = own == _BYTES and pixels.least >= 0
    return _BYTES if _lies_in(pixels, _BYTES) and (pixels.greatest > _BRIGHT or dark) else None


def scales(trained: PixelFormat, found: PixelFormat) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return black and white of the pixels `trained` and of others that can be converted to them, or None."""
    scale = _scale_of_training(trained)
    source = _scale_of_images(found, scale if found.dtype == trained.dtype else None) if scale else None
    return (scale, source) if scale and source else None


@dataclass(frozen=True)
class PixelSpan:
    """What decides how images are converted for a network; that of parts of them adds up to that of all.

    pixel_format : type and range
    outside : how many of `pixels` lie outside the scale of the network's
    """

    pixel_format: PixelFormat
    outside: int
    pixels: int

    def __add__(self, other: PixelSpan) -> PixelSpan:
        one, another = self.pixel_format, other.pixel_format
        both = PixelFormat(one.dtype, min(one.least, another.least), max(one.greatest, another.greatest))
        return PixelSpan(both, self.outside + other.outside, self.pixels + other.pixels)

    @property
    def share_outside(self) -> float:
        """The share of the pixels that lie outside."""
        return self.outside / max(1, self.pixels)


def span_of(images: Images, trained: PixelFormat, part: slice = _ALL) -> PixelSpan:
    """Return the span of a part of `images`, which is read if `trained` does not tell without."""
    scale, dtype = _scale_of_training(trained), images.dtype
    found = PixelSpan(PixelFormat(dtype.name, np.inf, -np.inf), 0, 0)
    if dtype == np.uint8 and scale:  # which range they have does not matter
        return found
    least, greatest, slack = (*scale, _SLACK) if scale else (trained.least, trained.greatest, 1.0)
    least, greatest = least - slack * (greatest - least), greatest + slack * (greatest - least)
    start, stop, _ = part.indices(len(images))
    rows = max(1, CHUNK // (images.shape[1] * dtype.itemsize))
    for first in range(start, stop, rows):
        block = images[first : min(first + rows, stop)]
        here = measured_format(block)
        outside = 0
        if here.least < least or here.greatest > greatest:
            outside = int(np.count_nonzero((block < least) | (block > greatest)))
        found += PixelSpan(here, outside, block.size)
    return found


def converted(
    images: Images, trained: PixelFormat | None, where: str, span: PixelSpan | None = None
) -> Images:  # fmt: skip
    """Return `images` (samples, inputs) in the pixels of `trained`, those that a network was trained on.

    uint8, and floats of 0..255, 0..1 and -1..1, become one another: uint8 x is x / 255 or x / 127.5 - 1, as float32;
    this is told in a note, on rank 0. Other floats are a scale of their own, which only its own pixels have. Raises
    UserError, which names `where` the images are from, if that cannot be; None, of old checkpoints: nothing is done.
    `span` is what `span_of` says of all of them, if that is known.
    """
    if trained is None:
        return images
    span = span or span_of(images, trained)
    found = span.pixel_format
    scale = _scale_of_training(trained)
    same = found.dtype == trained.dtype
    if scale is None:
        if not same:
            raise _refusal(where, found, trained, f"{trained.dtype} pixels, prepared as those")
        _check_own_scale(span, trained, where)
        return images
    source = _scale_of_images(found, scale if same else None)
    if source is None:
        dark = scale == _BYTES and found.greatest <= _BRIGHT
        if same and not dark and span.share_outside < _OUTLIERS:
            return images
        raise _refusal(where, found, trained, "uint8, or floats of 0..1, 0..255 or -1..1")
    if same and source == scale:
        return images
    before, after = _name(found, source), _name(trained, scale)
    note(f"{where}: pixels are {before}, converted to {after}, on which the network is trained")
    dtype = np.dtype(trained.dtype)
    if isinstance(images, StreamedImages):
        return images.changed(lambda block: _rescaled(block, source, scale, dtype))
    return _rescaled(images, source, scale, dtype)


def _name(pixels: PixelFormat, scale: tuple[float, float]) -> str:
    return f"{pixels.dtype} of {scale[0]:g} to {scale[1]:g}"


def _refusal(where: str, found: PixelFormat, trained: PixelFormat, expected: str) -> UserError:
    return UserError(f"{where}: pixels are {found}, but the network was trained on {trained}; expected {expected}")


def _check_own_scale(span: PixelSpan, trained: PixelFormat, where: str) -> None:
    """Refuse pixels that cannot be of the scale that is `trained`'s own, and warn of those that hardly can be."""
    found = span.pixel_format
    if span.share_outside >= _OUTLIERS:
        raise _refusal(where, found, trained, f"{trained.dtype} pixels, prepared as those")
    margin = 0.25 * (trained.greatest - trained.least)
    beyond = found.least < trained.least - margin or found.greatest > trained.greatest + margin
    if beyond or (trained.least < 0 <= found.least):
        warn(f"{where}: pixels are {found}, but the network was trained on {trained}: is this the same scale?")


def _rescaled(
    images: np.ndarray, source: tuple[float, float], target: tuple[float, float], dtype: np.dtype
) -> np.ndarray:
    """Return pixels of one scale in another, through 0..255, where what is nearly whole is whole."""
    result = np.empty(images.shape, dtype)
    rows = max(1, _CHUNK // images.shape[1])
    for start in range(0, len(images), rows):
        part = slice(start, start + rows)
        # In the float64 in which x / 127.5 - 1 is mostly computed before it is stored.
        levels = (images[part].astype(np.float64) - source[0]) / ((source[1] - source[0]) / 255)
        whole = np.rint(levels)
        if dtype == np.uint8:
            result[part] = whole.clip(0, 255)
            continue
        levels = np.where(np.abs(levels - whole) < _SNAP, whole, levels)
        result[part] = levels / (255 / (target[1] - target[0])) + target[0]
    return result


def fitted(
    test: DataSet, trained: PixelFormat | None, shape: tuple[int, ...], where: str
) -> DataSet:  # fmt: skip
    """Return `test` with its images, if it has them, arranged to `shape` and converted to the format `trained`.

    Raises UserError, which names `where` they are from, if they cannot be.
    """
    images = test.images
    if images is not None and len(images):
        images = converted(rearranged(images, test.shape, shape, where), trained, where)
    return replace(test, images=images, shape=shape)
