"""Random draws, keyed by what they are for and never by rank (docs/design.md, section 7).

Every draw is integer arithmetic on the raw words of Philox4x64 (Salmon et al., 2011), a counter-based generator that
NumPy promises to keep; NumPy's own distributions may change between builds.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a draw is for: part of the key, so the numbers must never change."""

    WEIGHTS = 1
    HEAD = 2
    ORDER = 3
    NEGATIVES = 4
    CHOICE = 5
    SHARD = 6
    VALIDATION = 7
    AUGMENTATION = 8
    TRANSFORM = 9


def _generator(seed: int, purpose: Purpose, epoch: int, layer: int) -> np.random.Philox:
    key = np.array([seed, purpose], np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, layer, epoch], np.uint64))


def words(seed: int, purpose: Purpose, epoch: int, count: int) -> np.ndarray:
    """Return `count` uint64 words, one a sample, for an epoch or a chapter."""
    return _generator(seed, purpose, epoch, 0).random_raw(count)


def augmentation(seed: int, epoch: int, place: int, count: int) -> np.ndarray:
    """Return `count` uint64 words, one a sample, for the augmentation at `place` in the list of them."""
    return _generator(seed, Purpose.AUGMENTATION, epoch, place).random_raw(count)


def of_transform(layer: int, place: int) -> int:
    """Return what keys the draws of a transform on the input of `layer`, below 1024, at `place`, below 64, in the list.

    Layer 0 stands for the images.
    Its counters are those of Philox4x32, see `kernels.dropout`.
    """
    return (place << 10 | layer) << 8 | Purpose.TRANSFORM


def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return a shuffle of range(count), int64: the indices sorted by a random word each."""
    return np.argsort(words(seed, Purpose.ORDER, epoch, count), kind="stable").astype(np.int64)


def order_of_blocks(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return a shuffle of range(count), int64, drawn beside that of the samples."""
    return np.argsort(_generator(seed, Purpose.ORDER, epoch, 1).random_raw(count), kind="stable").astype(np.int64)


def wrong_classes(seed: int, epoch: int, classes: np.ndarray, number: int) -> np.ndarray:
    """Return for each of `classes` another class of the `number` there are, int64, evenly drawn."""
    upper = words(seed, Purpose.NEGATIVES, epoch, len(classes)) >> np.uint64(32)
    jump = (upper * np.uint64(number - 1)) >> np.uint64(32)
    return (classes.astype(np.int64) + 1 + jump.astype(np.int64)) % number


#: Words that come from one value of the generator's counter.
_WORDS = 4
_WHOLE = slice(None)


def _matrix(
    seed: int, purpose: Purpose, layer: int, shape: tuple[int, int], part: tuple[slice, slice], each: int,
    numbers: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Return the rows and columns in `part` of a float32 matrix whose rows are `numbers` of so many words `each`.

    The counter jumps over what is not wanted.
    """
    rows, columns = (range(*one.indices(size)) for one, size in zip(part, shape, strict=True))
    key, count = np.array([seed, purpose], np.uint64), each * len(columns)
    matrix = np.empty((len(rows), len(columns)), np.float32)
    for line, row in zip(matrix, rows, strict=True):  # row by row, to need no more memory than the numbers
        jump, skipped = divmod(each * (row * shape[1] + columns.start), _WORDS)
        generator = np.random.Philox(key=key, counter=np.array([jump, 0, layer, 0], np.uint64))
        line[:] = numbers(generator.random_raw(skipped + count)[skipped:])
    return matrix


def uniform(
    seed: int, purpose: Purpose, layer: int, shape: tuple[int, int], bound: float,
    part: tuple[slice, slice] = (_WHOLE, _WHOLE),
) -> np.ndarray:  # fmt: skip
    """Return float32 weights of `shape` evenly from [-bound, bound), or only the rows and columns in `part` of them."""
    weights = _matrix(seed, purpose, layer, shape, part, 1, lambda raw: (raw >> np.uint64(40)).astype(np.float32))
    weights *= np.float32(2.0**-23)
    weights -= np.float32(1)
    weights *= np.float32(bound)
    return weights


def normal(
    seed: int, purpose: Purpose, layer: int, shape: tuple[int, int], deviation: float,
    part: tuple[slice, slice] = (_WHOLE, _WHOLE),
) -> np.ndarray:  # fmt: skip
    """Return float32 weights of `shape`, or of a `part`, that are normal but for an excess kurtosis of -0.03.

    The bits set in one word are binomial, (64, 1/2), with deviation 4; a second word spreads each count evenly over
    its unit. No logarithm or cosine, whose last bit depends on the machine's library.
    """

    def numbers(raw: np.ndarray) -> np.ndarray:
        spread = (raw[1::2] >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        return np.bitwise_count(raw[0::2]).astype(np.float32) + spread

    weights = _matrix(seed, purpose, layer, shape, part, 2, numbers)
    weights -= np.float32(32.5)
    weights *= np.float32(deviation / np.sqrt(16 + 1 / 12))
    return weights
