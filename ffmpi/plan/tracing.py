"""What a planned run would leave as its trace."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..run.trace import MESSAGE, PAYLOADS, SPAN, Trace, fields_of
from ..schedule import Schedule
from ..schedule import steps as s
from ..schedule.messages import MessageSizes
from .events import Simulation
from .groups import Groups
from .simulation import Plan

#: Spans that a trace has at most; of a longer run it has the first chapters.
_MOST = 2_000_000
_PAYLOAD = {name: number for number, name in enumerate(PAYLOADS)}


def planned_trace(plan: Plan, sizes: MessageSizes, owns: Sequence[str], hosts: Sequence[str]) -> Trace:
    """Return what every rank is expected to do when; `owns` and `hosts` are by rank."""
    schedule = plan.schedule
    chapters, spec = schedule.spec.chapters - schedule.first, schedule.spec
    steps = max(1, sum(1 for _ in _begin(schedule, 1).steps(0)) * spec.ranks)
    kept = max(1, min(chapters, _MOST // steps))
    note = f"the first {kept} of {chapters} chapters" if kept < chapters else ""
    recorder = _Recorder(spec.epochs_per_chapter)
    short = _begin(schedule, kept)
    groups = Groups(short, plan.ranks_per_host, merge=False)
    Simulation(
        short, plan.costs, sizes, plan.machine, groups, watch=recorder.step, watch_message=recorder.message
    ).run()  # fmt: skip
    spans = np.array(recorder.spans, SPAN)
    spans = spans[np.lexsort((spans["start"], spans["rank"]))]
    return Trace(spans, np.array(recorder.messages, MESSAGE), tuple(hosts), tuple(owns), planned=True, note=note)


def _begin(schedule: Schedule, chapters: int) -> Schedule:
    """Return a schedule of the first `chapters` chapters."""
    spec = schedule.spec
    last = min(spec.chapters, schedule.first + chapters)
    if last == spec.chapters:
        return schedule
    short = dataclasses.replace(spec, chapters=last, epochs=last * spec.epochs_per_chapter)
    return type(schedule)(short, schedule.first)  # type: ignore[call-arg]


class _Recorder:
    """Rows of spans and messages."""

    def __init__(self, epochs_per_chapter: int) -> None:
        self.epochs_per_chapter = epochs_per_chapter
        self.now: dict[int, tuple[int, int]] = {}  # by rank, epoch and chapter
        self.spans: list[tuple[float, ...]] = []
        self.messages: list[tuple[float, ...]] = []

    def step(self, rank: int, step: s.Step, start: float, stop: float) -> None:
        if isinstance(step, s.SetEpoch):
            self.now[rank] = step.epoch, step.chapter
        if stop == start:
            return
        told = fields_of(step, self.now.get(rank, (-1, -1)), self.epochs_per_chapter)
        self.spans.append((rank, *told, start, stop))

    def message(self, link: s.LinkId, size: float, sent: float, received: float) -> None:
        self.messages.append((link.source, link.target, _PAYLOAD[link.payload], link.stage, size, sent, received))
