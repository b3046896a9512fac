"""The images of the samples in use, read from a file window by window."""

from __future__ import annotations

import numpy as np

from ..config.schema import Config
from ..data.streamed import StreamedImages
from .blocks import Blocks

#: Windows in memory: a batch may begin in one and end in the next.
_WINDOWS = 2
#: Bytes that a window of samples in their own order is to have.
_AT_ONCE = 1 << 20


def window_of(config: Config | None, images: int, row_bytes: int, at_once: int) -> tuple[int, int]:
    """Return how many windows of so many `images` are in memory, and how many images each has; see `Window`."""
    size = min(images, config.data.window if config else max(at_once, _AT_ONCE // row_bytes))
    return min(_WINDOWS, -(-images // size)), size


class Window:
    """The streamed images of the samples in use, of the last two windows of them."""

    def __init__(self, images: StreamedImages, config: Config | None, at_once: int) -> None:
        """Read `images` in the windows of `config`, or in their own order if there is none.

        at_once : how many images a batch shows
        """
        self.images, self._config = images, config
        self._parts, self._size = window_of(config, len(images), images.row_bytes, at_once)
        self._epoch, self._blocks = -1, None if config is None else Blocks(config, 0, len(images))
        self._buffer: np.ndarray | None = None
        # Windows that are in the buffer, the one used last at the end, and in which part of it each is.
        self._held: dict[int, int] = {}

    @property
    def nbytes(self) -> int:
        """The bytes of its memory when it is in use."""
        return self._parts * self._size * self.images.row_bytes

    def set_epoch(self, epoch: int) -> None:
        """Take the windows of `epoch`."""
        if self._config and epoch != self._epoch:
            self._epoch, self._blocks = epoch, Blocks(self._config, epoch, len(self.images))
            self._held.clear()

    def release(self) -> None:
        """Give the memory back until images are wanted again."""
        self._buffer = None
        self._held.clear()

    def take(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return images, (n, inputs), and in which of them `samples` are, int64; they stay there until the next call.

        Those of a batch must lie in two windows.
        """
        places = samples if self._blocks is None else self._blocks.places(samples)
        windows = places // self._size
        wanted = {int(windows.min()), int(windows.max())}
        moved = {index: (self._part(index, wanted) - index) * self._size for index in wanted}
        assert self._buffer is not None
        if len(moved) == 1:
            return self._buffer, places + moved.popitem()[1]
        first, last = sorted(moved)
        assert ((windows == first) | (windows == last)).all()  # see setup
        return self._buffer, places + np.where(windows == first, moved[first], moved[last])

    def _part(self, index: int, wanted: set[int]) -> int:
        """Return the part of the buffer that holds a window, after reading it if it must be."""
        if index in self._held:
            part = self._held.pop(index)
        else:
            if self._buffer is None:
                self._buffer = np.empty((self._parts * self._size, self.images.shape[1]), self.images.dtype)
            part = len(self._held)
            if part == self._parts:
                part = self._held.pop(next(old for old in self._held if old not in wanted))
            if self._blocks is None:
                samples = np.arange(index * self._size, min((index + 1) * self._size, len(self.images)))
            else:
                samples = self._blocks.window(index)
            start = part * self._size
            self.images.read(samples, self._buffer[start : start + len(samples)])
        self._held[index] = part
        return part
