"""A run from its first step to its last: what is told of each chapter on rank 0, what is kept, and where it is written.

All of it may be missing: a program that trains in memory has no run directory, and need not want to be told anything.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from .. import config
from ..data.remarks import check, outline
from ..data.statistics import Statistics
from ..errors import note, warn
from ..run.best import Best
from ..run.directory import RunDirectory
from ..run.health import findings
from ..run.kept import Kept, Target
from ..run.metrics import Clock, Measurements
from ..run.progress import Output, Progress
from ..run.ranks import Ranks
from ..run.tensorboard import EventFiles
from ..run.writer import Writer
from . import stop
from .joined import Alone
from .launch import library_name
from .mpi import control_of, host
from .pulse import Pulse
from .sizes import long_scoring
from .tracing import traced
from .worker import Worker


@dataclass
class Listeners:
    """Who is told of a run, on rank 0.

    directory, progress, events : where it is written, and printed, and written for TensorBoard
    chapter : called with each chapter's record; if it returns true the run ends when the chapter has been saved
    kept : what takes the arrays of the last state that is saved, in memory
    trace : whether a trace is to be left in the directory
    """

    directory: RunDirectory | None = None
    progress: Progress | None = None
    chapter: Callable[[dict[str, Any]], object] | None = None
    kept: Kept | None = None
    trace: bool = False
    events: EventFiles | None = None


class Observed:
    """What rank 0 has seen of the samples: what may be wrong with them is told at once, as warnings.

    Attributes
    ----------
    about : plain values for environment.json; lines : for the output
    """

    def __init__(self, where: str) -> None:
        """Say that the samples are from `where`."""
        self.where = where
        self.about: dict[str, Any] = {}
        self.lines: list[str] = []

    def __call__(self, found: Statistics) -> None:
        """Look at them. Raises UserError if there is nothing to learn."""
        told = check(found, self.where, tested="test" in found.splits)
        for text in told:
            warn(text)
        self.about = msgspec.to_builtins(found) | {"warnings": told}
        self.lines = outline(found)


def facts(comm: Any, worker: Worker) -> dict[str, Any]:
    """Return what only a running job knows, for environment.json."""
    mpi = "none" if isinstance(comm, Alone) else library_name()
    who = Ranks(worker.config, worker.schedule, [""] * comm.size)
    owns = {} if who.by_host else {"owns": [who.duties(ranks) for ranks in who.groups]}
    return {"ranks": comm.size, "mpi": mpi, "ideal_speedup": worker.balance.ideal, **owns}


def progress_of(comm: Any, worker: Worker, output: Output) -> Progress | None:
    """Return what prints the run's progress, on rank 0, which ranks then tell what they do; for all ranks."""
    hosts, progress = comm.gather(host()), None
    if comm.rank == 0:
        most = [price.total for price in worker.prices]
        config, dataset, schedule = worker.config, worker.dataset, worker.schedule
        notes = long_scoring(config, dataset, schedule.spec)
        progress = Progress(config, dataset, schedule, hosts, output, most, worker.balance, notes)
    every = comm.bcast(progress.every if progress else None)
    control = control_of(comm) if comm.size > 1 else None
    worker.pulse = Pulse(control, every, progress.heard if progress else None)
    return progress


def execute(comm: Any, worker: Worker, listeners: Listeners, saved: str = "") -> Best | None:
    """Carry out this rank's steps, and return which checkpoint is the best, on rank 0 if it is kept.

    On rank 0 `listeners` are told, and `saved` is the id of the checkpoint that there is.
    """
    hosts = comm.gather(host())
    teller = _Teller(hosts, worker, listeners, saved) if comm.rank == 0 else None
    if teller:
        worker.on_report, worker.on_save = teller.report, teller.save
    recording: Any = nullcontext()
    if listeners.trace and listeners.directory:
        told = listeners.progress and not listeners.progress.output.quiet
        recording = traced(comm, worker, listeners.directory.path, note if told else lambda text: None)
    with recording:
        try:
            worker.execute(worker.schedule.steps(comm.rank))
        finally:
            if listeners.progress:
                listeners.progress.stop()
            if listeners.events:
                listeners.events.close()
    return teller.best if teller else None


class _Teller:
    """What rank 0 does when a chapter's measurements, or its state, have come together."""

    def __init__(self, hosts: list[str], worker: Worker, listeners: Listeners, saved: str) -> None:
        self.who, self.worker, self.listeners, self.saved = (
            Ranks(worker.config, worker.schedule, hosts), worker, listeners, saved,
        )  # fmt: skip
        self.config, self.dataset, self.spec = worker.config, worker.dataset, worker.schedule.spec
        self.balance, self.clock = worker.balance, Clock(len(hosts))
        directory = listeners.directory
        self.first = directory.records()[:1] if directory else []  # the run's first chapter
        self.best = Best(directory, self.config) if directory and self.config.checkpoint.best else None
        self.enough = False

    def report(self, chapter: int, measurements: Measurements) -> None:
        """Make the chapter's record, and tell of it."""
        spec, config, listeners = self.spec, self.config, self.listeners
        epoch = (chapter + 1) * spec.epochs_per_chapter
        samples = self.dataset.shards[spec.shard_of(chapter)] * spec.epochs_per_chapter
        # A chapter that one rank has trained alone is one of as many that are under way.
        together = self.spec.ranks if np.count_nonzero(measurements.ranks[:, 0]) == 1 else 1
        seconds, rate = self.clock.chapter(samples, measurements.elapsed, together)
        record = measurements.record(epoch, samples, seconds, rate, config.rule.measures)
        each = record["ranks"]
        computing = [rank["computing"] for rank in each]
        if len(computing) > 1 and all(computing):
            record["ideal_speedup"] = self.balance.measured(computing)
        if not self.first:
            self.first.append(record)
        found = findings(record, self.first[0], config, self.dataset, last=epoch == config.train.epochs)
        record["warnings"] = [str(finding) for finding in found]
        record["ranks"] = self.who.rows(each)
        if listeners.directory:
            listeners.directory.append(record)
        if listeners.events:
            listeners.events.chapter(record)
        if self.best:
            self.best.note(record)
        if listeners.progress:
            listeners.progress.chapter(record | {"ranks": each}, found)
        if listeners.chapter and listeners.chapter(record):
            self.enough = True

    def save(self, chapter: int) -> Target | None:
        """Return where the state after the chapter is to go; once a listener has had enough the run ends with that."""
        writer: Target | None = None
        if directory := self.listeners.directory:
            copy = self.best.takes((chapter + 1) * self.spec.epochs_per_chapter) if self.best else None
            located = config.located(self.config)
            made = Writer(directory.checkpoint, located, self.dataset, chapter + 1, self.saved, copy)
            self.saved, writer = made.id, made
        last = self.enough or chapter + 1 == self.spec.chapters
        if not last or not self.listeners.kept:
            return writer
        kept = self.listeners.kept
        kept.begin(chapter + 1, self.dataset.classes, writer)
        return _Final(kept) if self.enough else kept


class _Final:
    """The last state that is wanted: when it is there, all ranks stop."""

    at_once = True

    def __init__(self, kept: Kept) -> None:
        self.create, self.write, self._commit = kept.create, kept.write, kept.commit

    def commit(self, wait: bool = True) -> bool:
        if not self._commit(wait):
            return False
        raise stop.Stopped(stop.ENOUGH)
