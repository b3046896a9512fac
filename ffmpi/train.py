"""The commands `train` and `resume`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from . import checkpoint, config
from .agreement import agree, checksum_of_file
from .errors import UserError
from .health import findings
from .launch import library_name
from .metrics import Clock, Measurements
from .mpi import host, together
from .progress import Progress
from .rundir import RunDirectory
from .session import on_rank_0, restore, training_worker
from .tables import Config
from .worker import Worker


def train(comm: Any, config_path: str, run: str | None, settings: list[str], as_json: bool) -> None:
    """Train a new network after the configuration file."""
    settled: Config = on_rank_0(comm, lambda: config.read(config_path, settings))
    agree(comm, checksum_of_file(config_path))
    directory = RunDirectory(Path(run)) if run else RunDirectory.default(config_path)
    worker = training_worker(comm, settled)
    settled = worker.config
    on_rank_0(comm, lambda: directory.create(settled, facts(comm, worker)))
    _run(comm, settled, worker, directory, 0, as_json)


#: What may change when a run goes on: the weights do not depend on it.
CHANGEABLE = (
    "schedule.name", "schedule.exchange", "schedule.depth", "schedule.threads", "schedule.timeout", "checkpoint.every",
    "data.path", "data.images", "data.labels", "shards.held_out",
)  # fmt: skip


def resume(comm: Any, run: str, settings: list[str], as_json: bool) -> None:
    """Go on with the run in the directory `run` where its checkpoint was written, to the same bits."""
    directory = RunDirectory(Path(run))

    def read_header() -> tuple[checkpoint.Header, Config]:
        if not os.path.isdir(run):
            raise UserError(f"{run}: no such run directory")
        directory.lock()
        with checkpoint.reading(directory.checkpoint) as reader:
            header = reader.header
        for setting in settings:
            if setting.partition("=")[0].strip() not in CHANGEABLE:
                raise UserError(f"--set {setting}: a run that goes on may change only {', '.join(CHANGEABLE)}")
        settled = config.change(header.config, run, settings)
        before, after = header.config.schedule.name, settled.schedule.name
        if before != after and {before, after} & {"pipeline", "federated"}:
            raise UserError(
                f"--set schedule.name={after}: {before!r} is another algorithm; a run that goes on may change between "
                "sequential, single-layer and all-layers"
            )
        return header, settled

    header, settled = on_rank_0(comm, read_header)
    worker = training_worker(comm, settled, header.chapter, header.figures)
    settled = worker.config
    with together(comm):
        found = worker.problem
        source = settled.data.path or settled.data.name
        if (header.shape, header.train, header.digest) != (found.shape, found.train, found.digest):
            raise UserError(
                f"{source}: {found.train} samples of shape {found.shape}, CRC-32 {found.digest:08x}; expected the "
                f"{header.train} of shape {header.shape}, {header.digest:08x}, that the run was started with"
            )
        if header.names != found.names:
            raise UserError(
                f"{source}: the classes {', '.join(found.names)}; expected {', '.join(header.names)}, with which the "
                "run was started"
            )
    restore(comm, directory.checkpoint, header, worker.holdings)
    first = header.chapter

    def note() -> None:
        directory.go_on(first * settled.train.epochs // settled.chapters, settled, facts(comm, worker))

    if first < settled.chapters:
        on_rank_0(comm, note)
    _run(comm, settled, worker, directory, first, as_json)


def facts(comm: Any, worker: Worker) -> dict[str, Any]:
    """Return what only a running job knows, for environment.json."""
    return {"ranks": comm.size, "mpi": library_name(), "balance_bound": worker.schedule.bound}


def _run(
    comm: Any, settled: Config, worker: Worker, directory: RunDirectory, first_chapter: int, as_json: bool
) -> None:
    work = worker.schedule.work
    hosts = comm.gather(host())
    if comm.rank == 0:
        progress = Progress(settled, worker.problem, worker.schedule, hosts, as_json)
        progress.start(directory.path, first_chapter)

        clock = Clock(comm.size)
        first = directory.records()[:1]  # the run's first chapter

        def report(chapter: int, measurements: Measurements) -> None:
            epoch = (chapter + 1) * work.epochs_per_chapter
            samples = worker.problem.shards[work.shard_of(chapter)] * work.epochs_per_chapter
            # A chapter that one rank has trained alone is one of as many that are under way.
            together = comm.size if np.count_nonzero(measurements.ranks[:, 0]) == 1 else 1
            seconds, rate = clock.chapter(samples, measurements.elapsed, together)
            record = measurements.record(epoch, samples, seconds, rate, settled.local)
            if not first:
                first.append(record)
            found = findings(record, first[0], settled, worker.problem, last=epoch == settled.train.epochs)
            record["warnings"] = [str(finding) for finding in found]
            directory.append(record)
            progress.chapter(record, found)

        worker.on_update = progress.update
        worker.on_report = report
        worker.on_save = lambda chapter: checkpoint.Writer(directory.checkpoint, settled, worker.problem, chapter + 1)
    try:
        worker.execute(worker.schedule.steps(comm.rank))
    finally:
        if comm.rank == 0:
            progress.stop()
    if comm.rank == 0:
        progress.finish(directory)
