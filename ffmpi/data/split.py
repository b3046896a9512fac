"""Shards: how the training samples are divided among the ranks of a federated run."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import data
from ..config.schema import SHARD, Config
from ..errors import UserError
from ..network import random
from ..runtime.agreement import agree
from ..runtime.mpi import all_ranks_or_exit, allgather
from . import DataSet
from .info import DatasetInfo
from .pixels import PixelFormat, combined_format, fitted, measured_format
from .scaling import Moments, PixelScaling, moments, scaling_of


def load(config: Config, split: str, *, images: bool, path: str = "") -> DataSet:
    """Return one split of the configured data set, or of the one at `path`."""
    fields = data.Fields(config.data.images, config.data.labels)
    return data.load(config.data.name, path or config.data.path or None, split, images=images, fields=fields)


@dataclass(frozen=True)
class Contents:
    """What a rank has read of a split: its sizes, and the CRC-32 of its classes and, if it has them, of its images."""

    samples: int
    shape: tuple[int, ...]
    names: tuple[str, ...]
    classes: int
    images: int | None
    digest: int  # of images and classes, 0 without images

    def facts(self, source: str) -> dict[str, str]:
        """Say so in words, for the comparison of ranks."""
        names = f"{len(self.names)} classes, names of CRC-32 {zlib.crc32(repr(self.names).encode()):08x}"
        facts = {
            source: f"{self.samples} samples of shape {self.shape} in {names}",
            f"{source}, classes": f"CRC-32 {self.classes:08x}",
        }
        return facts if self.images is None else facts | {f"{source}, images": f"CRC-32 {self.images:08x}"}


def contents(read: DataSet) -> Contents:
    """Return what was read."""
    images = None if read.images is None else zlib.crc32(np.ascontiguousarray(read.images).data)
    classes = read.classes.tobytes()
    digest = 0 if images is None else zlib.crc32(classes, images)
    return Contents(len(read.classes), read.shape, read.names, zlib.crc32(classes), images, digest)


def compare(comm: Any, read: dict[str, Contents]) -> None:
    """Make sure that all ranks have read the same samples, each as much as it has read of them.

    `read` has the contents by where they are from, in words.
    """
    facts = {name: fact for source, part in read.items() for name, fact in part.facts(source).items()}
    agree(comm, facts, "the same samples on all ranks; a relative path leads elsewhere from another directory")


def divide(config: Config, classes: np.ndarray) -> list[np.ndarray]:
    """Return the samples of each shard, ascending: a seeded shuffle, or the order of the classes, cut by the sizes."""
    shards, count = config.shards, len(classes)
    if shards.count == 1:
        return [np.arange(count)]
    if shards.count > count:
        raise UserError(f"shards.count = {shards.count}: expected at most one for each of the {count} samples")
    if shards.by == "class":
        order = np.argsort(classes, kind="stable")
    else:
        order = np.argsort(random.words(config.seed, random.Purpose.SHARD, 0, count), kind="stable")
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
    images = None if whole.images is None else whole.images[samples]
    return dataclasses.replace(whole, images=images, classes=whole.classes[samples])


def measured(config: Config, parts: Iterable[DataSet]) -> list[Moments]:
    """Return the moments of the pixels in the shards `parts`, or nothing if the configuration asks for none."""
    if config.data.standardise == "fixed":
        return []
    return [moments(part.images) for part in parts if part.images is not None]


def _format(part: DataSet) -> PixelFormat:
    assert part.images is not None
    return measured_format(part.images)


def read_files(
    comm: Any, config: Config, scaling: PixelScaling | None
) -> tuple[DatasetInfo, dict[int, DataSet], DataSet]:  # fmt: skip
    """Read this rank's shards, each from a file of its own, and the test samples, which everybody may see.

    Of the other shards it learns their sizes, checksums and class names and, unless there are `figures` already, the
    moments of their pixels.
    """
    own: dict[int, DataSet] = {}
    with all_ranks_or_exit(comm):
        for shard in range(config.shards.count):
            if config.shards.count == 1 or shard % comm.size == comm.rank:
                own[shard] = load(config, "train", images=True, path=config.data.path.replace(SHARD, str(shard + 1)))
        test = load(config, "test", images=True, path=config.shards.test_path)
    parts = {shard: contents(data) for shard, data in own.items()}
    paths = {config.data.path.replace(SHARD, str(shard + 1)): part for shard, part in parts.items()}
    compare(
        comm,
        {f"{path} (train)": part for path, part in paths.items()}
        | {f"{config.shards.test_path} (test)": contents(test)},
    )
    facts = {
        shard: (part, _format(own[shard]), [] if scaling else measured(config, [own[shard]]))
        for shard, part in parts.items()
    }
    every = {shard: fact for each in allgather(comm, facts) for shard, fact in each.items()}
    every = dict(sorted(every.items()))
    with all_ranks_or_exit(comm):
        for shard, (part, *_) in every.items():
            if (part.shape, part.names) != (test.shape, test.names):
                raise UserError(
                    f"{config.data.path}: shard {shard + 1} has images of shape {part.shape} in {len(part.names)} "
                    f"classes; expected {test.shape} in the {len(test.names)} of {config.shards.test_path}; a file "
                    "without samples of some class can name all in its attribute 'classes' or 'class_names'"
                )
        pixels = combined_format([found for _, found, _ in every.values()], config.data.path)
        test = fitted(test, pixels, test.shape, config.shards.test_path)
    counts = tuple(part.samples for part, *_ in every.values())
    whole = zlib.crc32(repr([part.digest for part, *_ in every.values()]).encode())
    scaling = scaling or scaling_of(config, [part for *_, each in every.values() for part in each])
    sizes = sum(counts), len(test.classes), whole, counts
    return DatasetInfo(test.shape, test.names, *sizes, scaling, pixels), own, test
