"""PNG images to classify."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from ..errors import UserError
from .files import DAMAGE, reading


def read(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the image of `shape` in `file`, (inputs,) uint8."""
    try:
        from PIL import Image
    except ImportError:
        raise UserError(f"{file}: reading PNG files needs Pillow, which is not installed: pip install pillow") from None
    planes = len(shape) == 3 and shape[0] == 3
    if not (len(shape) == 2 or planes or (len(shape) == 3 and shape[2] == 3)):
        raise UserError(f"{file}: a PNG cannot become an image of shape {shape}, expected an HDF5 file")
    size = shape[1:] if planes else shape[:2]
    damage = (*DAMAGE, SyntaxError, ValueError, Image.DecompressionBombError)
    with reading(file, "a PNG image", damage), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked before pixels are read
        with Image.open(file, formats=("PNG",)) as image:
            if image.size != size[::-1]:
                found = f"{image.height} rows and {image.width} columns"
                raise UserError(f"{file}: has {found}, expected {size[0]} rows and {size[1]} columns")
            if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
                raise UserError(f"{file}: has pixels of kind {image.mode}, expected 8 bits per channel")
            if image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                raise UserError(f"{file}: has transparent pixels, expected an opaque image")
            array = np.asarray(image.convert("L" if len(shape) == 2 else "RGB"), np.uint8)
    return np.ascontiguousarray(array.transpose(2, 0, 1) if planes else array).ravel()
