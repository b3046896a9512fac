"""What all readers share: reading into an array, and turning damage into one sentence."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from ..errors import UserError

DEFLATE = 1032  # deflate's largest ratio: a file that declares more than this many times its own size is lying
CHUNK = 1 << 20  # bytes moved at once between a stream and its array
DAMAGE = (OSError, EOFError, zlib.error)


@contextmanager
def reading(file: object, expected: str, damage: tuple[type[Exception], ...] = DAMAGE) -> Iterator[None]:
    """Turn whatever a broken file makes the libraries raise into one sentence."""
    try:
        yield
    except MemoryError:
        raise UserError(f"{file}: too large for this machine's memory, expected {expected}") from None
    except damage as error:
        reason = " ".join((getattr(error, "strerror", None) or str(error).strip("'\"") or type(error).__name__).split())
        raise UserError(f"{file}: cannot be read ({reason}), expected {expected}") from error


def look_for(file: Path, expected: str) -> None:
    """Raise UserError if there is nothing at `file`, or nothing that may be looked at."""
    try:
        os.stat(file)
    except FileNotFoundError:
        found = "no such file or directory"
        if os.path.islink(file):
            target = os.readlink(file)
            found = f"is a link to {target}, which is not there"
            found += ", fetch the file with: git annex get" if ".git/annex/" in target else ""
        raise UserError(f"{file}: {found}, expected {expected}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{str(file)!r}: cannot be read ({reason}), expected {expected}") from None


def fill(stream: BufferedIOBase, array: np.ndarray) -> int:
    """Read from `stream` into `array` (C order) until it is full or the stream ends; return the bytes read.

    In chunks, since a decompressor's readinto makes a copy of all it is asked for.
    """
    view, done = array.data.cast("B"), 0
    while done < len(view) and (count := stream.readinto(view[done : done + CHUNK])):
        done += count
    return done
