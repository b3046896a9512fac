"""How long a run is expected to take, and how long it took: plan.json in its directory, and a line at its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..plan.machine import machine_here
from ..plan.simulation import Plan, simulate
from ..run.directory import put
from ..run.planned import compared
from ..runtime.sizes import message_sizes, step_costs
from ..runtime.worker import Worker

#: Steps that are simulated, and the most ranks: it is to take less than a second.
_STEPS, _RANKS = 4e4, 256


@dataclass(frozen=True)
class Expected:
    """What a run is expected to take; its file is `path`."""

    plan: Plan
    path: Path

    def write(self, took: float | None = None) -> None:
        """Write the plan, and how many seconds the run `took`; a run is worth more than that, so errors are left."""
        plan = self.plan
        told = {
            "machine": plan.machine.name, "source": plan.machine.source, "ranks": plan.ranks,
            "ranks_per_host": plan.ranks_per_host, "chapters": plan.chapters, "planned": plan.seconds,
            "idle": plan.idle, "took": took,
        }  # fmt: skip
        with suppress(OSError):
            put(self.path, json.dumps(told, indent=2))

    def compared(self, took: float) -> str:
        """Return how the plan compares with the seconds that the run `took`."""
        return compared(self.plan.seconds, took)


def expect(worker: Worker, hosts: Sequence[str], path: Path) -> Expected | None:
    """Return what a run of `worker`'s schedule is expected to take on `hosts`, by rank, to be written to `path`.

    None where this machine was not measured, or a plan would take long.
    """
    schedule, config, dataset = worker.schedule, worker.config, worker.dataset
    spec = schedule.spec
    if spec.ranks > _RANKS or schedule.first == spec.chapters:
        return None
    machine = machine_here()
    if machine is None:
        return None
    costs, sizes = step_costs(config, dataset, spec), message_sizes(config, dataset, spec)
    plan = simulate(schedule, costs, sizes, machine, max(Counter(hosts).values()), _STEPS)
    return Expected(plan, path)
