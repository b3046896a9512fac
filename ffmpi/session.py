"""Setting up a run on all ranks: data, placement, kernels, worker."""

from __future__ import annotations

import dataclasses
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import data, draws, kernels
from .config import Config
from .data import DataSet
from .errors import UserError
from .holdings import Holdings
from .mpi import one_per_host_first, together
from .problem import Problem, work_of
from .schedule import schedule_of
from .worker import Worker


def on_rank_0(comm: Any, make: Callable[[], Any]) -> Any:
    """Return on all ranks what ``make()`` returns on rank 0; a UserError there ends all ranks with its sentence."""
    value = None
    with together(comm):
        if comm.rank == 0:
            value = make()
    return comm.bcast(value)


def problem_of(train: DataSet, test: DataSet, shards: Sequence[int] = ()) -> Problem:
    """Return the sizes of a data set whose training samples are divided into `shards`."""
    digest = zlib.crc32(train.classes.tobytes(), zlib.crc32(np.ascontiguousarray(train.images).data))
    return Problem(train.shape, train.names, len(train.classes), len(test.classes), digest, tuple(shards))


def load(config: Config, split: str, *, images: bool) -> DataSet:
    """Return one split of the configured data set."""
    return data.load(config.data.name, config.data.path or None, split, images=images)


def training_worker(comm: Any, config: Config, first: int = 0) -> Worker:
    """Return this rank's worker from chapter `first` on: its kernels compiled, its share of the data loaded."""
    sets: tuple[DataSet, DataSet] | None = None

    def read() -> Problem:
        nonlocal sets
        sets = load(config, "train", images=True), load(config, "test", images=True)
        return problem_of(*sets, [len(shard) for shard in shards_of(config, sets[0].classes)])

    problem: Problem = on_rank_0(comm, read)
    with together(comm):
        check(config, problem)
        schedule = schedule_of(config.schedule.name, work_of(config, problem, comm.size), first)
        images, last = 0 in schedule.computed(comm.rank), schedule.work.layers - 1
        # Classes are for those who choose, score, or learn from them.
        labels = images or config.local or bool({last, last + 1} & set(schedule.trained(comm.rank)))
        if comm.rank > 0 and labels:
            sets = load(config, "train", images=images), load(config, "test", images=images)
    samples: dict[int, DataSet] = {}
    if sets and labels:
        parts = shards_of(config, sets[0].classes)
        samples = {shard: subset(sets[0], parts[shard]) for shard in schedule.shards(comm.rank)}
    test = sets[1] if sets else None
    del sets
    prepare_kernels(comm, config)
    return Worker(comm, Holdings(config, problem, schedule, comm.rank, samples, test), schedule)


def shards_of(config: Config, classes: np.ndarray) -> list[np.ndarray]:
    """Return the samples of each shard, ascending: a seeded shuffle, or the order of the classes, cut by the sizes."""
    shards, count = config.shards, len(classes)
    if shards.count == 1:
        return [np.arange(count)]
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


def check(config: Config, problem: Problem) -> None:
    """Refuse a configuration that does not fit the data."""
    if problem.classes < 2:
        raise UserError(f"data.name = {config.data.name!r}: the set has {problem.classes} class; expected at least 2")
    if config.data.label == "overlay" and not config.local and problem.pixels <= problem.classes:
        raise UserError(
            f"data.label = 'overlay': {problem.classes} label places would cover an image of {problem.pixels} pixels; "
            "expected 'append'"
        )


def prepare_kernels(comm: Any, config: Config) -> None:
    """Compile the kernels, or load them: one rank of each host first, so that the others find them on disk."""
    kernels.use_threads(config.schedule.threads)
    with one_per_host_first(comm), _without(_BLAS):
        kernels.compile_all(threads=config.schedule.threads)


#: What Numba imports, if it can, with its first kernel: 12 MB a rank that no kernel of ours uses.
_BLAS = "scipy.linalg.cython_blas"


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Make the import of `module` fail for a while, unless it has been imported."""
    absent = module not in sys.modules
    if absent:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if absent:
            del sys.modules[module]
