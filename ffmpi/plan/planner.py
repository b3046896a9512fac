"""From a configuration to a plan."""

from __future__ import annotations

from ..config.schema import Config
from ..data.info import DatasetInfo
from ..runtime.sizes import message_sizes, spec_of, step_costs
from .machine import Machine
from .simulation import STEPS, Plan, simulate


def plan_of(
    config: Config, dataset: DatasetInfo, ranks: int, machine: Machine, ranks_per_host: int = 0, steps: float = STEPS
) -> Plan:  # fmt: skip
    """Return what is expected of a run; see `simulation.simulate`. UserError if its schedule cannot use the ranks.

    config : with what it leaves to the data, see `info.resolved`
    """
    busy = config.schedule.threads * min(ranks, ranks_per_host or machine.cores)
    spec = spec_of(config, dataset, ranks, machine.core_with(busy))
    schedule, costs = config.schedule.plan(spec), step_costs(config, dataset, spec)
    return simulate(schedule, costs, message_sizes(config, dataset, spec), machine, ranks_per_host, steps)
