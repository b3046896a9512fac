"""A run that is traced: what all ranks have recorded becomes one trace, however the run ends."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, warn
from ..run import chrome
from ..run.parts import Part, bring_together, left_in, together_in
from ..run.ranks import Ranks
from ..run.trace import Trace
from . import mpi
from .clocks import compare
from .mpi import allgather, host, wait
from .recorder import Recorder
from .worker import Worker

#: Beyond the tags of all links.
_TAG = 32_003


@contextmanager
def traced(
    comm: Any, worker: Worker, directory: Path, tell: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Record what all ranks do within the block, and leave trace.h5 and trace.json in the run directory; for all.

    Where the block is left by an exception each rank writes its part, and rank 0 brings together what there is when all
    have ended. A run that is resumed keeps its earlier traces under other names. On rank 0 `tell` is told where it is.
    """
    rank, schedule = comm.rank, worker.schedule
    if schedule.first >= schedule.spec.chapters:  # nothing is left to do
        yield
        return
    if rank == 0:
        with suppress(OSError, UserError):
            _make_room(directory, resumed=schedule.first > 0)
    owns = Ranks(worker.config, schedule, [host()] * comm.size).duties([rank])
    recorder = Recorder(host(), owns, rank, comm.size, schedule.spec.epochs_per_chapter, directory)
    for link, end in worker.buffers.links.items():
        end.watch = recorder.watch(link)
    worker.recorder = recorder
    recorder.readings.append(compare(comm))
    try:
        yield
    except BaseException:
        recorder.add(worker.spent)
        recorder.keep(always=True)
        if comm.size == 1:
            _finish(directory, tell)
        elif rank == 0:
            mpi.at_end.append(lambda: _finish(directory, tell))
        raise
    recorder.add(worker.spent)
    recorder.readings.append(compare(comm))
    parts = gather(comm, recorder.part())
    if rank == 0:
        _write(directory, lambda: bring_together(parts), tell)


def gather(comm: Any, part: Part) -> list[Part]:
    """Return on rank 0 the parts of all ranks; for all."""
    sizes = allgather(comm, len(own := pickle.dumps(part)))
    if comm.rank > 0:
        wait(comm.Isend(np.frombuffer(own, np.uint8), 0, _TAG))
        return []
    parts = [part]
    for rank in range(1, comm.size):
        wait(comm.Irecv(coming := np.empty(sizes[rank], np.uint8), rank, _TAG))
        parts.append(pickle.loads(coming.tobytes()))
    return parts


def _write(directory: Path, make: Callable[[], Trace | None], tell: Callable[[str], None]) -> None:
    """Leave the trace that ``make()`` returns in both forms, and no parts; a run does not fail where that cannot be."""
    try:
        if (trace := make()) is None:
            return
        trace.save(directory / "trace.h5")
        chrome.write(trace, directory / "trace.json")
        for path in left_in(directory):
            path.unlink(missing_ok=True)
    except (UserError, OSError, MemoryError) as error:
        warn(f"no trace is left: {error}")
        return
    tell(
        f"{directory / 'trace.json'}: what each rank did when, for ui.perfetto.dev; 'ffmpi plot timeline {directory}' "
        "draws it"
    )


def _finish(directory: Path, tell: Callable[[str], None]) -> None:
    """Make a trace of the parts that there are, after all ranks have ended."""
    _write(directory, lambda: together_in(directory), tell)


def _make_room(directory: Path, resumed: bool) -> None:
    """Take the traces of an earlier job out of the way."""
    if resumed:
        _finish(directory, lambda text: None)
    number = 1
    while os.path.exists(directory / f"trace-{number}.h5"):
        number += 1
    for name in ("trace.h5", "trace.json"):
        path = directory / name
        if not resumed:
            path.unlink(missing_ok=True)
        elif path.exists():
            path.rename(path.with_stem(f"trace-{number}"))
    for path in left_in(directory):
        path.unlink(missing_ok=True)
