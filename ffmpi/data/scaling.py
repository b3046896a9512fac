"""What is measured on the training pixels, and what follows: how a pixel becomes an input, and the label's value.

The formulas are in docs/design.md, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..config.schema import Config
from .streamed import Images

_CHUNK = 1 << 18  # pixels that are widened to float64 at once
#: Least standard deviation of a pixel, as a share of that of all pixels: one that hardly varies is not blown up.
_LEAST = 0.1
#: Share of an input's squared length that its label has: of 0.01, 0.05 and 0.2 the best on photographs that were held
#: out of the training samples for validation, by less than their seeds differ.
_LABEL_SHARE = 0.05


def unit_of(images: Images) -> float:
    """Return the pixel value that counts as 1: 255 for bytes; floats are taken as they are."""
    return 255.0 if images.dtype == np.uint8 else 1.0


@dataclass(frozen=True)
class Moments:
    """Of each pixel, over `count` images: the mean and the sum of squared deviations, (pixels,) float64."""

    count: int
    mean: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True)
class PixelScaling:
    """An input is (pixel / unit - mean) / std.

    mean, std : (1,) for all pixels or (pixels,), float32
    square : (1,), mean over the training images of the sum of their squared inputs, float32
    """

    mean: np.ndarray
    std: np.ndarray
    square: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint keeps, by the names in it."""
        return {"inputs/mean": self.mean, "inputs/std": self.std, "inputs/square": self.square}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], pixels: int) -> PixelScaling:
        """Return what `arrays` gave, for images of `pixels`; ValueError if they cannot be that."""
        found = cls(*(arrays.get(f"inputs/{name}", np.empty(0)) for name in ("mean", "std", "square")))
        if found.mean.shape not in ((1,), (pixels,)) or found.std.shape not in ((1,), (pixels,)):
            raise ValueError(f"inputs/mean and inputs/std have the shapes {found.mean.shape} and {found.std.shape}")
        if found.square.shape != (1,) or not (found.std > 0).all():
            raise ValueError("inputs/std or inputs/square is no positive number")
        return found


def moments(images: Images) -> Moments:
    """Measure `images` (samples, pixels), row after row, so that the bits do not depend on the machine."""
    unit, rows = unit_of(images), max(1, _CHUNK // images.shape[1])
    starts = range(0, len(images), rows)
    mean, squares = np.zeros(images.shape[1]), np.zeros(images.shape[1])
    for start in starts:
        mean += images[start : start + rows].sum(axis=0, dtype=np.float64)
    mean /= len(images) * unit
    for start in starts:
        deviations = images[start : start + rows] / unit - mean
        squares += np.square(deviations).sum(axis=0)
    return Moments(len(images), mean, squares)


def combined(parts: Sequence[Moments]) -> Moments:
    """Return the moments of all images of `parts` (Chan, Golub and LeVeque, 1979)."""
    whole, *others = parts
    for part in others:
        count, apart = whole.count + part.count, part.mean - whole.mean
        squares = whole.squares + part.squares + apart**2 * (whole.count * part.count / count)
        whole = Moments(count, whole.mean + apart * (part.count / count), squares)
    return whole


def scaling_of(config: Config, parts: Sequence[Moments]) -> PixelScaling | None:
    """Return what `data.standardise` asks for, measured on the shards `parts`, if there are any.

    Images that are all the same keep their scale.
    """
    if not parts:
        return None
    whole = combined(parts)
    mean, variance = whole.mean, whole.squares / whole.count
    centre = math.fsum(mean) / len(mean)
    spread = math.sqrt(math.fsum(variance + (mean - centre) ** 2) / len(mean)) or 1.0
    if config.data.standardise == "pixel":
        std = np.maximum(np.sqrt(variance), _LEAST * spread)
    else:
        mean, std = np.array([centre]), np.array([spread])
    length = math.fsum((variance + (whole.mean - mean) ** 2) / std**2)
    square = np.array([length or len(variance)])
    return PixelScaling(mean.astype(np.float32), std.astype(np.float32), square.astype(np.float32))


def slope_and_offset(config: Config, scaling: PixelScaling | None, images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Return slope and offset, (pixels,) float32 both: an input is slope * pixel + offset."""
    mean, std = (config.data.mean, config.data.std) if scaling is None else (scaling.mean, scaling.std)
    ones = np.ones(images.shape[1])
    slope, offset = ones / (unit_of(images) * (ones * std)), -(ones * mean) / (ones * std)
    return slope.astype(np.float32), offset.astype(np.float32)


def label_value(scaling: PixelScaling | None) -> float:
    """Return the value of a label beside measured pixels, so that it is not lost among many; else 1."""
    return 1.0 if scaling is None else float(np.float32(math.sqrt(_LABEL_SHARE * scaling.square[0])))
