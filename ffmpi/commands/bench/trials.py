"""Small runs, for `bench machine`: what steps take beside their arithmetic, and what a checkpoint takes."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ... import config
from ...data.memory import Arrays, holding
from ...errors import telling
from ...run.writer import Writer
from ...runtime.joined import Alone
from ...runtime.setup import training_worker
from ...runtime.sizes import step_costs
from ...runtime.worker import Worker
from ...schedule import Steps
from ...schedule import steps as s
from ...schedule.core import Core
from .figures import clock

_SAMPLES, _TESTED, _BATCH, _SMALL, _LARGE = 1000, 200, 100, 64, 784
#: Units of layers that take no time, and of such that take so much memory that nothing else is left in caches.
_NARROW, _WIDE = 16, 768
#: Steps in which there is so little arithmetic that it can be told from the rest in wide layers, too.
_PLAIN = ("AddLogits", "HeadError", "Evaluate")
#: Steps that may wait for another rank: of these the shortest ones have not.
_WAITING = (s.Receive, s.Reserve)


class Trial:
    """A run of layers so narrow that it is mostly steps."""

    def __init__(self, comm: Any, pixels: int, layers: list[int], *settings: str) -> None:
        """Set it up, on all ranks of `comm`."""
        rng = np.random.default_rng(0)
        arrays = {}
        for split, count in (("train", _SAMPLES), ("test", _TESTED)):
            arrays[f"{split}/images"] = rng.integers(0, 256, (count, pixels), np.uint8)
            arrays[f"{split}/labels"] = np.arange(count) % 10
        given = ["data.name=memory", f"network.layers={layers}", f"train.batch_size={_BATCH}", "train.epochs=3"]
        self.comm = comm
        with ExitStack() as held:
            held.enter_context(holding(Arrays(arrays)))
            held.enter_context(telling(lambda text: None))
            self.worker: Worker = training_worker(comm, config.parse("", "bench machine", [*given, *settings]))

    def times(self, core: Core) -> dict[str, float]:
        """Run it; return by kind of step the median time beside what `core` takes for its arithmetic."""
        worker, rank = self.worker, self.comm.rank
        costs = step_costs(worker.config, worker.dataset, worker.schedule.spec)
        priced = worker.schedule.costs_on(rank, costs.by(core))
        taken: dict[type, list[float]] = defaultdict(list)

        def watched() -> Steps:
            for step in worker.schedule.steps(rank):
                if isinstance(step, s.Save):
                    continue
                began = clock()
                yield step
                taken[type(step)].append(clock() - began - priced.of(step).seconds)

        worker.execute(watched())
        return {
            kind.__name__: max(0.0, float(np.quantile(each, 0.2 if kind in _WAITING else 0.5)))
            for kind, each in taken.items()
        }


def steps_alone(core: Core) -> tuple[dict[str, float], float, float]:
    """Return what each kind of step takes beside its arithmetic, how many pixels a second is needed for, and how many
    times as long as in narrow layers a step takes in wide ones.
    """
    alone, by_chapter = Alone(), ("schedule.name=sequential", "train.chapters=3")
    small = Trial(alone, _SMALL, [_NARROW] * 3).times(core)
    wide, large = (Trial(alone, pixels, [_WIDE] * 3).times(core) for pixels in (_SMALL, _LARGE))
    pixel = max(1e-12, (large["BuildInput"] - wide["BuildInput"]) / (_BATCH * (_LARGE - _SMALL)))
    small["BuildInput"] = max(0.0, small["BuildInput"] - _BATCH * _SMALL * pixel)
    found = Trial(alone, _SMALL, [_NARROW] * 3, *by_chapter).times(core) | small
    colder = max(1.0, statistics.median(wide[kind] / found[kind] for kind in _PLAIN if found.get(kind)))
    return {kind: colder * seconds for kind, seconds in found.items()}, 1 / pixel, colder


def steps_together(comm: Any, core: Core) -> dict[str, float]:
    """Return the same of the steps that only several ranks have, as rank 0 measures them; for all ranks."""
    found = Trial(comm, _SMALL, [_NARROW * comm.size] * 2).times(core)
    only = {"Post", "Receive", "Reserve", "Send", "AddSums"}
    return {kind: seconds for kind, seconds in found.items() if kind in only}


def disk_rate(directory: Path | None) -> float:
    """Return the bytes of a checkpoint that are written to `directory`, or that for temporary files, in a second."""
    trial = Trial(Alone(), _LARGE, [1000, 1000], "optimizer.name=adam", "train.epochs=1")
    worker, began = trial.worker, 0.0
    with TemporaryDirectory(prefix="ffmpi-", dir=directory) as scratch:
        path = Path(scratch) / "checkpoint.h5"
        worker.on_save = lambda chapter: Writer(path, worker.config, worker.dataset, chapter + 1)

        def saving() -> Steps:
            nonlocal began
            for step in worker.schedule.steps(0):
                if isinstance(step, s.Save):
                    began = time.perf_counter()
                if isinstance(step, s.Save | s.SetEpoch | s.FreeEpoch):
                    yield step

        worker.execute(saving())
        return path.stat().st_size / (time.perf_counter() - began)


def median_of(found: list[dict[str, float]]) -> dict[str, float]:
    """Return of each kind of step the median over those who have measured it."""
    kinds = {kind for each in found for kind in each}
    return {kind: statistics.median(each[kind] for each in found if kind in each) for kind in sorted(kinds)}
