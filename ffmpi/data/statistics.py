"""What the samples of a data set are like, measured in passing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .known import DataSet
from .streamed import Images

_CHUNK = 1 << 18  # pixels that are widened to float64 at once


@dataclass(frozen=True)
class Weights:
    """How often losses count: the least, greatest and mean weight of the samples, and how many weigh nothing."""

    least: float
    greatest: float
    mean: float
    none: int


@dataclass(frozen=True)
class Split:
    """The samples of one split.

    least, greatest, mean, std : of all pixels, as they stand in the file
    per_class : samples of each class
    constant_pixels : pixels that have one value in all images
    repeated : images that are the same as one before them
    contradicting : different images that are there with more than one class
    weights : of the samples, if they have some
    """

    samples: int
    dtype: str
    least: float
    greatest: float
    mean: float
    std: float
    per_class: tuple[int, ...]
    constant_pixels: int
    repeated: int
    contradicting: int
    weights: Weights | None = None


@dataclass(frozen=True)
class Statistics:
    """A data set's splits; `shared` is the number of test images that are training images, too."""

    shape: tuple[int, ...]
    names: tuple[str, ...]
    splits: dict[str, Split]
    shared: int


@dataclass(frozen=True)
class Summary:
    """What `data.check` found.

    files : for each public file whether its MD5 is the published one; None: nothing was published to compare with
    """

    name: str
    statistics: Statistics
    files: dict[str, bool | None]

    @property
    def dtype(self) -> str:
        """Of the training images."""
        return self.statistics.splits["train"].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image."""
        return self.statistics.shape

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return self.statistics.names

    @property
    def samples(self) -> dict[str, int]:
        """Of each split."""
        return {name: split.samples for name, split in self.statistics.splits.items()}

    @property
    def per_class(self) -> dict[str, tuple[int, ...]]:
        """Samples of each class in each split."""
        return {name: split.per_class for name, split in self.statistics.splits.items()}

    @property
    def verified(self) -> bool | None:
        """True: every file is the published one; False: at least one is not; None: some cannot be compared."""
        verdicts = set(self.files.values())
        return False if False in verdicts else None if None in verdicts or not verdicts else True


class Tally:
    """Measures one split, block after block, in little memory: 9 bytes a sample and 24 a pixel of one image."""

    def __init__(self, classes: int) -> None:
        self._per_class = np.zeros(classes, np.int64)
        self._dtype = np.dtype(np.uint8)
        self._low = self._high = np.empty(0)
        self._moments = 0, 0.0, 0.0
        self._hashes: list[np.ndarray] = []
        self._classes: list[np.ndarray] = []
        self._weights: list[np.ndarray] = []

    def add(self, images: Images, classes: np.ndarray) -> Tally:
        """Count `images` (n, pixels) uint8 or float32 of `classes` (n,); returns itself."""
        self._dtype = images.dtype
        self._per_class += np.bincount(classes, minlength=len(self._per_class))
        self._classes.append(classes)
        rows = max(1, _CHUNK // images.shape[1])
        for start in range(0, len(images), rows):
            self._measure(images[start : start + rows])
        return self

    def weigh(self, weights: np.ndarray) -> None:
        """Count the weights (n,) float32 of some samples."""
        self._weights.append(weights)

    def _measure(self, block: np.ndarray) -> None:
        low, high = block.min(axis=0), block.max(axis=0)
        self._low, self._high = (
            (np.minimum(self._low, low), np.maximum(self._high, high)) if self._moments[0] else (low, high)
        )
        if block.dtype == np.uint8:  # much faster than widening every pixel
            values, counts = np.arange(256.0), np.bincount(block.ravel(), minlength=256)
        else:
            values, counts = block.ravel().astype(np.float64), np.ones(1, np.int64)
        mean = float((values * counts).sum()) / block.size
        squares = float((np.square(values - mean) * counts).sum())
        self._moments = _combined(self._moments, (block.size, mean, squares))
        digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in np.ascontiguousarray(block))
        self._hashes.append(np.frombuffer(digests, np.uint64))

    @property
    def hashes(self) -> np.ndarray:
        """A number for each image, (samples,) uint64, the same for the same pixels."""
        return np.concatenate(self._hashes)

    def split(self) -> Split:
        """Return what was measured."""
        hashes, classes = self.hashes, np.concatenate(self._classes)
        count, mean, squares = self._moments
        order = np.lexsort((classes, hashes))
        hashes, classes = hashes[order], classes[order]
        same = hashes[1:] == hashes[:-1]
        other = same & (classes[1:] != classes[:-1])
        return Split(
            samples=len(classes),
            dtype=str(self._dtype),
            least=float(self._low.min()),
            greatest=float(self._high.max()),
            mean=mean,
            std=math.sqrt(squares / count),
            per_class=tuple(self._per_class.tolist()),
            constant_pixels=int(np.count_nonzero(self._low == self._high)),
            repeated=int(np.count_nonzero(same)),
            contradicting=len(np.unique(hashes[1:][other])),
            weights=_measured(np.concatenate(self._weights)) if self._weights else None,
        )


def _measured(weights: np.ndarray) -> Weights:
    mean = math.fsum(weights.tolist()) / len(weights)
    return Weights(float(weights.min()), float(weights.max()), mean, int(np.count_nonzero(weights == 0)))


def _combined(one: tuple[int, float, float], other: tuple[int, float, float]) -> tuple[int, float, float]:
    """Return count, mean and squared deviations of two sets of pixels (Chan, Golub and LeVeque, 1979)."""
    count, apart = one[0] + other[0], other[1] - one[1]
    squares = one[2] + other[2] + apart**2 * (one[0] * other[0] / count)
    return count, one[1] + apart * (other[0] / count), squares


def tally(*parts: DataSet) -> Tally:
    """Return the tally of a split that is in memory, in one part or several."""
    found = Tally(len(parts[0].names))
    for part in parts:
        assert part.images is not None
        found.add(part.images, part.classes)
        if part.weights is not None:
            found.weigh(part.weights)
    return found


def combined(parts: Sequence[Statistics]) -> Statistics:
    """Return the statistics of training samples that lie in several places, with the same test samples.

    Nobody sees all images: those that are in two places are not found, and pixels count as constant that are so in
    each place.
    """
    first, *others = (part.splits["train"] for part in parts)
    moments = first.samples, first.mean, first.samples * first.std**2
    for other in others:
        moments = _combined(moments, (other.samples, other.mean, other.samples * other.std**2))
    every = [first, *others]
    train = Split(
        samples=moments[0],
        dtype=first.dtype if all(part.dtype == first.dtype for part in others) else "mixed",
        least=min(part.least for part in every),
        greatest=max(part.greatest for part in every),
        mean=moments[1],
        std=math.sqrt(moments[2] / moments[0]),
        per_class=tuple(map(sum, zip(*(part.per_class for part in every), strict=True))),
        constant_pixels=min(part.constant_pixels for part in every),
        repeated=sum(part.repeated for part in every),
        contradicting=sum(part.contradicting for part in every),
        weights=_weights_of(every),
    )
    whole, shared = parts[0], sum(part.shared for part in parts)
    return Statistics(whole.shape, whole.names, whole.splits | {"train": train}, shared)


def _weights_of(parts: Sequence[Split]) -> Weights | None:
    """Return the weights of samples in several places."""
    found = [part.weights for part in parts if part.weights]
    if not found:
        return None
    least, greatest, _, none = zip(*found, strict=True)
    sums = math.fsum(part.samples * part.weights.mean for part in parts if part.weights)
    return Weights(min(least), max(greatest), sums / sum(part.samples for part in parts), sum(none))


def statistics_of(shape: tuple[int, ...], names: tuple[str, ...], tallies: dict[str, Tally]) -> Statistics:
    """Return what the tallies of a data set's splits say."""
    shared = 0
    if len(tallies) == 2:
        train, test = tallies.values()
        shared = int(np.count_nonzero(np.isin(test.hashes, train.hashes)))
    return Statistics(shape, names, {split: found.split() for split, found in tallies.items()}, shared)
