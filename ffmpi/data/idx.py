"""MNIST's IDX files, plain or gzipped, whatever their names say of that."""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np

from ..errors import UserError
from .files import CHUNK, DEFLATE, fill, reading
from .format import Format
from .kinds import GZIP, HEAD, IDX, expect, listing, read_head
from .known import DataSet, Fields, File, Numbers
from .labels import check_labels
from .streamed import Images

IDX_PATH = "a directory with the four IDX files (train-images-idx3-ubyte and so on, plain or .gz)"
#: Where torchvision puts the files below the directory that it is given.
_FOLDERS = ("", "raw", "MNIST/raw", "FashionMNIST/raw")
_DTYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}


@dataclass(frozen=True)
class Idx(Format):
    """A published set in IDX files; `alike` are the formats whose files have the same names and sizes."""

    alike: tuple[str, ...] = ()

    kinds = (IDX,)
    holds = (
        (r"(train|t10k|test)[-_.](images|labels)[-_.]idx\d", "as MNIST and Fashion-MNIST do (data.name = 'mnist')"),
    )

    def load(self, path: Path, split: str, images: bool, fields: Fields) -> DataSet:
        """Read the labels, and the images of one split if they are wanted, from the directory `path`."""
        from . import FORMATS

        prefix = "train" if split == "train" else "t10k"
        file = _find(path, f"{prefix}-labels-idx1-ubyte")
        classes = _read(file, ())
        for other in (FORMATS[name] for name in self.alike):
            for public in other.files:
                if public.name == f"{prefix}-labels-idx1-ubyte" and self.is_published(path, public):
                    raise UserError(
                        f"{file}: is the published file of {other.name!r}, expected another, or data.name = "
                        f"{other.name!r}"
                    )
        check_labels(file, classes, self.classes)
        pixels = None
        if images:
            image_file = _find(path, f"{prefix}-images-idx3-ubyte")
            pixels = _read(image_file, self.shape).reshape(-1, math.prod(self.shape))
            if len(pixels) != len(classes):
                raise UserError(f"{image_file}: has {len(pixels)} images, expected {len(classes)} as in {file.name}")
        return DataSet(pixels, classes, self.shape, self.names)

    def images_of(
        self, path: Path, kind: str, shape: tuple[int, ...], sources: Sequence[str]
    ) -> tuple[Images, Sequence[str]]:  # fmt: skip
        """Return all images of a file, named by index."""
        images = _read(path, shape).reshape(-1, math.prod(shape))
        return images, Numbers(len(images))

    def is_published(self, path: Path, file: File) -> bool | None:
        """Compare the MD5 of a file with the published one; None if there is none for a file of this kind."""
        found = _find(path, file.name)
        with reading(found, "a readable file"):
            packed = read_head(found)[:2] == b"\x1f\x8b"
            if not file.md5 and not (packed and file.packed_md5):
                return None
            with gzip.open(found) if file.md5 and packed else found.open("rb") as stream:
                digest = hashlib.md5(usedforsecurity=False)
                while chunk := stream.read(CHUNK):
                    digest.update(chunk)
        return digest.hexdigest() == (file.md5 or file.packed_md5)


def _find(directory: Path, name: str) -> Path:
    """Return the file of the published `name`, or of one of the names that others have published it by.

    Those are train-images.idx3-ubyte and so on, test for t10k, a folder of the file's name around it, .gz behind it:
    the plain file if it is there, since it need not be decompressed.
    """
    if not directory.is_dir():
        expect(directory, IDX_PATH, IDX, GZIP)
        raise UserError(f"{directory}: is one of the files, expected {IDX_PATH}")
    split, part, dimensions = name.split("-")[:3]
    first = "train" if split == "train" else "(t10k|test)"
    pattern = re.compile(rf"{first}[-_.]{part}[-_.]{dimensions}[-_.]ubyte(\.gz)?", re.IGNORECASE)
    for folder in (directory / each for each in _FOLDERS):
        found = (
            [entry for entry in sorted(folder.iterdir()) if pattern.fullmatch(entry.name)] if folder.is_dir() else []
        )
        files = [inner for entry in found for inner in ([entry / entry.name, entry] if entry.is_dir() else [entry])]
        files = [file for file in files if file.is_file()]
        if files:
            return min(files, key=lambda file: (file.name.removesuffix(".gz") != name, file.suffix == ".gz"))
    raise UserError(f"{directory}: holds neither {name} nor {name}.gz; it {listing(directory)}; expected {IDX_PATH}")


def _read(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return (samples, *shape) uint8 from an IDX file, decompressed straight into the array."""
    magic, head = 0x0801 + len(shape), 8 + 4 * len(shape)
    what = f"an IDX file which begins with 0x{magic:08x} (unsigned bytes, {1 + len(shape)} dimensions)"
    packed = expect(file, what, IDX, GZIP) == GZIP
    with reading(file, what), cast(BufferedIOBase, gzip.open(file) if packed else file.open("rb")) as stream:
        if packed:
            expect(file, what, IDX, head=stream.read(HEAD))
            stream.seek(0)
        header = stream.read(head)
        found = int.from_bytes(header[:4], "big")
        if found != magic:
            raise UserError(f"{file}: begins with 0x{found:08x}{_meaning(found, magic)}, expected {what}")
        if len(header) < head:
            raise UserError(f"{file}: truncated after {len(header)} bytes, expected {what}")
        _, samples, *rest = struct.unpack(f">{head // 4}I", header)
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
            raise UserError(f"{file}: has bytes after its last sample, expected {size} bytes as its header says")
        return array


def _meaning(found: int, magic: int) -> str:
    """Say what the first four bytes of an IDX file mean that are not those expected."""
    if {found, magic} == {0x0801, 0x0803}:
        return f" as {'labels' if found == 0x0801 else 'images'} do: two files are swapped, or one is there twice"
    return f" ({_DTYPES[found >> 8 & 255]}, {found & 255} dimensions)"
