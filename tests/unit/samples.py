"""Small files of data sets, and what tests expect of a refusal."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffmpi.errors import UserError

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 2572022\n"


def refused(call: Callable[[], object], *fragments: object) -> None:
    """`call` raises a UserError of one line which holds all fragments and ends without a full stop."""
    with pytest.raises(UserError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and not text.endswith(".") and ". " not in text, text
    for fragment in fragments:
        assert str(fragment) in text, text


def pixels(samples: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(samples).integers(0, 256, (samples, *shape), np.uint8)


def labels(samples: int) -> np.ndarray:
    return (np.arange(samples) * 7 % 10).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{array.ndim + 1}I", 0x0800 | array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder: Path) -> Path:
    """Write 30 training and 20 test samples as IDX files, images plain and labels gzipped."""
    for prefix, samples in (("train", 30), ("t10k", 20)):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(pixels(samples, 28, 28)))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels(samples))))
    return folder


def bytes_of(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def picture(kind: str) -> bytes:
    return bytes_of(lambda stream: Image.fromarray(pixels(5, 4)).save(stream, kind))
