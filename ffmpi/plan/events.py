"""A discrete-event simulation of a schedule's steps, those that the worker executes, on a machine.

Ranks go on independently until they wait for a message, a report or a save. A message is under way from when it has
been sent and its buffer offered. Between hosts it goes through the network cards of both, which their ranks share.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from heapq import heappop, heappush
from typing import Any, NamedTuple

from ..schedule import Pipeline, Schedule
from ..schedule import steps as s
from ..schedule.cost import StepCosts
from ..schedule.messages import MessageSizes
from .groups import Groups, Lane
from .machine import Machine
from .stashed import StashMemory

#: Told of a step: the rank that stands for a group, the step, when it began, and when it ended.
Watch = Callable[[int, s.Step, float, float], None]
#: Told of a message: its link, its bytes, when it was sent, and when it had arrived.
WatchMessage = Callable[[s.LinkId, float, float, float], None]
#: Bytes up to which MPI takes a message over at once, so that its buffer is free again.
EAGER = 16384


@dataclass
class Usage:
    """What a rank did in a run or a part of one.

    Attributes
    ----------
    busy, waiting : seconds in which it does something, and in which it waits for others
    moving, saving : those of the former that messages take, and checkpoints and copies for these
    flop : of its products, as if no zero were skipped
    messages, sent, received : how many it has sent, and the bytes that left and arrived
    remote : the bytes that left for other hosts
    """

    busy: float = 0.0
    waiting: float = 0.0
    moving: float = 0.0
    saving: float = 0.0
    flop: float = 0.0
    messages: float = 0.0
    sent: float = 0.0
    received: float = 0.0
    remote: float = 0.0

    @property
    def computing(self) -> float:
        """Seconds of arithmetic, and of steps beside it."""
        return self.busy - self.moving - self.saving

    def plus(self, other: Usage, times: float = 1.0) -> Usage:
        """Return the sum with `times` as much as another's."""
        names = [one.name for one in fields(Usage)]
        return Usage(**{name: getattr(self, name) + times * getattr(other, name) for name in names})


@dataclass
class Outcome:
    """How a simulation went.

    Attributes
    ----------
    seconds : from the first step to the last
    usage : of a rank of each group
    reports : of each, by chapter, when it reported it, and its usage until then
    """

    seconds: float
    usage: list[Usage]
    reports: list[list[tuple[float, Usage]]]


#: What the size of a message depends on, beside its channel: split and stream.
_Key = tuple[s.Split, s.Stream] | None


class _Channel:
    """The messages of a lane from one group to another, in order."""

    def __init__(self, lane: Lane, cards: tuple[int, int]) -> None:
        self.same_host, self.source, self.target = lane.same_host, lane.source, lane.target
        self.card_out, self.card_in = cards
        self.out = self.into = 1  # links of a rank at either end
        self.sent: deque[tuple[float, _Size, s.LinkId]] = deque()  # not matched yet
        self.posted: deque[float] = deque()
        self.arrived: deque[tuple[float, _Size]] = deque()  # not received yet
        self.left: dict[int, float] = {}  # by number, when messages have left
        self.begun = self.matched = 0
        self.pending: dict[int, int] = {}  # by buffer, the message last sent from it
        self.sizes: dict[_Key, _Size] = {}
        self.receiver: _Rank | None = None  # who waits
        self.sender: _Rank | None = None


class _Size(NamedTuple):
    """What the messages of a channel take, of one split and stream; of all links of a rank together."""

    bytes: float  # of one
    weight: float  # for how many messages each stands
    post: float  # seconds of a core
    send: float
    receive: float
    last: float  # the part of `send` that the last one takes
    transfer: float  # seconds from one end to the other
    leaving: float  # those of the network card of a host, for all of its ranks that do the same
    entering: float


class _Rank:
    """The rank that stands for a group: where it is in its steps, and in time."""

    def __init__(self, number: int, rank: int, steps: s.Steps, costs: StepCosts, memory: StashMemory) -> None:
        self.number, self.rank, self.steps, self.costs, self.memory = number, rank, steps, costs, memory
        self.step: s.Step | None = None  # the one that it waits at
        self.now = 0.0
        self.usage = Usage()
        self.ends: dict[int, _Channel] = {}  # by the identity of a lane's link, which lives as long as this
        self.by_link: dict[s.LinkId, _Channel] = {}
        self.reports: list[tuple[float, Usage]] = []
        self.recorded = 0
        self.snapshots: set[tuple[int, int]] = set()


@dataclass
class Simulation:
    """One simulation; `run` carries it out.

    Attributes
    ----------
    weights : by split and stream, for how many batches one stands
    others, saves : for how many one stands of what is no batch, and of saves
    watch, watch_message : told of all that happens, if given
    """

    schedule: Schedule
    costs: StepCosts
    sizes: MessageSizes
    machine: Machine
    groups: Groups
    weights: Mapping[tuple[s.Split, s.Stream], float] = field(default_factory=dict)
    others: float = 1.0
    saves: float = 1.0
    watch: Watch | None = None
    watch_message: WatchMessage | None = None

    def run(self) -> Outcome:
        """Simulate all steps."""
        self._begin()
        heap, ranks = self._heap, self._ranks
        while heap:
            _, number = heappop(heap)
            self._go_on(ranks[number])
        stuck = [rank for rank in ranks if rank.step is not None]
        assert not stuck, f"ranks {[rank.rank for rank in stuck]} wait for ever, the first at {stuck[0].step}"
        seconds = max(rank.now for rank in ranks)
        return Outcome(seconds, [rank.usage for rank in ranks], [rank.reports for rank in ranks])

    def _begin(self) -> None:
        schedule, groups = self.schedule, self.groups
        self._several = schedule.spec.ranks > groups.per_host
        self._ranks: list[_Rank] = []
        channels: dict[Any, _Channel] = {}
        self._lanes = [groups.lanes(number) for number in range(len(groups.all))]
        for number, (group, lanes) in enumerate(zip(groups.all, self._lanes, strict=True)):
            rank = group.ranks[0]
            steps = schedule.steps_with(rank, [lane.link for lane in lanes])
            memory = StashMemory(self.sizes.outputs)
            made = _Rank(number, rank, steps, schedule.costs_on(rank, self.costs), memory)
            for lane in lanes:
                channel = channels.get(lane.key)
                if channel is None:
                    cards = 2 * groups.all[lane.source].host, 2 * groups.all[lane.target].host + 1
                    channel = channels[lane.key] = _Channel(lane, cards)
                if lane.link.source == rank:
                    channel.out = lane.count
                else:
                    channel.into = lane.count
                made.ends[id(lane.link)] = made.by_link[lane.link] = channel
            self._ranks.append(made)
        self._cards: dict[int, float] = defaultdict(float)  # until when each is in use
        self._latency = self.machine.transfer(0, False)
        self._saved: dict[int, float] = {}  # by chapter, when rank 0 had written all
        self._at_save: dict[int, list[_Rank]] = defaultdict(list)
        self._recorder: _Rank | None = None
        self._heap: list[tuple[float, int]] = [(0.0, rank.number) for rank in self._ranks]
        self._do: dict[type, Callable[[_Rank, Any], bool]] = {
            s.Post: self._post, s.Receive: self._receive, s.Send: self._send, s.Reserve: self._reserve,
            s.Report: self._report, s.Record: self._record, s.Save: self._save, s.TakeSnapshot: self._take_snapshot,
            s.FreeSnapshot: self._free_snapshot, s.StashActivations: self._stash, s.FreeActivations: self._stash,
        }  # fmt: skip

    def _go_on(self, rank: _Rank) -> None:
        """Let a rank go on until it has to wait, or until another would send before it does."""
        steps, do, usage, of, weights = rank.steps, self._do, rank.usage, rank.costs.of, self.weights
        heap, several, watch = self._heap, self._several, self.watch
        step = rank.step
        while True:
            if step is None:
                step = next(steps, None)
                if step is None:
                    rank.step = None
                    return
            kind = type(step)
            special = do.get(kind)
            if special is None:
                seconds, flop = (cost := of(step)).seconds, cost.flop
                began = rank.now
                if seconds:
                    if weights:
                        batch = getattr(step, "batch", None)
                        weight = self.others if batch is None else weights[batch.split, batch.stream]
                        seconds, flop = seconds * weight, flop * weight
                    rank.now += seconds
                    usage.busy += seconds
                    usage.flop += flop
                if watch:
                    watch(rank.rank, step, began, rank.now)
            else:
                if several and (kind is s.Send or kind is s.Post) and heap and heap[0][0] < rank.now:
                    rank.step = step
                    heappush(heap, (rank.now, rank.number))
                    return
                began = rank.now
                if not special(rank, step):
                    rank.step = step
                    return
                if watch and rank.now > began:
                    watch(rank.rank, step, began, rank.now)
            step = None

    def _wake(self, rank: _Rank, when: float) -> None:
        heappush(self._heap, (max(when, rank.now), rank.number))

    def _spend(self, rank: _Rank, seconds: float) -> None:
        rank.now += seconds
        rank.usage.busy += seconds

    def _stash(self, rank: _Rank, step: s.StashActivations | s.FreeActivations) -> bool:
        costs, batch = rank.costs, step.batch
        seconds = costs.of(step).seconds + rank.memory.new(step) / costs.core.new
        self._spend(rank, self.weights.get((batch.split, batch.stream), 1.0) * seconds)
        return True

    def _wait(self, rank: _Rank, until: float) -> None:
        if until > rank.now:
            rank.usage.waiting += until - rank.now
            rank.now = until

    # -- Messages -----------------------------------------------------------------------------------------------------
    def _measure(self, channel: _Channel, key: _Key, step: s.Post | s.Send | s.Receive) -> _Size:
        """Return what the messages of a channel take that are like the one of `step`."""
        machine, costs, same = self.machine, self.costs, channel.same_host
        weight = self.weights.get(key, 1.0) if key else self.others
        size = weight * self.sizes.of(self.schedule, step.link, step.item, same)
        busy, transfer = (weight * each(size / weight, same) for each in (machine.overhead_s, machine.transfer))
        post, send, receive = (
            weight * costs.of(kind(step.link, step.buffer, step.item)).seconds for kind in (s.Post, s.Send, s.Receive)
        )
        source, target = self.groups.all[channel.source], self.groups.all[channel.target]
        made = channel.sizes[key] = _Size(
            bytes=size, weight=weight, post=channel.into * post, send=channel.out * (send + busy),
            receive=channel.into * (receive + busy), last=busy, transfer=transfer,
            leaving=channel.out * source.together * size / machine.card,
            entering=channel.into * target.together * size / machine.card,
        )  # fmt: skip
        return made

    def _post(self, rank: _Rank, step: s.Post) -> bool:
        channel = rank.ends.get(id(step.link)) or rank.by_link[step.link]
        key = (item.split, item.stream) if isinstance(item := step.item, s.Batch) else None
        size = channel.sizes.get(key) or self._measure(channel, key, step)
        rank.now += size.post
        rank.usage.busy += size.post
        rank.usage.moving += size.post
        channel.posted.append(rank.now)
        if channel.sent:
            self._match(channel)
        return True

    def _send(self, rank: _Rank, step: s.Send) -> bool:
        channel = rank.ends.get(id(step.link)) or rank.by_link[step.link]
        key = (item.split, item.stream) if isinstance(item := step.item, s.Batch) else None
        size, usage = channel.sizes.get(key) or self._measure(channel, key, step), rank.usage
        rank.now += size.send
        usage.busy += size.send
        usage.moving += size.send
        usage.messages += channel.out * size.weight
        usage.sent += channel.out * size.bytes
        if not channel.same_host:
            usage.remote += channel.out * size.bytes
        channel.pending[step.buffer] = channel.begun
        channel.begun += 1
        channel.sent.append((rank.now - size.last, size, step.link))
        if channel.posted:
            self._match(channel)
        return True

    def _match(self, channel: _Channel) -> None:
        """Let a message that has been sent travel into the buffer that has been offered."""
        sent, size, link = channel.sent.popleft()
        posted = channel.posted.popleft()
        begin = sent if sent > posted else posted
        arrival = begin + size.transfer
        if not channel.same_host:  # it passes the cards of both hosts, which may have no time before
            cards = self._cards
            for card, seconds in ((channel.card_out, size.leaving), (channel.card_in, size.entering)):
                free = cards[card]
                free = cards[card] = (free if free > begin else begin) + seconds
                if free + self._latency > arrival:
                    arrival = free + self._latency
        channel.arrived.append((arrival, size))
        channel.left[channel.matched] = sent if size.bytes <= EAGER * size.weight else arrival
        channel.matched += 1
        if self.watch_message:
            self.watch_message(link, size.bytes, sent, arrival)
        for waiting in (channel.receiver, channel.sender):
            if waiting is not None:
                self._wake(waiting, arrival)
        channel.receiver = channel.sender = None

    def _receive(self, rank: _Rank, step: s.Receive) -> bool:
        channel = rank.ends.get(id(step.link)) or rank.by_link[step.link]
        if not channel.arrived:
            channel.receiver = rank
            return False
        arrival, size = channel.arrived.popleft()
        # While it waits it takes the message over; what came earlier it has taken over between other steps.
        rank.now += size.receive
        rank.usage.busy += size.receive
        rank.usage.moving += size.receive
        if arrival > rank.now:
            rank.usage.waiting += arrival - rank.now
            rank.now = arrival
        rank.usage.received += channel.into * size.bytes
        return True

    def _reserve(self, rank: _Rank, step: s.Reserve) -> bool:
        channel = rank.ends.get(id(step.link)) or rank.by_link[step.link]
        number = channel.pending.get(step.buffer)
        if number is None:
            return True
        left = channel.left.pop(number, None)
        if left is None:
            channel.sender = rank
            return False
        del channel.pending[step.buffer]
        self._wait(rank, left)
        return True

    # -- Chapters -----------------------------------------------------------------------------------------------------
    def _report(self, rank: _Rank, step: s.Report) -> bool:
        self._spend(rank, rank.costs.of(step).seconds)
        rank.reports.append((rank.now, replace(rank.usage)))
        if self._recorder:
            self._wake(self._recorder, rank.now)
            self._recorder = None
        return True

    def _record(self, rank: _Rank, step: s.Record) -> bool:
        ranks = [self._ranks[number] for number in {self.groups.of[one] for one in step.ranks}]
        if any(len(one.reports) <= one.recorded for one in ranks):
            self._recorder = rank
            return False
        for one in ranks:
            self._wait(rank, one.reports[one.recorded][0])
            one.recorded += 1
        others = len(step.ranks) - (rank.rank in step.ranks)
        seconds = rank.costs.of(step).seconds + others * self.machine.overhead_s(0, not self._several)
        self._spend(rank, seconds)
        return True

    def _take_snapshot(self, rank: _Rank, step: s.TakeSnapshot) -> bool:
        rank.snapshots.add((step.stage, step.chapter))
        self._copy(rank, self.others * self._state_bytes(rank, step.stage))
        return True

    def _free_snapshot(self, rank: _Rank, step: s.FreeSnapshot) -> bool:
        rank.snapshots.discard((step.stage, step.chapter))
        return True

    def _copy(self, rank: _Rank, size: float) -> None:
        self._save_for(rank, size / rank.costs.core.new)

    def _save_for(self, rank: _Rank, seconds: float) -> None:
        self._spend(rank, seconds)
        rank.usage.saving += seconds

    def _state_bytes(self, rank: _Rank, stage: int) -> float:
        """Return the bytes of what a rank has of a stage that it trains."""
        spec = self.schedule.spec
        if stage not in self.schedule.trained(rank.rank):
            return 0.0
        if isinstance(self.schedule, Pipeline) and stage < spec.layers:
            return self.sizes.states[stage] * len(self.schedule.pieces(rank.rank)[stage]) / spec.panels[stage]
        return float(self.sizes.states[stage])

    def _save(self, rank: _Rank, step: s.Save) -> bool:
        """Rank 0 writes all that there is; the others go on if what they have is copied, or wait until it is there."""
        spec, chapter = self.schedule.spec, step.chapter
        if rank.rank == 0:
            self._save_for(rank, self.saves * self.sizes.saved / self.machine.disk)
            self._saved[chapter] = rank.now
            for waiting in self._at_save.pop(chapter, ()):
                self._wake(waiting, rank.now)
            return True
        stages = self.schedule.trained(rank.rank)
        live = [stage for stage in stages if (stage, chapter) not in rank.snapshots]
        if isinstance(self.schedule, Pipeline) and chapter + 1 < spec.chapters and not spec.save_waits:
            self._copy(rank, self.saves * sum(self._state_bytes(rank, stage) for stage in live))
            return True
        if not live:
            return True
        if chapter not in self._saved:
            self._at_save[chapter].append(rank)
            return False
        self._wait(rank, self._saved[chapter])
        return True
