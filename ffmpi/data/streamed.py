"""Images that stay in their file and are read when they are wanted."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ..errors import UserError
from .files import CHUNK

#: Bytes between two images that are read together and thrown away, since that takes no longer than another read.
_GAP = 1 << 16
#: Bytes of the largest chunk, which a file's library reads as a whole, that streaming takes.
LARGEST_CHUNK = 1 << 23
#: Bytes of memory that streaming takes beside the images that are asked for: chunks that are kept of the training and
#: the test images, one that is being unpacked, and what lies between the images asked for.
AROUND = 3 * LARGEST_CHUNK + 2 * CHUNK


class Source(Protocol):
    """An array of images in a file that is open.

    where : the file and the array's name, for messages
    shape : (samples, ...); dtype : uint8 or float32, of what is read
    at_once : bytes that the file's library reads at least, if only of one image
    """

    where: str
    shape: tuple[int, ...]
    dtype: np.dtype
    at_once: int

    def read_rows(self, first: int, out: np.ndarray) -> None:
        """Read the images from number `first` on into `out` (n, ...), of the type `dtype`. Raises UserError."""
        ...


#: What happens to images after they are read: (n, inputs) in, (n, other inputs) out.
Change = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """Images (samples, inputs), uint8 or float32, like an array of which only slices are read.

    source : where they are
    rows : (samples,) int64, which of its images; None: all
    changes : what is done with them after they are read, and what comes out of it: inputs and type
    """

    source: Source
    rows: np.ndarray | None = None
    changes: tuple[tuple[Change, int, np.dtype], ...] = ()

    def __len__(self) -> int:
        return self.source.shape[0] if self.rows is None else len(self.rows)

    @property
    def dtype(self) -> np.dtype:
        """Of a pixel."""
        return self.changes[-1][2] if self.changes else self.source.dtype

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and inputs."""
        return len(self), self.changes[-1][1] if self.changes else math.prod(self.source.shape[1:])

    @property
    def row_bytes(self) -> int:
        """Bytes of an image in memory."""
        return self.shape[1] * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __getitem__(self, part: slice) -> np.ndarray:
        """Read the images of a slice. Raises UserError if a pixel is not finite."""
        samples = np.arange(*part.indices(len(self)))
        out = np.empty((len(samples), self.shape[1]), self.dtype)
        self.read(samples, out)
        if out.dtype.kind == "f" and not (finite := np.isfinite(out).all(axis=1)).all():
            sample = samples[int(np.argmin(finite))]
            index = sample if self.rows is None else self.rows[sample]
            raise UserError(
                f"{self.source.where}: image {index} has a NaN or infinite pixel, expected finite float32 values"
            )
        return out

    def subset(self, samples: np.ndarray) -> StreamedImages:
        """Return some of the images, `samples` (n,) int64, ascending."""
        return replace(self, rows=samples if self.rows is None else self.rows[samples])

    def changed(self, change: Change) -> StreamedImages:
        """Return the images with something done to them after they are read."""
        one = change(np.zeros((1, self.shape[1]), self.dtype))
        return replace(self, changes=(*self.changes, (change, one.shape[1], one.dtype)))

    def read(self, samples: np.ndarray, out: np.ndarray) -> None:
        """Read the images `samples` (n,) int64 into `out` (n, inputs), in the order in which they lie in the file."""
        rows = samples if self.rows is None else self.rows[samples]
        order = np.argsort(rows, kind="stable")
        rows, row_bytes = rows[order], math.prod(self.source.shape[1:]) * self.source.dtype.itemsize
        ends = np.flatnonzero(np.diff(rows) > 1 + _GAP // row_bytes) + 1
        most = max(1, CHUNK // row_bytes)
        for start, stop in zip([0, *ends.tolist()], [*ends.tolist(), len(rows)], strict=True):
            while start < stop:
                end = int(np.searchsorted(rows[start:stop], rows[start] + most)) + start
                self._read_stretch(rows[start:end], order[start:end], out)
                start = end

    def _read_stretch(self, rows: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        """Read images near each other, `rows` ascending, to their `places` in `out`."""
        first, count, place = int(rows[0]), int(rows[-1] - rows[0]) + 1, int(places[0])
        together = count == len(rows) and (len(places) == 1 or bool((np.diff(places) == 1).all()))
        if together and not self.changes:
            self.source.read_rows(first, out[place : place + count].reshape(count, *self.source.shape[1:]))
            return
        found = np.empty((count, *self.source.shape[1:]), self.source.dtype)
        self.source.read_rows(first, found)
        images = found.reshape(count, -1)[rows - first]
        for change, _, _ in self.changes:
            images = change(images)
        out[places] = images

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all images in order, in parts that fit well into memory."""
        rows = max(1, CHUNK // self.row_bytes)
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    @cached_property
    def contents(self) -> tuple[int, float, float]:
        """The CRC-32 of all pixels, and the least and the greatest; UserError for one that is not finite."""
        digest, least, greatest = 0, math.inf, -math.inf
        for block in self.blocks():
            digest = zlib.crc32(block.data, digest)
            least, greatest = min(least, float(block.min())), max(greatest, float(block.max()))
        return digest, least, greatest


#: Images in memory, or in their file.
Images = np.ndarray | StreamedImages
