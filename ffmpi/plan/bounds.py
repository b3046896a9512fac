"""What bounds a run: where the time of its ranks goes, and what they wait for, by planning without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import structs

from ..schedule import Pipeline
from .machine import Machine, Messages
from .simulation import Plan

#: Plans the same on another machine.
Again = Callable[[Machine], Plan]
#: A share of the time below which it is not looked any further for what ranks wait for.
_LITTLE = 0.03
#: Panels of the busiest rank up to which it matters that ranks have whole ones only.
_FEW_PANELS = 24


@dataclass(frozen=True)
class Bound:
    """A share of a run's time, and what it goes to."""

    name: str
    share: float
    why: str


def bounds(plan: Plan, again: Again | None = None) -> list[Bound]:
    """Return where the time goes: the shares make up the whole, the greatest comes first.

    What the busiest rank waits for is found by planning without it, with `again`.
    """
    total, busiest, ranks = plan.seconds, plan.busiest, plan.ranks
    mean = sum(len(g.ranks) * used.computing for g, used in zip(plan.groups, plan.usage, strict=True)) / ranks
    found = [
        Bound("computing", mean / total, "what all ranks have to compute, evenly shared"),
        Bound("balance", (busiest.computing - mean) / total, _unevenness(plan)),
        Bound("messages", busiest.moving / total, "sending and taking over messages, on the busiest rank"),
        Bound("checkpoints", busiest.saving / total, "copying and writing checkpoints, on the busiest rank"),
    ]
    waiting = max(0.0, 1.0 - busiest.busy / total)
    if again and waiting > _LITTLE and ranks > 1:
        found += _waits(plan, again, waiting)
    else:
        found.append(Bound("waiting", waiting, "waiting for others, on the busiest rank"))
    return sorted(found, key=lambda bound: -bound.share)


def _unevenness(plan: Plan) -> str:
    schedule = plan.schedule
    most = max(sum(map(len, schedule.pieces(group.ranks[0]).values())) for group in plan.groups)
    if isinstance(schedule, Pipeline) and plan.ranks > 1 and most <= _FEW_PANELS:
        return f"what the busiest rank computes over that: ranks have whole panels of 16 units, at most {most} here"
    return "what the busiest rank computes over that"


def _waits(plan: Plan, again: Again, waiting: float) -> list[Bound]:
    """Return what the busiest rank waits for: a part each, as much of it as there would not be without that."""
    machine = plan.machine
    free = Messages(bytes=[0], seconds=[0.0], overhead=[0.0])
    without = {
        "latency": structs.replace(machine, inside=_at_once(machine.inside), between=_at_once(machine.between)),
        "network": structs.replace(machine, inside=free, between=free, card=_ENDLESS),
        "checkpoints of others": structs.replace(machine, disk=_ENDLESS),
    }
    why = {
        "latency": "the time that a message takes however short it is",
        "network": "the bandwidth between ranks, of a host's network card above all",
        "checkpoints of others": "what another rank writes",
    }
    gains, left = dict[str, float](), waiting
    base = again(machine).seconds
    for name, other in without.items():
        gains[name] = max(0.0, 1.0 - again(other).seconds / base)
    gains["network"] = max(0.0, gains["network"] - gains["latency"])
    found = []
    for name, gain in sorted(gains.items(), key=lambda item: -item[1]):
        share = min(left, gain)
        found.append(Bound(name, share, f"waiting for {why[name]}"))
        left -= share
    return [*found, Bound("order", left, "waiting for what others compute first")]


_ENDLESS = 1e30  # bytes/s


def _at_once(messages: Messages) -> Messages:
    """Return the same messages without what the shortest one takes."""
    least = messages.seconds[0]
    return structs.replace(messages, seconds=[max(0.0, seconds - least) for seconds in messages.seconds])
