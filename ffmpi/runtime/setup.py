"""Setting up a run on all ranks: data, placement, kernels, worker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import kernels
from ..config.schema import Config
from ..data import DataSet, split
from ..data.info import DatasetInfo, resolved, spec_of
from ..data.known import SPLITS
from ..data.pixels import fitted, measured_format
from ..data.scaling import PixelScaling, scaling_of
from ..data.split import load
from ..data.statistics import Statistics, combined, statistics_of, tally
from ..errors import UserError, warn
from ..run import checkpoint
from ..run.checkpoint import Header
from ..schedule import Schedule, schedule_of
from . import memory, stop
from .limits import Place, available_memory, crowded, memory_limits
from .model import RankModel
from .mpi import all_ranks_or_exit, allgather, host, one_per_host_first
from .worker import Worker


def on_rank_0(comm: Any, make: Callable[[], Any]) -> Any:
    """Return on all ranks what ``make()`` returns on rank 0; a UserError there ends all ranks with its sentence."""
    value = None
    with all_ranks_or_exit(comm):
        if comm.rank == 0:
            value = make()
    return comm.bcast(value)


#: What is told of the samples, on rank 0; it may raise UserError.
Look = Callable[[Statistics], None]


def training_worker(
    comm: Any, config: Config, first: int = 0, scaling: PixelScaling | None = None, look: Look | None = None
) -> Worker:  # fmt: skip
    """Return this rank's worker from chapter `first` on: its kernels compiled, its share of the data loaded.

    At chapter 0 its weights are drawn; later they are to be taken from a checkpoint, as are the `figures` of the
    pixels. The worker's configuration has what `config` leaves to the data. With `look` the samples are measured.
    """
    test: DataSet | None
    if config.shards.by == "file":
        dataset, samples, test = split.read_files(comm, config, scaling)
        if look:
            _look_at_files(comm, samples, test, look)
        config = resolved(config, dataset)
        with all_ranks_or_exit(comm):
            check(config, dataset)
            schedule = schedule_of(config.schedule.name, spec_of(config, dataset, comm.size), first)
        prepare_kernels(comm, config)
        prices = _priced(comm, config, dataset, schedule)
    else:
        config, dataset, schedule, prices, samples, test = _read(comm, config, first, scaling, look)
    with all_ranks_or_exit(comm):
        model = RankModel(config, dataset, schedule, comm.rank, samples, test)
        if first == 0:
            model.initialise()
        return Worker(comm, model, schedule, prices)


def _priced(comm: Any, config: Config, dataset: DatasetInfo, schedule: Schedule) -> list[memory.Price]:
    """Return what each rank needs of memory, by rank; what cannot fit is refused before there is any of it."""
    with all_ranks_or_exit(comm):
        own = memory.price(config, dataset, schedule, comm.rank, memory.base_of(config.schedule.threads))
    limits = tuple(memory_limits(host()))
    needs = allgather(comm, memory.Need(host(), own, memory.resident(), limits, available_memory()))
    with all_ranks_or_exit(comm):
        if comm.rank == 0:
            memory.check(needs)
    return [need.price for need in needs]


def _warn_of_crowding(comm: Any, config: Config) -> None:
    threads, most = config.schedule.threads, kernels.available_threads(config.schedule.threads)
    trouble = crowded(allgather(comm, Place.here(host())), threads)
    if most < threads and not trouble:
        trouble = f"schedule.threads = {threads}: NUMBA_NUM_THREADS={most} lets a rank have no more than {most}"
    if trouble:
        warn(trouble)


def _look_at_files(comm: Any, samples: dict[int, DataSet], test: DataSet, look: Look) -> None:
    """Let rank 0 look at the samples of all files, of which each rank has measured its own."""
    tallies = {"train": tally(*samples.values()), "test": tally(test)} if samples else {}
    every = comm.gather(statistics_of(test.shape, test.names, tallies) if samples else None)
    on_rank_0(comm, lambda: look(combined(list(filter(None, every)))))


def _read(
    comm: Any, config: Config, first: int, scaling: PixelScaling | None, look: Look | None
) -> tuple[Config, DatasetInfo, Schedule, list[memory.Price], dict[int, DataSet], DataSet | None]:
    """Return the settled configuration, the sizes, the schedule, and this rank's share of one data set."""
    sets: tuple[DataSet, DataSet] | None = None
    source, read = config.data.path or config.data.name, dict[str, split.Contents]()

    def load_both(images: bool) -> tuple[DataSet, DataSet]:
        both = load(config, "train", images=images), load(config, "test", images=images)
        read.update({f"{source} ({name})": split.contents(data) for name, data in zip(SPLITS, both, strict=True)})
        return both

    def read_whole() -> DatasetInfo:
        nonlocal sets
        sets = train, test = load_both(images=True)
        if look:
            look(statistics_of(train.shape, train.names, {"train": tally(train), "test": tally(test)}))
        assert train.images is not None
        pixels = measured_format(train.images)
        parts = split.divide(config, train.classes)
        sizes = len(train.classes), len(test.classes), read[f"{source} (train)"].digest, tuple(map(len, parts))
        found = scaling or scaling_of(config, split.measured(config, (split.subset(train, part) for part in parts)))
        return DatasetInfo(train.shape, train.names, *sizes, found, pixels)

    dataset: DatasetInfo = on_rank_0(comm, read_whole)
    config = resolved(config, dataset)
    with all_ranks_or_exit(comm):
        check(config, dataset)
        schedule = schedule_of(config.schedule.name, spec_of(config, dataset, comm.size), first)
    prepare_kernels(comm, config)
    prices = _priced(comm, config, dataset, schedule)
    with all_ranks_or_exit(comm):
        images, last = 0 in schedule.computed(comm.rank), schedule.spec.layers - 1
        # Classes are for those who choose, score, or learn from them.
        labels = images or config.local or bool({last, last + 1} & set(schedule.trained(comm.rank)))
        if comm.rank > 0 and labels:
            sets = load_both(images=images)
    split.compare(comm, read)
    with all_ranks_or_exit(comm):
        test = fitted(sets[1], dataset.pixel_format, dataset.shape, f"{source} (test)") if sets else None
    if not sets or not labels:
        return config, dataset, schedule, prices, {}, None
    parts = split.divide(config, sets[0].classes)
    own = {shard: split.subset(sets[0], parts[shard]) for shard in schedule.shards(comm.rank)}
    return config, dataset, schedule, prices, own, test


def restore(comm: Any, path: Path, header: Header, model: RankModel) -> None:
    """Take over what this rank trains from the checkpoint at `path`, of which rank 0 has read `header` before."""
    with all_ranks_or_exit(comm), checkpoint.reading(path) as reader:
        if reader.header != header:
            found, expected = (f"chapter {one.chapter}, id {one.id or 'none'}" for one in (reader.header, header))
            if comm.rank == 0:
                raise UserError(f"{path}: was replaced by a run in progress while it was read; try again")
            raise UserError(
                f"{path}: not the checkpoint that rank 0 reads: {found} here, {expected} there; expected one file that "
                "all ranks see and nobody replaces meanwhile"
            )
        for name, parameters in model.all_states.items():
            reader.load(name, parameters)
        for samples in model.samples.values():
            samples.labels.choices = reader.choices(samples.labels.classes)
        if comm.rank == 0:
            reader.check(others=True)


def check(config: Config, dataset: DatasetInfo) -> None:
    """Refuse a configuration that does not fit the data."""
    if dataset.classes < 2:
        raise UserError(f"data.name = {config.data.name!r}: the set has {dataset.classes} class; expected at least 2")
    if config.data.label == "overlay" and not config.local and dataset.pixels <= dataset.classes:
        raise UserError(
            f"data.label = 'overlay': {dataset.classes} label places would cover an image of {dataset.pixels} pixels; "
            "expected 'append' or 'auto'"
        )


def prepare_kernels(comm: Any, config: Config) -> None:
    """Compile the kernels, or load them: one rank of each host first, so that the others find them on disk."""
    _warn_of_crowding(comm, config)
    kernels.use_threads(config.schedule.threads)
    with one_per_host_first(comm), _without(_BLAS), stop.raising(False):
        for _ in kernels.compile_each(threads=config.schedule.threads):
            stop.check()
    warn_of_cache(next(filter(None, allgather(comm, kernels.cache_problem())), ""))


def warn_of_cache(dataset: str) -> None:
    """Say that `kernels.cache_problem` is not empty, if it is not."""
    if dataset:
        warn(
            f"kernels had to be compiled, which takes seconds: their cache is out of order ({dataset}); "
            "NUMBA_CACHE_DIR can name another directory for it"
        )


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
