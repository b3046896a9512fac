"""Setting up a run on all ranks: data, placement, kernels, worker."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import data, kernels
from .config import Config
from .data import DataSet
from .errors import UserError
from .mpi import one_per_host_first, together
from .problem import Problem, work_of
from .schedule import Placement
from .worker import Worker


def on_rank_0(comm: Any, make: Callable[[], Any]) -> Any:
    """Return on all ranks what ``make()`` returns on rank 0; a UserError there ends all ranks with its sentence."""
    value = None
    with together(comm):
        if comm.rank == 0:
            value = make()
    return comm.bcast(value)


def problem_of(train: DataSet, test: DataSet) -> Problem:
    """Return the sizes of a data set."""
    digest = zlib.crc32(train.classes.tobytes(), zlib.crc32(np.ascontiguousarray(train.images).data))
    return Problem(train.shape, train.names, len(train.classes), len(test.classes), digest)


def load(config: Config, split: str, *, images: bool) -> DataSet:
    """Return one split of the configured data set."""
    return data.load(config.data.name, config.data.path or None, split, images=images)


def training_worker(comm: Any, config: Config) -> Worker:
    """Return this rank's worker for a training run, its kernels compiled and its share of the data in memory."""
    sets: tuple[DataSet, DataSet] | None = None

    def read() -> Problem:
        nonlocal sets
        sets = load(config, "train", images=True), load(config, "test", images=True)
        return problem_of(*sets)

    problem: Problem = on_rank_0(comm, read)
    with together(comm):
        check(config, problem)
        placement = Placement(work_of(config, problem, comm.size))
        labels = comm.rank in (placement.head, placement.rank_of(placement.work.layers - 1))
        if comm.rank > 0 and labels:
            sets = load(config, "train", images=False), load(config, "test", images=False)
    prepare_kernels(comm, config)
    return Worker(comm, config, problem, placement, *(sets or (None, None)))


def check(config: Config, problem: Problem) -> None:
    """Refuse a configuration that does not fit the data."""
    if problem.classes < 2:
        raise UserError(f"data.name = {config.data.name!r}: the set has {problem.classes} class; expected at least 2")
    if config.data.label == "overlay" and problem.pixels <= problem.classes:
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
