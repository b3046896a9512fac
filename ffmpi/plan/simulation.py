"""Planning one run: what its simulation says of the time, and of what every rank does in it."""

from __future__ import annotations

from dataclasses import dataclass

from ..schedule import Pipeline, Schedule
from ..schedule.cost import StepCosts
from ..schedule.messages import MessageSizes
from .events import Simulation, Usage
from .excerpt import Excerpt, excerpts
from .groups import Group, Groups
from .machine import Machine

#: Steps that are simulated for a plan; about 3 million a minute.
STEPS = 4e5


@dataclass(frozen=True)
class Plan:
    """What is expected of a run.

    Attributes
    ----------
    seconds : from the first step to the last
    costs : of steps, on cores as busy as they are then
    chapters : how many there are
    groups : ranks that do the same, the first of which stands for all; usage : of each of them in the whole run
    """

    schedule: Schedule
    machine: Machine
    ranks_per_host: int
    seconds: float
    chapters: int
    groups: tuple[Group, ...]
    usage: tuple[Usage, ...]
    costs: StepCosts

    @property
    def ranks(self) -> int:
        """How many there are."""
        return self.schedule.spec.ranks

    @property
    def hosts(self) -> int:
        """How many hosts they are on."""
        return -(-self.ranks // self.ranks_per_host)

    @property
    def busy(self) -> float:
        """Seconds that ranks are busy, in the mean."""
        return sum(len(one.ranks) * usage.busy for one, usage in zip(self.groups, self.usage, strict=True)) / self.ranks

    @property
    def idle(self) -> float:
        """The share of all ranks' time in which they wait."""
        return max(0.0, 1.0 - self.busy / self.seconds) if self.seconds else 0.0

    @property
    def busiest(self) -> Usage:
        """The usage of the rank that has most to do."""
        return max(self.usage, key=lambda one: one.busy)

    def of(self, rank: int) -> Usage:
        """Return the usage of a rank."""
        return next(usage for group, usage in zip(self.groups, self.usage, strict=True) if rank in group.ranks)


def simulate(
    schedule: Schedule, costs: StepCosts, sizes: MessageSizes, machine: Machine, ranks_per_host: int = 0,
    steps: float = STEPS, *, merge: bool = True,
) -> Plan:  # fmt: skip
    """Return what is expected of a run on `machine`.

    Parameters
    ----------
    costs : of steps; the seconds are those of the machine's cores
    ranks_per_host : 0: as many as a host has cores for
    steps : about how many are simulated; a run that has fewer is simulated to its end, of others excerpts are
    merge : whether one rank stands for all that are equal
    """
    per_host, priced = on_hosts(schedule, costs, machine, ranks_per_host)
    groups = Groups(schedule, per_host, merge=merge)
    chapters = schedule.spec.chapters - schedule.first

    def by(costs: StepCosts) -> Plan:
        seconds, usage = 0.0, [Usage() for _ in groups.all]
        for excerpt in excerpts(schedule, _steps_of_a_batch(schedule, groups), steps):
            more, used = _measured(excerpt, costs, sizes, machine, groups)
            seconds += excerpt.share * more
            usage = [one.plus(other, excerpt.share) for one, other in zip(usage, used, strict=True)]
        return Plan(schedule, machine, per_host, seconds, chapters, tuple(groups.all), tuple(usage), costs)

    plan = by(priced)
    cores = per_host * costs.threads
    if machine.alone == machine.core or per_host == 1 or plan.idle < _IDLE:
        return plan
    return by(costs.by(machine.core_with(1 + (cores - 1) * _together(per_host, 1 - plan.idle))))


#: Share of idle time from which on it counts that a host's cores are not all busy at once.
_IDLE = 0.1


def _together(ranks: int, busy: float) -> float:
    """Return which share of a host's other ranks compute while one does, if each is `busy` a share of the time.

    Two that take turns do so as little as they can; many, whenever they would.
    """
    return max(0.0, min(busy, (ranks * busy - 1) / ((ranks - 1) * busy)))


def on_hosts(
    schedule: Schedule, costs: StepCosts, machine: Machine, ranks_per_host: int
) -> tuple[int, StepCosts]:  # fmt: skip
    """Return how many ranks a host has, 0 standing for as many as it has cores for, and what steps cost there."""
    per_host = min(ranks_per_host or max(1, machine.cores // costs.threads), schedule.spec.ranks)
    return per_host, costs.by(machine.core_with(per_host * costs.threads))


def _measured(
    excerpt: Excerpt, costs: StepCosts, sizes: MessageSizes, machine: Machine, groups: Groups
) -> tuple[float, list[Usage]]:  # fmt: skip
    within = groups.within(excerpt.schedule)
    outcome = Simulation(
        excerpt.schedule, costs, sizes, machine, within, excerpt.weights, excerpt.others, excerpt.saves
    ).run()
    if not excerpt.repeats:
        return outcome.seconds, outcome.usage
    more, usage, at = 0.0, [], -excerpt.typical
    for own, reports in zip(outcome.usage, outcome.reports, strict=True):
        (before, begun), (after, done) = reports[at - 1], reports[at]
        more = max(more, after - before)
        usage.append(own.plus(done, excerpt.repeats).plus(begun, -excerpt.repeats))
    return outcome.seconds + excerpt.repeats * more, usage


def _steps_of_a_batch(schedule: Schedule, groups: Groups) -> float:
    """Return about how many steps are simulated for a batch."""
    if isinstance(schedule, Pipeline):
        return sum(12.0 + 2.0 * len(groups.lanes(number)) for number in range(len(groups.all)))
    return 7.0 * schedule.spec.layers * (1 if len(schedule.round) > 1 else len(groups.all) ** 0.5)
