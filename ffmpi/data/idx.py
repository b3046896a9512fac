"""MNIST's IDX files, plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np

from ..errors import UserError
from .files import CHUNK, DEFLATE, check_labels, fill, reading
from .known import IDX_PATH, DataSet, File, Known


def load(known: Known, path: Path, split: str, images: bool) -> DataSet:
    """Read the labels, and the images of one split if they are wanted, from the directory `path`."""
    prefix = "train" if split == "train" else "t10k"
    file = _find(path, f"{prefix}-labels-idx1-ubyte")
    classes = _read(file, ())
    check_labels(file, classes, known.classes)
    pixels = None
    if images:
        image_file = _find(path, f"{prefix}-images-idx3-ubyte")
        pixels = _read(image_file, known.shape).reshape(-1, math.prod(known.shape))
        if len(pixels) != len(classes):
            raise UserError(f"{image_file}: has {len(pixels)} images, expected {len(classes)} as in {file.name}")
    return DataSet(pixels, classes, known.shape, known.names)


def _find(directory: Path, name: str) -> Path:
    """The plain file if it is there, since it need not be decompressed, else the ``.gz``."""
    for file in (directory / name, directory / f"{name}.gz"):
        if file.is_file():
            return file
    raise UserError(f"{directory}: holds neither {name} nor {name}.gz, expected {IDX_PATH}")


def _read(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return (samples, *shape) uint8 from an IDX file, decompressed straight into the array."""
    packed = file.suffix == ".gz"
    magic, head = 0x0801 + len(shape), 8 + 4 * len(shape)
    what = f"an IDX file which begins with 0x{magic:08x} (unsigned bytes, {1 + len(shape)} dimensions)"
    with reading(file, what), cast(BufferedIOBase, gzip.open(file) if packed else file.open("rb")) as stream:
        header = stream.read(head)
        if len(header) < head:
            raise UserError(f"{file}: truncated after {len(header)} bytes, expected {what}")
        found, samples, *rest = struct.unpack(f">{head // 4}I", header)
        if found != magic:
            raise UserError(f"{file}: begins with 0x{found:08x}, expected {what}")
        if tuple(rest) != shape or samples == 0:
            expected = " x ".join(map(str, ("samples", *shape)))
            raise UserError(f"{file}: has dimensions {' x '.join(map(str, (samples, *rest)))}, expected {expected}")
        size, stored = samples * math.prod(shape), file.stat().st_size
        if size > (stored * DEFLATE if packed else stored):
            raise UserError(f"{file}: truncated at {stored} bytes, expected {size} bytes of data as its header says")
        array = np.empty((samples, *shape), np.uint8)
        if (done := fill(stream, array)) < size:
            raise UserError(f"{file}: truncated after {done} bytes of data, expected {size} as its header says")
        if stream.read(1):  # for .gz this also reads, and so checks, the checksum at the end
            raise UserError(f"{file}: goes on after its last sample, expected {size} bytes of data as its header says")
        return array


def is_published(directory: Path, public: File) -> bool | None:
    """Compare the MD5 of a file with the published one; None if there is none for a file of this kind."""
    file = _find(directory, public.name)
    packed = file.suffix == ".gz"
    if not public.md5 and not (packed and public.packed_md5):
        return None
    with reading(file, "a readable file"), gzip.open(file) if public.md5 and packed else file.open("rb") as stream:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == (public.md5 or public.packed_md5)
