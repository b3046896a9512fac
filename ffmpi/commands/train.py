"""The commands `train` and `resume`."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import config
from ..config.changes import with_configuration, with_settings
from ..config.schema import Config
from ..errors import UserError, warn
from ..run import checkpoint
from ..run.directory import RunDirectory, reserve
from ..run.progress import Output
from ..run.tensorboard import EventFiles
from ..run.tensorboard import check as check_tensorboard
from ..runtime import stop
from ..runtime.agreement import agree, checksum_of_file
from ..runtime.mpi import all_ranks_or_raise, on_rank_0
from ..runtime.setup import restore, training_worker
from ..runtime.training import Listeners, Observed, execute, facts, progress_of
from ..runtime.worker import Worker
from .expected import expect


def train(
    comm: Any, config_path: str, run: str | None, settings: list[str], output: Output, continuing: bool = False
) -> None:
    """Train a new network after the configuration file; with `continuing` resume it where `run` has a checkpoint."""
    if output.tensorboard:
        on_rank_0(comm, check_tensorboard)
    settled: Config = on_rank_0(comm, lambda: config.read(config_path, settings, tell=True))
    agree(comm, checksum_of_file(config_path))
    directory = RunDirectory(on_rank_0(comm, lambda: Path(run) if run else reserve(config_path)))
    with stop.advising(lambda: _advice(comm, directory)):
        if continuing and _has_checkpoint(comm, directory):
            _continue(comm, directory, lambda old: with_configuration(old, settled, str(run), config_path), output)
        else:
            _start(comm, directory, settled, output, made=not run)


def resume(comm: Any, run: str, settings: list[str], output: Output) -> None:
    """Go on with the run in the directory `run` where its checkpoint was written, to the same bits."""
    directory = RunDirectory(Path(run))
    with stop.advising(lambda: _advice(comm, directory)):
        _continue(comm, directory, lambda old: with_settings(old, run, settings), output)


def _has_checkpoint(comm: Any, directory: RunDirectory) -> bool:
    """Return whether there is something to continue, of which all ranks must say the same.

    A job that starts again elsewhere must not start anew because a disk of rank 0's host alone has nothing.
    """
    there = os.path.exists(directory.checkpoint)
    facts = {str(directory.checkpoint): "found" if there else "not found"}
    agree(comm, facts, "one run directory that all ranks see")
    return there


def _start(comm: Any, directory: RunDirectory, settled: Config, output: Output, made: bool) -> None:
    """Train a new network into `directory`, which was `made` for it or is to be made."""
    observed = Observed(settled.data.path or settled.data.name)
    try:
        worker = training_worker(comm, settled, look=observed)
    except BaseException:
        if made and comm.rank == 0:
            with suppress(OSError):
                directory.path.rmdir()
        raise
    on_rank_0(comm, lambda: directory.create(worker.config, facts(comm, worker) | {"data": observed.about}))
    _run(comm, worker.config, worker, directory, 0, output, observed.lines)


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


def _continue(comm: Any, directory: RunDirectory, changed: Callable[[Config], Config], output: Output) -> None:
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
    with all_ranks_or_raise(comm):
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
        if header.format < checkpoint.FORMAT:
            warn(
                f"{directory.checkpoint}: ffmpi {header.version} wrote it in format {header.format}, whose sums over "
                "units have another order: the run continues, but with other bits than it would have had there"
            )
        on_rank_0(comm, note)
    _run(comm, settled, worker, directory, first, output, saved=header.id)


def _run(
    comm: Any, settled: Config, worker: Worker, directory: RunDirectory, first_chapter: int, output: Output,
    about: Sequence[str] = (), saved: str = "",
) -> None:  # fmt: skip
    """Train from `first_chapter` on; `saved` is the id of the checkpoint that there is."""
    progress, events = progress_of(comm, worker, output), None
    if output.tensorboard and first_chapter < settled.chapters:
        with all_ranks_or_raise(comm):
            if comm.rank == 0:
                events = EventFiles(directory.tensorboard, first_chapter * settled.train.epochs // settled.chapters)
    expected = None
    if progress:
        expected = expect(worker, progress.who.hosts, directory.plan)
        if expected:
            expected.write()
        progress.start(directory.path, first_chapter, about, expected.plan.seconds if expected else math.nan)
    began = time.perf_counter()
    best = execute(comm, worker, Listeners(directory, progress, events=events, trace=output.trace), saved)
    took = time.perf_counter() - began
    if progress:
        progress.finish(directory, str(best) if best else "", expected.compared(took) if expected else "")
    if expected:
        expected.write(took)
