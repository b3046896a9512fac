"""Shards: how the training samples are divided among the ranks of a federated run."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from . import data, draws
from .data import DataSet
from .errors import UserError
from .figures import Figures, Moments, figures_of, moments
from .mpi import together
from .problem import Problem
from .tables import SHARD, Config


def load(config: Config, split: str, *, images: bool, path: str = "") -> DataSet:
    """Return one split of the configured data set, or of the one at `path`."""
    fields = data.Fields(config.data.images, config.data.labels)
    return data.load(config.data.name, path or config.data.path or None, split, images=images, fields=fields)


def digest(train: DataSet) -> int:
    """Return the CRC-32 of training images and classes."""
    return zlib.crc32(train.classes.tobytes(), zlib.crc32(np.ascontiguousarray(train.images).data))


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
        order = np.argsort(draws.words(config.seed, draws.Purpose.SHARD, 0, count), kind="stable")
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


def read_files(
    comm: Any, config: Config, figures: Figures | None
) -> tuple[Problem, dict[int, DataSet], DataSet]:  # fmt: skip
    """Read this rank's shards, each from a file of its own, and the held-out samples, which everybody may see.

    Of the other shards it learns their sizes, checksums and class names and, unless there are `figures` already, the
    moments of their pixels.
    """
    own: dict[int, DataSet] = {}
    with together(comm):
        for shard in range(config.shards.count):
            if config.shards.count == 1 or shard % comm.size == comm.rank:
                own[shard] = load(config, "train", images=True, path=config.data.path.replace(SHARD, str(shard + 1)))
        test = load(config, "test", images=True, path=config.shards.held_out)
    facts = {
        shard: (s.shape, s.names, len(s.classes), digest(s), [] if figures else measured(config, [s]))
        for shard, s in own.items()
    }
    every = dict(sorted(pair for part in comm.allgather(facts) for pair in part.items()))
    with together(comm):
        for shard, (shape, names, *_) in every.items():
            if (shape, names) != (test.shape, test.names):
                raise UserError(
                    f"{config.data.path}: shard {shard + 1} has images of shape {shape} in {len(names)} classes; "
                    f"expected {test.shape} in the {len(test.names)} of {config.shards.held_out}; a file without "
                    "samples of some class can name all in its attribute 'classes' or 'class_names'"
                )
    counts = tuple(count for _, _, count, *_ in every.values())
    whole = zlib.crc32(repr([crc for *_, crc, _ in every.values()]).encode())
    figures = figures or figures_of(config, [part for *_, parts in every.values() for part in parts])
    return Problem(test.shape, test.names, sum(counts), len(test.classes), whole, counts, figures), own, test
