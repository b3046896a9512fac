"""What a file is, by its first bytes, whatever its name says: so that a refusal says what was found."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..config.registries import FORMATS
from ..errors import UserError

HDF5, IDX, PNG = "an HDF5 file", "an IDX file", "a PNG image"
IMAGES = tuple(f"a {name} image" for name in ("JPEG", "BMP", "GIF", "TIFF", "WebP"))  # the others that are read
NPY, NPZ = "a NumPy file, .npy", "a NumPy archive, .npz"
CSV, TEXT = "a table of text, such as CSV", "a text"
GZIP, XZ, BZIP2, TAR = "a gzip file", "an xz file", "a bzip2 file", "a tar archive"
HEAD = 4096  # bytes that tell
_HDF5 = b"\x89HDF\r\n\x1a\n"  # at the start, or after a user block of 512 bytes or a power of 2 times as many

_IMAGE = "where PNG is read, Pillow converts it: Image.open(old).save('new.png')"
_ARRAY = "what it holds can be written into an HDF5 file with h5py"
_UNPACK = "unpack it first"
_AGAIN = "it is no data: download the file again"


@dataclass(frozen=True)
class Kind:
    """What a file is, with its article, what to do where another kind is expected, and more on this file."""

    name: str
    cure: str = ""
    detail: str = ""


#: What files begin with; the first that fits counts.
_MAGIC = (
    (0, b"\x89PNG\r\n\x1a\n", Kind(PNG)),
    (0, b"\xff\xd8\xff", Kind("a JPEG image")),
    (0, b"GIF8", Kind("a GIF image")),
    (0, b"II*\0", Kind("a TIFF image")),
    (0, b"MM\0*", Kind("a TIFF image")),
    (8, b"WEBP", Kind("a WebP image")),
    (4, b"ftypheic", Kind("an HEIC image", _IMAGE)),
    (4, b"ftypavif", Kind("an AVIF image", _IMAGE)),
    (0, b"\0\0\0\x0cjP  ", Kind("a JPEG 2000 image", _IMAGE)),
    (0, b"\x93NUMPY", Kind(NPY)),
    (0, b"PK\x05\x06", Kind("an empty zip archive", _AGAIN)),
    (0, b"\x1f\x8b", Kind(GZIP, _UNPACK)),
    (0, b"\xfd7zXZ\0", Kind(XZ, _UNPACK)),
    (0, b"BZh", Kind(BZIP2, _UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", Kind("a zstd file", _UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", _UNPACK)),
    (0, b"Rar!\x1a\x07", Kind("a RAR archive", _UNPACK)),
    (257, b"ustar", Kind(TAR, _UNPACK)),
    (0, b"MATLAB 5.0 MAT-file", Kind("a MATLAB file of version 5", _ARRAY)),
    (0, b"\x0e\x03\x13\x01", Kind("an HDF4 file", "the tool h4toh5 converts it")),
    (0, b"CDF\x01", Kind("a NetCDF 3 file", "the tool nccopy -k nc4 converts it")),
    (0, b"CDF\x02", Kind("a NetCDF 3 file", "the tool nccopy -k nc4 converts it")),
    (0, b"PAR1", Kind("a Parquet file", _ARRAY)),
    (0, b"ARROW1", Kind("an Arrow file", _ARRAY)),
    (0, b"%PDF", Kind("a PDF document")),
)


def kind_of(head: bytes) -> Kind | None:
    """Return the kind of a file whose first `HEAD` bytes are `head`; None if it is none that is known here."""
    if head[:8] == _HDF5 or any(head[at : at + 8] == _HDF5 for at in (512, 1024, 2048)):
        return Kind(HDF5)
    for at, magic, kind in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return kind
    if head[:4] == b"PK\x03\x04":
        return _zip(head)
    if head[:2] == b"BM" and len(head) > 26 and head[6:10] == bytes(4):
        return Kind("a BMP image")
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return Kind("a Python pickle", f"pickles are not read, since they can run any program; {_ARRAY}")
    if head[:2] == b"\0\0" and len(head) >= 8 and head[2] in (8, 9, 11, 12, 13, 14) and 1 <= head[3] <= 8:
        return Kind(IDX)
    if head.strip(b"\0"):
        return _text(head)
    return Kind("nothing but zero bytes", _AGAIN) if len(head) > 7 else None


def _zip(head: bytes) -> Kind:
    """Tell by the name of its first member what else a zip archive is."""
    length = struct.unpack_from("<H", head, 26)[0] if len(head) > 30 else 0
    member = head[30 : 30 + length]
    if member.endswith(b".npy"):
        return Kind(NPZ)
    if b"data.pkl" in member or member.endswith(b"/byteorder"):
        return Kind("a file of PyTorch's", _ARRAY)
    return Kind("a zip archive", _UNPACK)


def _text(head: bytes) -> Kind | None:
    """Return what a file of text is; None for other bytes."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        size = re.search(rb"^size (\d+)", head, re.MULTILINE)
        instead = f" of {size[1].decode()} bytes" if size else ""
        return Kind(f"a Git LFS pointer in place of the file{instead}", "fetch the file with: git lfs pull")
    if b".git/annex/objects/" in head[:300] or start.startswith(b"/annex/objects/"):
        return Kind("a git-annex pointer in place of the file", "fetch the file with: git annex get")
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return Kind("a web page", "perhaps a server's error in place of the file: download it again")
    if start.startswith(b"<?xml"):
        return Kind("an XML document", "perhaps a server's error in place of the file: download it again")
    try:
        text = head.decode() if len(head) < HEAD else head[: HEAD - 4].decode(errors="ignore")
    except UnicodeDecodeError:
        return None
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")[:40]
    if not all(character.isprintable() or character in "\t\r\n" for character in text[:400]) or not line:
        return None
    if re.match(r"[-+\w.\"' ]+([,;\t][-+\w.\"' ]*){2,}", line):
        return Kind(CSV, detail=f", which begins {line!r}")
    return Kind(TEXT, detail=f" which begins {line!r}")


def read_head(file: Path) -> bytes:
    """Return the first bytes of `file`, as many as tell what it is; OSError if it cannot be read."""
    with file.open("rb") as stream:
        return stream.read(HEAD)


def describe(head: bytes) -> str:
    """Say what a file is which begins with `head`, and what to do about it, without a subject: ``is a ...``."""
    if not head:
        return "is empty"
    kind = kind_of(head)
    if kind is None:
        return f"begins with the bytes {head[:8].hex(' ')}, which is no format known here"
    cure = kind.cure or " or ".join(
        f"data.name = {name!r}" for name, known in FORMATS.members().items() if kind.name in known.kinds
    )
    return f"is {kind.name}{kind.detail}" + (f" ({'' if kind.cure else 'read with '}{cure})" if cure else "")


def expect(file: Path, expected: str, *wanted: str, head: bytes | None = None) -> str:
    """Return which kind of the `wanted` ones `file` is, by its first bytes, which may be given.

    Raises UserError for any other, saying what it is, and `expected`.
    """
    if os.path.isdir(file):
        raise UserError(f"{file}: is a directory, which {listing(file)}, expected {expected}")
    try:
        head = read_head(file) if head is None else head
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}), expected {expected}") from None
    kind = kind_of(head)
    if kind is None or kind.name not in wanted:
        raise UserError(f"{file}: {describe(head)}, expected {expected}")
    return kind.name


def shortened(names: Iterable[str], most: int = 10, between: str = ", ") -> str:
    """Return the first `most` names in a row, and how many more there are."""
    every = [name if name.isprintable() else ascii(name) for name in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return between.join(every[:most]) + more


def listing(directory: Path) -> str:
    """Say what a directory holds, and which known data set that is: without a subject: ``holds ...``."""
    try:
        names = sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if not names:
        return "is empty"
    known = next(
        (
            what
            for one in FORMATS.members().values()
            for pattern, what in one.holds
            if any(re.match(pattern, name.lower()) for name in names)
        ),
        "",
    )
    return f"holds {shortened(names, 6)}" + (f", {known}" if known else "")
