"""Setting up a run on all ranks: data, placement, kernels, worker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import kernels
from ..config.convert import members_of
from ..config.schema import Config
from ..data.info import DatasetInfo, resolved
from ..data.scaling import PixelScaling
from ..data.shapes import geometry_of
from ..errors import UserError, warn
from ..network.inference import Inference
from ..network.layout import LAYOUTS, BatchLayout
from ..plan.machine import machine_here, typical_machine
from ..run import checkpoint, trained
from ..run.checkpoint import Header
from ..schedule import ScheduleSpec, schedule_of
from ..schedule.core import Core
from . import memory, stop
from .flow import Flow
from .limits import Place, available_memory, crowded, memory_limits
from .model import RankModel
from .mpi import all_ranks_or_raise, allgather, host, one_per_host_first, spin
from .reading import Look, reading
from .sizes import spec_of
from .worker import Worker


def training_worker(
    comm: Any, config: Config, first: int = 0, scaling: PixelScaling | None = None, look: Look | None = None
) -> Worker:  # fmt: skip
    """Return this rank's worker from chapter `first` on: its kernels compiled, its share of the data loaded.

    At chapter 0 its weights are drawn; later they are to be taken from a checkpoint, as are the `scaling` of the
    pixels. The worker's configuration has what `config` leaves to the data. With `look` the samples are measured.
    """
    source = reading(comm, config, scaling, look)
    dataset = source.dataset
    config = resolved(config, dataset)
    core = comm.bcast(_core(config, comm.size) if comm.rank == 0 else None)  # the same on all, or they would not meet
    with all_ranks_or_raise(comm):
        check(config, dataset)
        spec = spec_of(config, dataset, comm.size, core)
        _check_window(config, dataset, spec)
        schedule = schedule_of(config.schedule.name, spec, first)
    prepare_kernels(comm, config)
    with all_ranks_or_raise(comm):
        own = memory.price(config, dataset, schedule, comm.rank, memory.base_of(config.schedule.threads))
    prices = _checked(comm, own)
    samples, scored = source.share(schedule)
    with all_ranks_or_raise(comm):
        model = RankModel(config, dataset, schedule, comm.rank, samples, scored)
        if first == 0:
            model.initialise()
        worker = Worker(comm, model, schedule, prices)
    if isinstance(worker.buffers, Flow) and config.schedule.shared_memory and comm.size > 1:
        worker.buffers.share_memory()
    return worker


def _core(config: Config, ranks: int) -> Core:
    """Return the core by which work is shared out: as it was measured on rank 0's host, or else of one like it."""
    machine = machine_here() or typical_machine()
    return machine.core_with(config.schedule.threads * min(ranks, machine.cores))


def trained_network(comm: Any, path: Path, header: Header, config: Config, data: float) -> Inference:
    """Return the network of the checkpoint at `path`, of which rank 0 has read `header` before, on every rank.

    It is read out as in `config`, on images of which a rank has `data` bytes in memory.
    """
    prepare_kernels(comm, config)
    with all_ranks_or_raise(comm):
        network = trained.empty(header, config)
    _checked(comm, memory.price_of_answers(network, data, memory.base_of(config.schedule.threads)))
    with all_ranks_or_raise(comm), _reading(comm, path, header) as reader:
        trained.fill(network, reader)
    return network


def _checked(comm: Any, own: memory.Price) -> list[memory.Price]:
    """Return what each rank needs of memory, by rank; what cannot fit is refused before there is any of it."""
    limits = tuple(memory_limits(host()))
    needs = allgather(comm, memory.Need(host(), own, memory.resident(), limits, available_memory()))
    with all_ranks_or_raise(comm):
        if comm.rank == 0:
            memory.check(needs)
    return [need.price for need in needs]


def _warn_of_crowding(comm: Any, config: Config) -> None:
    threads, most = config.schedule.threads, kernels.available_threads(config.schedule.threads)
    trouble = crowded(allgather(comm, Place.here(host())), threads)
    spin(not trouble)
    if most < threads and not trouble:
        trouble = f"schedule.threads = {threads}: NUMBA_NUM_THREADS={most} lets a rank have no more than {most}"
    if trouble:
        warn(trouble)


def restore(comm: Any, path: Path, header: Header, model: RankModel) -> None:
    """Take over what this rank trains from the checkpoint at `path`, of which rank 0 has read `header` before."""
    with all_ranks_or_raise(comm), _reading(comm, path, header) as reader:
        for name, parameters in model.all_states.items():
            reader.load(name, parameters)
        for samples in model.samples.values():
            samples.labels.choices = reader.choices(samples.labels.classes)
        if comm.rank == 0:
            reader.check(others=True)


@contextmanager
def _reading(comm: Any, path: Path, header: Header) -> Iterator[checkpoint.Reader]:
    """Open the checkpoint at `path`. Raises UserError if it is not the one of which rank 0 has read `header`."""
    with checkpoint.reading(path) as reader:
        if reader.header != header:
            found, expected = (f"chapter {one.chapter}, id {one.id or 'none'}" for one in (reader.header, header))
            if comm.rank == 0:
                raise UserError(f"{path}: was replaced by a run in progress while it was read; try again")
            raise UserError(
                f"{path}: not the checkpoint that rank 0 reads: {found} here, {expected} there; expected one file that "
                "all ranks see and nobody replaces meanwhile"
            )
        yield reader


def check(config: Config, dataset: DatasetInfo) -> None:
    """Refuse a configuration that does not fit the data."""
    if dataset.classes < 2:
        raise UserError(f"data.name = {config.data.name!r}: the set has {dataset.classes} class; expected at least 2")
    if config.data.label == "overlay" and LAYOUTS[config.rule.layout].labelled and dataset.pixels <= dataset.classes:
        raise UserError(
            f"data.label = 'overlay': {dataset.classes} label places would cover an image of {dataset.pixels} pixels; "
            "expected 'append' or 'auto'"
        )
    if dataset.weighted and not config.rule.weighs:
        raise UserError(
            f"data.weights = {config.data.weights!r}: rule.name = {config.rule.name!r} does not weigh samples; "
            "expected none, or another rule"
        )
    for member in members_of(config).values():
        if misfit := member.misfit(config, dataset.classes):
            raise UserError(misfit)
    if config.augment and geometry_of(dataset.shape) is None:
        names = ", ".join(one.name for one in config.augment)
        raise UserError(
            f"augment = {names}: the samples have the shape {dataset.shape}; expected images, or no augment"
        )


def _check_window(config: Config, dataset: DatasetInfo, spec: ScheduleSpec) -> None:
    """Refuse windows so small that a batch would lie in more than two of them."""
    shown = BatchLayout(config, dataset.classes).most_images
    least = max(shown, (spec.ahead + 1) * config.train.batch_size)
    if 0 < config.data.window < min(least, max(dataset.shards)):
        ahead = f" and of the {spec.ahead} before it" if spec.ahead else ""
        raise UserError(f"data.window = {config.data.window}: expected at least {least}, the samples of a batch{ahead}")


def prepare_kernels(comm: Any, config: Config) -> None:
    """Compile the kernels, or load them: one rank of each host first, so that the others find them on disk."""
    _warn_of_crowding(comm, config)
    kernels.use_threads(config.schedule.threads)
    with one_per_host_first(comm), _without(_BLAS), stop.raising(False):
        for _ in kernels.compile_each(threads=config.schedule.threads, weighted=bool(config.data.weights)):
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
