"""The order of an epoch in windows: blocks of consecutive samples, and which of them are shuffled together.

What exactly this is stands in docs/design.md, section 5.
"""

from __future__ import annotations

import numpy as np

from ..config.schema import Config
from . import random

#: Blocks of a large window, and of a small one: so many that classes are mixed even where they stand one after another
#: in the file; and the samples of a block that are worth a read, which small windows have, too, if they can.
_BLOCKS, _FEWEST, _WORTH = 256, 16, 16


class Blocks:
    """The blocks of consecutive samples that an epoch is made of, one after another in a random order.

    size : samples of a window; count : of all
    """

    def __init__(self, config: Config, epoch: int, count: int) -> None:
        self.size, self.count = config.data.window, count
        self._block = max(1, min(_WORTH, self.size // _FEWEST), self.size // _BLOCKS)
        blocks = -(-count // self._block)
        order = random.order_of_blocks(config.seed, epoch, blocks) if config.train.shuffle else np.arange(blocks)
        lengths = np.full(blocks, self._block)
        lengths[-1] = count - self._block * (blocks - 1)
        self._order, self._stops = order, np.cumsum(lengths[order])
        self._starts = np.empty(blocks, np.int64)
        self._starts[order] = self._stops - lengths[order]

    def places(self, samples: np.ndarray) -> np.ndarray:
        """Return where in the sequence of blocks `samples` are, int64."""
        block, within = np.divmod(samples, self._block)
        places: np.ndarray = self._starts[block] + within
        return places

    def window(self, index: int) -> np.ndarray:
        """Return the samples of a window as they stand in the blocks, int64."""
        start, stop = index * self.size, min((index + 1) * self.size, self.count)
        first, last = np.searchsorted(self._stops, [start, stop - 1], side="right")
        blocks = self._order[first : last + 1]
        samples = (blocks[:, None] * self._block + np.arange(self._block)).ravel()
        samples = samples[samples < self.count]
        skipped = start - int(self._starts[blocks[0]])
        return samples[skipped : skipped + stop - start]

    def shuffled(self, words: np.ndarray) -> np.ndarray:
        """Return all samples, int64, those of each window in the order of their `words` (count,) uint64."""
        windows = [self.window(index) for index in range(-(-self.count // self.size))]
        return np.concatenate([window[np.argsort(words[window], kind="stable")] for window in windows])
