"""The commands `train` and `resume`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .. import config
from ..config.changes import with_configuration, with_settings
from ..config.schema import Config
from ..data.remarks import check, outline
from ..data.statistics import Statistics
from ..errors import UserError, warn
from ..run import checkpoint
from ..run.best import Best
from ..run.directory import RunDirectory, reserve
from ..run.health import findings
from ..run.metrics import Clock, Measurements
from ..run.progress import Progress
from ..runtime import stop
from ..runtime.agreement import agree, checksum_of_file
from ..runtime.launch import library_name
from ..runtime.mpi import all_ranks_or_exit, host, on_rank_0
from ..runtime.setup import restore, training_worker
from ..runtime.sizes import expected_balance
from ..runtime.worker import Worker


def train(
    comm: Any, config_path: str, run: str | None, settings: list[str], as_json: bool, continuing: bool = False
) -> None:
    """Train a new network after the configuration file; with `continuing` resume it where `run` has a checkpoint."""
    settled: Config = on_rank_0(comm, lambda: config.read(config_path, settings, tell=True))
    agree(comm, checksum_of_file(config_path))
    directory = RunDirectory(on_rank_0(comm, lambda: Path(run) if run else reserve(config_path)))
    with stop.advising(lambda: _advice(comm, directory)):
        if continuing and _has_checkpoint(comm, directory):
            _continue(comm, directory, lambda old: with_configuration(old, settled, str(run), config_path), as_json)
        else:
            _start(comm, directory, settled, as_json, made=not run)


def resume(comm: Any, run: str, settings: list[str], as_json: bool) -> None:
    """Go on with the run in the directory `run` where its checkpoint was written, to the same bits."""
    directory = RunDirectory(Path(run))
    with stop.advising(lambda: _advice(comm, directory)):
        _continue(comm, directory, lambda old: with_settings(old, run, settings), as_json)


def _has_checkpoint(comm: Any, directory: RunDirectory) -> bool:
    """Return whether there is something to continue, of which all ranks must say the same.

    A job that starts again elsewhere must not start anew because a disk of rank 0's host alone has nothing.
    """
    there = os.path.exists(directory.checkpoint)
    facts = {str(directory.checkpoint): "found" if there else "not found"}
    agree(comm, facts, "one run directory that all ranks see")
    return there


def _start(comm: Any, directory: RunDirectory, settled: Config, as_json: bool, made: bool) -> None:
    """Train a new network into `directory`, which was `made` for it or is to be made."""
    about: dict[str, Any] = {}
    lines: list[str] = []

    def look(found: Statistics) -> None:
        told = check(found, settled.data.path or settled.data.name)
        for text in told:
            warn(text)
        about.update(msgspec.to_builtins(found) | {"warnings": told})
        lines.extend(outline(found))

    try:
        worker = training_worker(comm, settled, look=look)
    except BaseException:
        if made and comm.rank == 0:
            with suppress(OSError):
                directory.path.rmdir()
        raise
    on_rank_0(comm, lambda: directory.create(worker.config, facts(comm, worker) | {"data": about}))
    _run(comm, worker.config, worker, directory, 0, as_json, lines)


def _advice(comm: Any, directory: RunDirectory) -> str:
    """Say on rank 0 what a run that is stopped leaves, and how it continues."""
    if comm.rank > 0:
        return ""
    try:
        with checkpoint.reading(directory.checkpoint) as reader:
            epochs, done = reader.header.config.train.epochs, reader.header.chapter
            epoch = done * epochs // reader.header.config.chapters
    except UserError as error:
        if os.path.exists(directory.checkpoint):
            return f"; {error}"
        return " before anything was saved; start again with the same command"
    return f"; {directory.checkpoint} holds epoch {epoch} of {epochs}, continue with 'ffmpi resume {directory.path}'"


def _continue(comm: Any, directory: RunDirectory, changed: Callable[[Config], Config], as_json: bool) -> None:
    """Go on with the run in `directory`, with its configuration ``changed(configuration)``."""
    run = str(directory.path)

    def read_header() -> tuple[checkpoint.Header, Config]:
        directory.expect_checkpoint()
        directory.lock()
        with checkpoint.reading(directory.checkpoint) as reader:
            header = reader.header
        directory.compare(header.config)
        settled = changed(header.config)
        config.check_places(settled, run)
        return header, settled

    header, settled = on_rank_0(comm, read_header)
    worker = training_worker(comm, settled, header.chapter, header.scaling)
    settled = worker.config
    with all_ranks_or_exit(comm):
        found = worker.dataset
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
    restore(comm, directory.checkpoint, header, worker.model)
    first = header.chapter

    def note() -> None:
        directory.resume(first * settled.train.epochs // settled.chapters, settled, facts(comm, worker))

    if first < settled.chapters:
        on_rank_0(comm, note)
    _run(comm, settled, worker, directory, first, as_json, saved=header.id)


def facts(comm: Any, worker: Worker) -> dict[str, Any]:
    """Return what only a running job knows, for environment.json."""
    ideal = expected_balance(worker.config, worker.dataset, worker.schedule).ideal
    return {"ranks": comm.size, "mpi": library_name(), "ideal_speedup": ideal}


def _run(
    comm: Any, settled: Config, worker: Worker, directory: RunDirectory, first_chapter: int, as_json: bool,
    about: Sequence[str] = (), saved: str = "",
) -> None:  # fmt: skip
    """Train from `first_chapter` on; `saved` is the id of the checkpoint that there is."""
    spec = worker.schedule.spec
    hosts = comm.gather(host())
    if comm.rank == 0:
        balance = expected_balance(settled, worker.dataset, worker.schedule)
        most = [price.total for price in worker.prices]
        progress = Progress(settled, worker.dataset, worker.schedule, hosts, as_json, most, balance)
        progress.start(directory.path, first_chapter, about)

        clock = Clock(comm.size)
        first = directory.records()[:1]  # the run's first chapter
        best = Best(directory, settled) if settled.checkpoint.best else None

        def report(chapter: int, measurements: Measurements) -> None:
            epoch = (chapter + 1) * spec.epochs_per_chapter
            samples = worker.dataset.shards[spec.shard_of(chapter)] * spec.epochs_per_chapter
            # A chapter that one rank has trained alone is one of as many that are under way.
            together = comm.size if np.count_nonzero(measurements.ranks[:, 0]) == 1 else 1
            seconds, rate = clock.chapter(samples, measurements.elapsed, together)
            record = measurements.record(epoch, samples, seconds, rate, settled.rule.measures)
            computing = [rank["computing"] for rank in record["ranks"]]
            if len(computing) > 1 and all(computing):
                record["ideal_speedup"] = balance.measured(computing)
            if not first:
                first.append(record)
            found = findings(record, first[0], settled, worker.dataset, last=epoch == settled.train.epochs)
            record["warnings"] = [str(finding) for finding in found]
            directory.append(record)
            if best:
                best.note(record)
            progress.chapter(record, found)

        def save(chapter: int) -> checkpoint.Writer:
            nonlocal saved
            copy = best.takes((chapter + 1) * spec.epochs_per_chapter) if best else None
            writer = checkpoint.Writer(
                directory.checkpoint, config.located(settled), worker.dataset, chapter + 1, saved, copy
            )
            saved = writer.id
            return writer

        worker.on_update = progress.update
        worker.on_report = report
        worker.on_save = save
    try:
        worker.execute(worker.schedule.steps(comm.rank))
    finally:
        if comm.rank == 0:
            progress.stop()
    if comm.rank == 0:
        progress.finish(directory, str(best) if best else "")
