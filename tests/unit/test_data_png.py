"""PNG images to classify: whole or not, and folders in which some are something else."""

from __future__ import annotations

import shutil
import struct
import zlib
from functools import partial
from pathlib import Path

import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from samples import LFS, picture, pixels, refused

from ffmpi import data


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: int, *, bits: int = 8, interlace: int = 0) -> bytes:
    """Return a grey PNG of 8 x 8, of which `rows` rows are there."""
    header = struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + bytes(row[: 8 * bits // 8]) for row in pixels(8, 16)[:rows]))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_png_that_is_not_whole(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    read = partial(data.read_images, str(file), (8, 8))
    file.write_bytes(png(8))
    assert_array_equal(read()[0][0], pixels(8, 16)[:, :8].ravel())
    file.write_bytes(png(5))
    refused(read, file, "holds 45 bytes of pixels, expected 72 for 8 rows of 8 columns")
    file.write_bytes(png(8)[:-12])
    refused(read, file, "is truncated after", "IEND")
    file.write_bytes(png(8)[:-20])
    refused(read, file, "is truncated after")
    damaged = bytearray(png(8))
    damaged[50] ^= 1
    file.write_bytes(damaged)
    refused(read, file, "is damaged, its part b'IDAT' does not agree with its checksum")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA"])
def test_png_whole_in_every_kind(mode: str, tmp_path: Path) -> None:
    """No whole PNG is taken for a truncated one."""
    for rows, columns in ((1, 1), (5, 4), (9, 13)):
        image = Image.fromarray(pixels(rows, columns, 3)).convert("L").convert("RGBA" if "A" in mode else "RGB")
        image.convert(mode).save(tmp_path / "x.png")
        assert data.read_images(str(tmp_path / "x.png"), (rows, columns))[0].shape == (1, rows * columns)


def test_png_interlaced_sizes(tmp_path: Path) -> None:
    """Adam7 of an 8 x 8 image has passes of 1x1, 1x1, 1x2, 2x2, 2x4, 4x4, 4x8 pixels, a byte more for each row."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    passes = [(1, 1), (1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 8)]
    raw = b"".join((b"\0" + b"\x07" * wide) * high for high, wide in passes)
    for cut, good in ((0, True), (1, False)):
        content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw[: len(raw) - cut])) + chunk(b"IEND", b"")
        (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
        read = partial(data.read_images, str(tmp_path / "x.png"), (8, 8))
        if good:
            assert read()[0].tolist() == [[7] * 64]
        else:
            refused(read, f"holds {len(raw) - 1} bytes of pixels, expected {len(raw)}")


def test_png_with_a_channel_axis(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(png(8))
    for shape in ((8, 8), (8, 8, 1), (1, 8, 8)):
        assert_array_equal(data.read_images(str(file), shape)[0][0], pixels(8, 16)[:, :8].ravel())
    refused(lambda: data.read_images(str(file), (8, 8, 4)), "shape (8, 8, 4)", "HDF5")


def test_all_bad_files_of_a_folder_at_once(tmp_path: Path) -> None:
    """Content decides: an image of any name is read; everything that is called .png and is none is named."""
    (tmp_path / "good").write_bytes(png(8))
    (tmp_path / ".hidden.png").write_bytes(b"AppleDouble")
    (tmp_path / "notes.txt").write_text("not an image")
    assert data.read_images(str(tmp_path), (8, 8))[1] == ["good"]
    (tmp_path / "a.png").write_bytes(png(5))
    refused(lambda: data.read_images(str(tmp_path), (8, 8)), f"{tmp_path / 'a.png'}: holds 45 bytes")
    (tmp_path / "b.png").write_bytes(picture("JPEG"))
    (tmp_path / "photo.jpg").write_bytes(picture("JPEG"))
    (tmp_path / "c.png").write_bytes(LFS)
    fragments = [
        "4 of 5 images",
        "a.png: holds 45",
        "b.png: has 5 rows and 4 columns",
        "c.png: is a Git LFS",
        "photo.jpg: has 5 rows",
    ]
    refused(lambda: data.read_images(str(tmp_path), (8, 8)), *fragments)
    for i in range(20):
        shutil.copy(tmp_path / "b.png", tmp_path / f"d{i:02}.png")
    refused(lambda: data.read_images(str(tmp_path), (8, 8)), "24 of 25", "d06.png: has 5 rows", " and 14 more")
