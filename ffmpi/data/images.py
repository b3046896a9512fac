"""Image files, which Pillow reads: PNG, JPEG, BMP and others."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .files import DAMAGE, reading
from .kinds import HEAD, IMAGES, PNG, describe, expect, kind_of, listing, read_head, shortened
from .streamed import Images, StreamedImages

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type of the header
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
#: Pixels in a directory of which more are not read at once.
_MANY = 1 << 24
_EXPECTED = "an image such as PNG or JPEG"
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Form:
    """Rows and columns of an image, and whether it is grey (L) or in colour (RGB)."""

    rows: int
    columns: int
    mode: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its array."""
        return (self.rows, self.columns) if self.mode == "L" else (self.rows, self.columns, 3)

    def __str__(self) -> str:
        """Say it as in a message."""
        return f"{self.rows} rows and {self.columns} columns, {'grey' if self.mode == 'L' else 'in colour'}"


@contextmanager
def opened(file: Path, content: bytes | None = None) -> Iterator[Any]:
    """Open an image of Pillow's, of which at first only the header is read; `content` is that of the file, if known.

    Raises UserError for what is no image, or more than one, and for whatever is wrong with it, also in the block.
    """
    try:
        from PIL import Image
    except ImportError:
        raise UserError(f"{file}: reading images needs Pillow, which is not installed: pip install pillow") from None
    format_of = {PNG: "PNG"} | {name: name.split()[1].upper() for name in IMAGES}
    kind = expect(file, _EXPECTED, PNG, *IMAGES, head=None if content is None else content[:HEAD])
    damage = (*DAMAGE, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)
    with reading(file, _EXPECTED, damage), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)  # of metadata
        source = file if content is None else io.BytesIO(content)
        with Image.open(source, formats=(format_of[kind],)) as image:
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise UserError(f"{file}: has {frames} frames, expected one image")
            yield image


def form_of(file: Path) -> Form:
    """Return what the header of an image says. Raises UserError as `opened` does."""
    with opened(file) as image:
        return _form(file, image)


def _form(file: Path, image: Any) -> Form:
    if image.mode[0] in "IF":
        raise UserError(
            f"{file}: has {'16 or ' if image.mode[0] == 'I' else ''}32 bits per channel, expected 8 bits: with NumPy, "
            "(pixels // 257).astype('uint8')"
        )
    palette = np.array(image.getpalette() or [0, 0, 0]).reshape(-1, 3) if image.mode in ("P", "PA") else None
    grey = image.mode in ("1", "L", "LA") if palette is None else (palette == palette[:, :1]).all()
    return Form(image.height, image.width, "L" if grey else "RGB")


def pixels_of(file: Path, size: tuple[int, ...] | None, mode: str) -> np.ndarray:
    """Return the pixels of an image of `size`, if one is given, in the `mode` L (rows, columns) or RGB (.., .., 3)."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}), expected {_EXPECTED}") from None
    with opened(file, content) as image:
        if size and (image.height, image.width) != size:
            raise UserError(
                f"{file}: has {image.height} rows and {image.width} columns, expected {size[0]} rows and {size[1]} "
                "columns"
            )
        if image.format == "PNG":
            _check_png(file, content)
        _form(file, image)
        transparent = "A" in image.mode or "transparency" in image.info
        if transparent and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            raise UserError(f"{file}: has transparent pixels, expected an opaque image")
        return np.asarray(image.convert(mode), np.uint8)


def read(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the image of `shape` in `file`, (inputs,) uint8: in grey for two axes or one channel, else in colour."""
    planes = len(shape) == 3 and shape[0] in (1, 3) and (shape[2] not in (1, 3) or shape[0] == 3)
    channels = 1 if len(shape) == 2 else shape[0] if planes else shape[-1]
    if len(shape) not in (2, 3) or channels not in (1, 3):
        raise UserError(f"{file}: no such file can become an image of shape {shape}, expected an HDF5 or NumPy file")
    array = pixels_of(file, shape[1:] if planes else shape[:2], "L" if channels == 1 else "RGB")
    return np.ascontiguousarray(array.transpose(2, 0, 1) if planes and channels == 3 else array).ravel()


def _check_png(file: Path, content: bytes) -> None:
    """Refuse a PNG of 16 bits, and one that is not whole: Pillow fills missing rows with zeros."""
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


def is_image(file: Path) -> bool:
    """Return whether `file` is an image by its content. Raises UserError for what only its name calls an image."""
    try:
        head = read_head(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}), expected {_EXPECTED}") from None
    kind = kind_of(head)
    if kind and kind.name in (PNG, *IMAGES):
        return True
    if file.suffix.lower() in _SUFFIXES or (kind and kind.name.endswith("image")):
        raise UserError(f"{file}: {describe(head)}, expected {_EXPECTED}")
    return False


def refuse(directory: Path, bad: Sequence[UserError], files: int, expected: str = "") -> None:
    """Raise one UserError for all `bad` files of `directory`, of `files` images, if there are any."""
    if len(bad) == 1:
        raise bad[0]
    if bad:
        every = shortened((str(error).removeprefix(f"{directory}/") for error in bad), between="; ")
        raise UserError(f"{directory}: {len(bad)} of {files} images cannot be used: {every}{expected}")


class _Pictures:
    """Files of images of one shape, see `streamed.Source`."""

    dtype, at_once = np.dtype(np.uint8), 1

    def __init__(self, directory: Path, files: list[Path], shape: tuple[int, ...]) -> None:
        self.where, self._files, self._shape = str(directory), files, shape
        self.shape: tuple[int, ...] = len(files), math.prod(shape)

    def read_rows(self, first: int, out: np.ndarray) -> None:
        """Read the images from number `first` on into `out`. Raises UserError for the first that cannot be read."""
        for index in range(len(out)):
            out[index] = read(self._files[first + index], self._shape)


def read_directory(directory: Path, shape: tuple[int, ...]) -> tuple[Images, list[str]]:
    """Return the images in `directory`, (samples, inputs) uint8, and their files' names, in the order of these.

    What counts is content, not the name; a file that is called .png and is none, or another image, is an error, and
    all of those are named in one. Many images are read when they are wanted.
    """
    files: list[Path] = []
    bad: list[UserError] = []
    with reading(directory, "a directory of images"):
        entries = sorted(
            entry for entry in directory.iterdir() if not entry.name.startswith(".") and not entry.is_dir()
        )
    for file in entries:
        try:
            if is_image(file):
                files.append(file)
        except UserError as error:
            bad.append(error)
    names, total = [file.name for file in files], len(files) + len(bad)
    if len(files) * math.prod(shape) > _MANY:
        refuse(directory, bad, total)
        return StreamedImages(_Pictures(directory, files, shape)), names
    found: list[np.ndarray] = []
    for file in files:
        try:
            found.append(read(file, shape))
        except UserError as error:
            bad.append(error)
    refuse(directory, sorted(bad, key=str), total)
    if not found:
        raise UserError(f"{directory}: holds no image; it {listing(directory)}, expected a directory of images")
    return np.stack(found), names
