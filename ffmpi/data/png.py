"""PNG images to classify."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np

from ..errors import UserError
from .files import DAMAGE, reading
from .kinds import PNG, describe, expect, kind_of, listing, read_head, shortened

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type of the header
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_EXPECTED = "a PNG image"


def read(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the image of `shape` in `file`, (inputs,) uint8: in grey for two axes or one channel, else in colour."""
    try:
        from PIL import Image
    except ImportError:
        raise UserError(f"{file}: reading PNG files needs Pillow, which is not installed: pip install pillow") from None
    planes = len(shape) == 3 and shape[0] in (1, 3) and (shape[2] not in (1, 3) or shape[0] == 3)
    channels = 1 if len(shape) == 2 else shape[0] if planes else shape[-1]
    if len(shape) not in (2, 3) or channels not in (1, 3):
        raise UserError(f"{file}: a PNG cannot become an image of shape {shape}, expected an HDF5 file")
    size = shape[1:] if planes else shape[:2]
    expect(file, _EXPECTED, PNG)
    damage = (*DAMAGE, SyntaxError, ValueError, Image.DecompressionBombError)
    with reading(file, _EXPECTED, damage), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked before pixels are read
        content = file.read_bytes()
        _check(file, content, size)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                raise UserError(f"{file}: has transparent pixels, expected an opaque image")
            array = np.asarray(image.convert("L" if channels == 1 else "RGB"), np.uint8)
    return np.ascontiguousarray(array.transpose(2, 0, 1) if planes and channels == 3 else array).ravel()


def _check(file: Path, content: bytes, size: tuple[int, ...]) -> None:
    """Refuse a PNG of another size or of 16 bits, and one that is not whole: Pillow fills missing rows with zeros."""
    header, data, at, ended = b"", [], 8, False
    while at + 12 <= len(content) and not ended:
        length, kind = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + length]
        if len(body) < length or len(content) < at + 12 + length:
            break
        if zlib.crc32(kind + body) != struct.unpack_from(">I", content, at + 8 + length)[0]:
            raise UserError(
                f"{file}: is damaged, its part {kind!r} does not agree with its checksum, expected a PNG image"
            )
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            data.append(body)
        ended, at = kind == b"IEND", at + 12 + length
    if len(header) != 13:
        raise UserError(f"{file}: cannot be read (no header after the first bytes), expected a PNG image")
    columns, rows, bits, colours, *_, interlace = struct.unpack(">IIBBBBB", header)
    if (rows, columns) != size:
        raise UserError(f"{file}: has {rows} rows and {columns} columns, expected {size[0]} rows and {size[1]} columns")
    if bits > 8:
        raise UserError(
            f"{file}: has {bits} bits per channel, expected 8 bits: with NumPy, (pixels // 257).astype('uint8')"
        )
    if not ended:
        raise UserError(f"{file}: is truncated after {len(content)} bytes, expected a PNG image with its end (IEND)")
    depth = bits * _CHANNELS.get(colours, 0)
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    sizes = [(-(-(rows - top) // high), -(-(columns - left) // wide)) for left, top, wide, high in passes]
    wanted = sum(high * (1 + -(-wide * depth // 8)) for high, wide in sizes if high > 0 and wide > 0)
    found = len(zlib.decompressobj().decompress(b"".join(data), wanted + 1))
    if found < wanted:
        raise UserError(
            f"{file}: holds {found} bytes of pixels, expected {wanted} for {rows} rows of {columns} columns"
        )


def read_directory(directory: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, list[str]]:
    """Return the PNG images in `directory`, (samples, inputs) uint8, and their files' names, in the order of these.

    What counts is content, not the name; a file that is called .png and is none, or another image, is an error, and
    all of those are named in one.
    """
    images, names, bad = [], [], []
    with reading(directory, "a directory of PNG files"):
        entries = sorted(
            entry for entry in directory.iterdir() if not entry.name.startswith(".") and not entry.is_dir()
        )
    for file in entries:
        try:
            head = read_head(file)
            kind = kind_of(head)
            if kind is None or kind.name != PNG:
                if file.suffix.lower() == ".png" or (kind and kind.name.endswith("image")):
                    bad.append((file.name, describe(head)))
                continue
            images.append(read(file, shape))
            names.append(file.name)
        except OSError as error:
            bad.append((file.name, f"cannot be read ({error.strerror or error})"))
        except UserError as error:
            bad.append((file.name, str(error).removeprefix(f"{file}: ")))
    if len(bad) == 1:
        raise UserError(f"{directory / bad[0][0]}: {bad[0][1]}")
    if bad:
        every = shortened((f"{name} {reason}" for name, reason in bad), between="; ")
        raise UserError(f"{directory}: {len(bad)} of {len(bad) + len(names)} images cannot be used: {every}")
    if not images:
        raise UserError(f"{directory}: holds no PNG file; it {listing(directory)}, expected a directory of PNG files")
    return np.stack(images), names
