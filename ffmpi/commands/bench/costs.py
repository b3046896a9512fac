"""The command `bench costs`: what each step of a recipe takes on one rank, beside what `schedule.cost` expects."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from ... import config
from ...errors import UserError
from ...plan.machine import read_machine
from ...runtime.mpi import run
from ...runtime.setup import training_worker
from ...runtime.sizes import step_costs
from ...schedule import Steps
from ...schedule import steps as s
from ...schedule.core import CORE, Core


class Kind(NamedTuple):
    """Steps that cost the same."""

    step: str
    layer: int  # from 1; 0 for steps that belong to no layer
    split: str
    stream: str


def costs(recipe: str, settings: list[str], chapters: int, machine: str | None, as_json: bool) -> None:
    """Train `chapters` chapters of `recipe` on one rank, saving nothing; print what its steps took, or JSON."""
    core = read_machine(machine).alone if machine else CORE
    run(lambda comm: _costs(comm, recipe, settings, chapters, core, as_json))


def _costs(comm: Any, recipe: str, settings: list[str], chapters: int, core: Core, as_json: bool) -> None:
    if comm.size > 1:
        raise UserError(f"bench costs on {comm.size} ranks: expected one, since all steps are measured")
    worker = training_worker(comm, config.read(recipe, settings))
    spec = worker.schedule.spec
    if chapters > spec.chapters:
        raise UserError(f"--chapters {chapters}: expected 1 to {spec.chapters}, those of {recipe}")
    # Processor time does not count what other programs take, but only that of one thread can be told apart.
    clock = time.thread_time if worker.config.schedule.threads == 1 else time.perf_counter
    expected: dict[Kind, float] = {}
    taken: dict[Kind, list[float]] = defaultdict(list)
    priced = step_costs(worker.config, worker.dataset, spec).by(core)

    def watched(steps: Steps) -> Steps:
        """Yield the steps that compute, and note how long it is until the next one is asked for."""
        done = 0
        for step in steps:
            if isinstance(step, s.Save | s.Record):
                continue
            cost, began = priced.of(step).seconds, clock()
            yield step
            if cost and hasattr(step, "batch"):
                kind = _kind(step)
                expected[kind] = cost
                taken[kind].append(clock() - began)
            done += isinstance(step, s.Report)
            if done == chapters:
                return

    worker.execute(watched(worker.schedule.steps(0)))
    found = [
        kind._asdict()
        | {"steps": len(each), "microseconds": 1e6 * statistics.median(each), "expected": 1e6 * expected[kind]}
        for kind, each in sorted(taken.items(), key=lambda item: item[0].layer)
    ]
    if as_json:
        print(json.dumps({"recipe": recipe, "chapters": chapters, "steps": found}))
    else:
        _show(found)


def _kind(step: Any) -> Kind:
    return Kind(type(step).__name__, getattr(step, "layer", -1) + 1, step.batch.split, step.batch.stream)


def _show(found: list[dict[str, Any]]) -> None:
    whole, hoped = (sum(each["steps"] * each[name] for each in found) for name in ("microseconds", "expected"))
    table = Table(box=None, pad_edge=False)
    for name in ("step", "layer", "split", "stream"):
        table.add_column(name)
    for name in ("steps", "median us", "share", "expected us", "share", "of it"):
        table.add_column(name, justify="right")
    for each in found:
        table.add_row(
            each["step"], str(each["layer"] or ""), each["split"], each["stream"], str(each["steps"]),
            f"{each['microseconds']:.1f}", f"{100 * each['steps'] * each['microseconds'] / whole:.1f} %",
            f"{each['expected']:.1f}", f"{100 * each['steps'] * each['expected'] / hoped:.1f} %",
            f"{each['microseconds'] / each['expected']:.2f}",
        )  # fmt: skip
    console = Console(width=120, highlight=False)
    console.print(table)
    console.print(
        "Ranks are given work by the expected shares; only ratios matter, so 'of it' should be alike everywhere."
    )
