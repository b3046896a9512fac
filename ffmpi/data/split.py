"""How samples are divided: validation samples from those to learn from, and these into shards."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from .. import data
from ..config.schema import Config
from ..errors import UserError
from . import DataSet
from .scaling import Moments, moments
from .streamed import LARGEST_CHUNK, Images, StreamedImages

#: Images that are compared, where none but its own are read by a rank.
_GLIMPSED = 8


def load(config: Config, split: str, *, images: bool, path: str = "") -> DataSet:
    """Return one split of the configured data set, or of the one at `path`; its images are left there if `streams`.

    Training samples have their weights, if the configuration names some.
    """
    fields = data.Fields(config.data.images, config.data.labels, config.data.weights)
    place, streamed = path or config.data.path or None, streams(config)
    found = data.load(config.data.name, place, split, images=images, fields=fields, streamed=streamed)
    if isinstance(found.images, StreamedImages) and found.images.source.at_once > LARGEST_CHUNK:
        source = found.images.source
        raise UserError(
            f"data.window = {config.data.window}: {source.where} lies in chunks of {source.at_once / 2**20:.0f} MB, "
            f"expected at most {LARGEST_CHUNK >> 20} MB; 'ffmpi data convert' writes the file anew"
        )
    return found


def load_in_order(config: Config, split: str, path: str = "") -> DataSet:
    """Return a split, without weights, whose images are to be read in order: left in their files if they can."""
    fields = data.Fields(config.data.images, config.data.labels)
    place = path or config.data.path or None
    found = data.load(config.data.name, place, split, fields=fields, streamed=True)
    if isinstance(found.images, StreamedImages) and found.images.source.at_once > LARGEST_CHUNK:
        return data.load(config.data.name, place, split, fields=fields)
    return found


def streams(config: Config) -> bool:
    """Return whether images are left in their file until they are wanted."""
    return bool(config.data.window) and data.FORMATS[config.data.name].streams


@dataclass(frozen=True)
class Contents:
    """What a rank has read of a split: its sizes, and the CRC-32 of its classes and, if it has them, of its images."""

    samples: int
    shape: tuple[int, ...]
    names: tuple[str, ...]
    classes: int
    images: int | None
    digest: int  # of images, classes and, if there are any, weights; 0 without images
    weights: int | None = None

    def facts(self, source: str) -> dict[str, str]:
        """Say so in words, for the comparison of ranks."""
        names = f"{len(self.names)} classes, names of CRC-32 {zlib.crc32(repr(self.names).encode()):08x}"
        facts = {
            source: f"{self.samples} samples of shape {self.shape} in {names}",
            f"{source}, classes": f"CRC-32 {self.classes:08x}",
        }
        parts = {"images": self.images, "weights": self.weights}
        return facts | {f"{source}, {name}": f"CRC-32 {part:08x}" for name, part in parts.items() if part is not None}


def contents(read: DataSet) -> Contents:
    """Return what was read."""
    images = None
    if isinstance(read.images, StreamedImages):
        images = read.images.contents[0]
    elif read.images is not None:
        images = zlib.crc32(np.ascontiguousarray(read.images).data)
    classes = read.classes.tobytes()
    digest = 0 if images is None else zlib.crc32(classes, images)
    weights = None
    if read.weights is not None:
        weights = zlib.crc32(read.weights.tobytes())
        digest = digest and zlib.crc32(read.weights.tobytes(), digest)
    return Contents(len(read.classes), read.shape, read.names, zlib.crc32(classes), images, digest, weights)


def partition(config: Config, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples to learn from and those to validate with, of a training split, both ascending.

    words : (samples,), drawn for this; the samples with the smallest ones are for validation, whatever their classes

    Raises UserError if `data.validation` leaves one of the two empty.
    """
    asked, count = config.data.validation, len(words)
    taken = asked if isinstance(asked, int) else max(1, round(asked * count))
    if not 0 <= taken < count:
        raise UserError(f"data.validation = {asked}: expected fewer than the {count} training samples that there are")
    order = np.argsort(words, kind="stable")
    return np.sort(order[taken:]), np.sort(order[:taken])


def divide(config: Config, classes: np.ndarray, words: np.ndarray) -> list[np.ndarray]:
    """Return the samples of each shard, ascending: a shuffle, or the order of the classes, cut by the sizes.

    words : (samples,), drawn for this
    """
    shards, count = config.shards, len(classes)
    if shards.count == 1:
        return [np.arange(count)]
    if shards.count > count:
        raise UserError(f"shards.count = {shards.count}: expected at most one for each of the {count} samples")
    if shards.by == "class":
        order = np.argsort(classes, kind="stable")
    else:
        order = np.argsort(words, kind="stable")
    shares = np.cumsum(shards.sizes or [1.0] * shards.count)
    parts = np.split(order, (count * shares[:-1] / shares[-1]).astype(int))
    if not all(map(len, parts)):
        raise UserError(
            f"shards.count = {shards.count}, shards.sizes = {shards.sizes}: {count} samples leave one empty"
        )
    return [np.sort(part) for part in parts]


def subset(whole: DataSet, samples: np.ndarray) -> DataSet:
    """Return a data set of some of the samples, without holding on to the others."""
    if len(samples) == len(whole.classes):
        return whole
    images, weights = whole.images, None if whole.weights is None else whole.weights[samples]
    if images is not None:
        images = images.subset(samples) if isinstance(images, StreamedImages) else images[samples]
    return dataclasses.replace(whole, images=images, classes=whole.classes[samples], weights=weights)


def glimpsed(read: DataSet) -> Contents:
    """Return what was read, but that the CRC-32 of the images is that of a few of them."""
    assert read.images is not None
    return dataclasses.replace(contents(dataclasses.replace(read, images=None)), images=glimpse(read.images))


def glimpse(images: Images) -> int:
    """Return the CRC-32 of a few images, the first and the last among them."""
    places = np.linspace(0, len(images) - 1, _GLIMPSED).astype(int).tolist() if len(images) else []
    return reduce(lambda digest, at: zlib.crc32(images[at : at + 1].tobytes(), digest), places, 0)


def measured(config: Config, parts: Iterable[DataSet]) -> list[Moments]:
    """Return the moments of the pixels in the shards `parts`, or nothing if the configuration asks for none."""
    if config.data.standardise == "fixed":
        return []
    return [moments(part.images) for part in parts if part.images is not None]
