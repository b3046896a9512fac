"""Runs the steps of all ranks without MPI, under the strictest semantics that MPI allows.

A Send completes only when its message has met a posted buffer; the messages of a link meet its buffers in order; Report
and Save wait for every rank. Waiting is all that couples ranks, and what a rank waits for never goes away, so the order
in which the ranks are run here does not matter: if one order ends, all do.

Every buffer remembers what is in it: which layer's output, for which batch, computed with which versions of the
weights. A posted buffer holds nothing, since the message may arrive at any moment. Whatever a rank reads must be what
its step names; whatever it writes must not be under way.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ffmpi import config
from ffmpi.schedule import Placement, Work, steps_of
from ffmpi.schedule import steps as s


class Fault(AssertionError):
    """What must not happen, happened."""


def ensure(condition: object, step: s.Step, reason: str) -> None:
    if not condition:
        raise Fault(f"{step}: {reason}")


@dataclass(frozen=True)
class Content:
    """What a layer (-1: the input) put out for a batch.

    With the epoch of its order and labels, and the updates that each layer up to this one had seen.
    """

    layer: int
    batch: s.Batch
    renewed: int
    versions: tuple[int, ...] = ()


@dataclass
class Buffer:
    content: Content | None = None
    state: str = "idle"  # or posted, arrived, sending, sent

    def write(self, content: Content, step: s.Step) -> None:
        ensure(self.state == "idle", step, f"writes a buffer that is {self.state}")
        self.content = content

    def read(self, layer: int, batch: s.Batch, step: s.Step) -> Content:
        ensure(self.state in ("idle", "sending", "sent"), step, f"reads a buffer that is {self.state}")
        found = self.content
        ensure(found and (found.layer, found.batch) == (layer, batch), step, f"layer {layer}: finds {found}")
        assert found is not None
        return found


@dataclass
class Outcome:
    """What happened, in order: each layer's updates, what the head learnt and scored, and where all ranks met.

    updates, layer by layer : (batch, epoch, epoch of the order, versions read)
    learnt : (batch, epoch, epoch of the order, versions read of each layer)
    scored : (batch, versions read, the head's version)
    """

    updates: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    learnt: list[Any] = field(default_factory=list)
    scored: list[Any] = field(default_factory=list)
    met: list[s.Step] = field(default_factory=list)
    messages: int = 0


class Link:
    """Messages and posted buffers of one link that have not met."""

    def __init__(self) -> None:
        self.sent: deque[tuple[s.Send, Buffer]] = deque()
        self.posted: deque[tuple[s.Post, Buffer]] = deque()

    def match(self) -> int:
        count = 0
        while self.sent and self.posted:
            (send, source), (post, target) = self.sent.popleft(), self.posted.popleft()
            ensure(send.batch == post.batch, send, f"meets {post}")
            target.content, target.state, source.state = source.content, "arrived", "sent"
            count += 1
        return count


class Rank:
    """One rank: its steps, its buffers, and how often its layers were updated."""

    def __init__(self, placement: Placement, rank: int, steps: Iterable[s.Step], links: Any, outcome: Outcome) -> None:
        work = placement.work
        self.work, self.rank, self.links, self.outcome = work, rank, links, outcome
        self.steps = deque(steps)
        self.held = {layer: Buffer() for layer in placement.layers(rank)}
        if 0 in self.held:
            self.held[-1] = Buffer()
        self.collected: dict[int, Buffer] = {}
        if placement.head == rank:
            self.collected = {layer: Buffer() for layer in work.head_layers if layer in self.held}
        self.slots: dict[tuple[s.LinkId, int], Buffer] = defaultdict(Buffer)
        self.versions: dict[int, int] = {layer: 0 for layer in placement.layers(rank)}
        self.head = 0
        self.renewed = -1

    def slot(self, step: Any, end: str) -> Buffer:
        link = step.link
        ensure(getattr(link, end) == self.rank, step, f"on rank {self.rank}")
        ensure(0 <= step.slot < link.depth, step, "no such slot")
        return self.slots[link, step.slot]

    def run(self) -> bool:
        """Go on until a step has to wait; return whether anything was done."""
        before = len(self.steps)
        while self.steps and getattr(self, type(self.steps[0]).__name__.lower())(self.steps[0]):
            self.steps.popleft()
        return len(self.steps) < before

    def renew(self, step: s.Renew) -> bool:
        self.renewed = step.epoch
        return True

    def compose(self, step: s.Compose) -> bool:
        self.held[-1].write(Content(-1, step.batch, self.renewed), step)
        return True

    def post(self, step: s.Post) -> bool:
        buffer = self.slot(step, "target")
        ensure(buffer.state == "idle", step, f"posts a buffer that is {buffer.state}")
        buffer.state, buffer.content = "posted", None
        self.links[step.link].posted.append((step, buffer))
        self.outcome.messages += self.links[step.link].match()
        return True

    def receive(self, step: s.Receive) -> bool:
        buffer = self.slot(step, "target")
        ensure(buffer.state in ("posted", "arrived"), step, f"waits for a buffer that is {buffer.state}")
        if buffer.state == "posted":
            return False
        buffer.state = "idle"
        buffer.read(step.link.layer, step.batch, step)
        (self.collected if step.link.neutral else self.held)[step.link.layer] = buffer
        return True

    def reserve(self, step: s.Reserve) -> bool:
        buffer = self.slot(step, "source")
        if buffer.state == "sending":
            return False
        buffer.state = "idle"
        (self.collected if step.link.neutral else self.held)[step.link.layer] = buffer
        return True

    def send(self, step: s.Send) -> bool:
        buffer = self.slot(step, "source")
        ensure(buffer.state == "idle", step, f"sends a buffer that is {buffer.state}")
        buffer.read(step.link.layer, step.batch, step)
        buffer.state = "sending"
        self.links[step.link].sent.append((step, buffer))
        self.outcome.messages += self.links[step.link].match()
        return True

    def forward(self, step: s.Forward) -> bool:
        ensure(step.layer in self.versions, step, f"is not of rank {self.rank}")
        a = self.held[step.layer - 1].read(step.layer - 1, step.batch, step)
        versions = (*a.versions, self.versions[step.layer])
        self.held[step.layer].write(Content(step.layer, step.batch, a.renewed, versions), step)
        return True

    def update(self, step: s.Update) -> bool:
        a = self.held[step.layer - 1].read(step.layer - 1, step.batch, step)
        out = self.held[step.layer].read(step.layer, step.batch, step)
        ensure(out.versions == (*a.versions, self.versions[step.layer]), step, "learns from older activities")
        self.versions[step.layer] += 1
        self.outcome.updates[step.layer].append((step.batch, step.epoch, out.renewed, out.versions))
        return True

    def collect(self, step: s.Collect) -> bool:
        content = self.held[step.layer].read(step.layer, step.batch, step)
        self.collected[step.layer].write(content, step)
        return True

    def inputs_of_head(self, step: s.Learn | s.Score) -> list[Content]:
        return [self.collected[layer].read(layer, step.batch, step) for layer in self.work.head_layers]

    def learn(self, step: s.Learn) -> bool:
        found = self.inputs_of_head(step)
        ensure({content.renewed for content in found} == {self.renewed}, step, "has the labels of another epoch")
        self.head += 1
        versions = tuple(content.versions for content in found)
        self.outcome.learnt.append((step.batch, step.epoch, self.renewed, versions))
        return True

    def score(self, step: s.Score) -> bool:
        if step.batch.stream == "softmax":
            versions = tuple(content.versions for content in self.inputs_of_head(step))
            self.outcome.scored.append((step.batch, versions, self.head))
        else:
            last = self.work.layers - 1
            self.outcome.scored.append((step.batch, (self.held[last].read(last, step.batch, step).versions,), None))
        return True

    def report(self, step: s.Report | s.Save) -> bool:
        busy = {slot: buffer.state for slot, buffer in self.slots.items() if buffer.state != "idle"}
        ensure(not busy, step, f"while slots are not idle: {busy}")
        return False  # goes on when all ranks are here

    save = report


def simulate(work: Work, programs: list[list[s.Step]]) -> Outcome:
    """Run the steps of all ranks to the end; raise Fault for a deadlock or for anything else that is wrong."""
    placement, outcome = Placement(work), Outcome()
    links: dict[s.LinkId, Link] = defaultdict(Link)
    ranks = [Rank(placement, rank, steps, links, outcome) for rank, steps in enumerate(programs)]
    while any(rank.steps for rank in ranks):
        if any([rank.run() for rank in ranks]):
            continue
        waiting = [rank.steps[0] if rank.steps else None for rank in ranks]
        first = waiting[0]
        if not isinstance(first, s.Report | s.Save) or any(step != first for step in waiting):
            raise Fault(f"deadlock: the ranks wait at {waiting}")
        outcome.met.append(first)
        for rank in ranks:
            rank.steps.popleft()
    left = [link for link, ends in links.items() if ends.sent or ends.posted]
    if left:
        raise Fault(f"messages that were never received, or buffers never filled: {left}")
    return outcome


def work_of(
    layers: int, *, head: bool = True, ranks: int = 1, depth: int = 2, batches: int = 3,
    held_out: tuple[int, int] = (2, 1), epochs: int = 2, chapters: int = 2, every: tuple[int, int, int] = (1, 1, 1),
    costs: list[float] | None = None,
) -> Work:  # fmt: skip
    """Return a small run: `held_out` batches for softmax and goodness, `every` chapters for both and for saving."""
    methods = "['softmax', 'goodness']" if head else "['goodness']"
    settings = [f"network.layers={[5] * layers}", f"classify.methods={methods}"]
    return Work(
        ranks=ranks,
        layers=layers,
        head_layers=config.parse("", "test", settings).head_layers,
        costs=tuple(costs or [1.0] * (layers + head)),
        depth=depth,
        epochs=epochs,
        chapters=chapters,
        batches=batches,
        softmax_batches=held_out[0] if head else 0,
        goodness_batches=held_out[1],
        softmax_every=every[0],
        goodness_every=every[1],
        save_every=every[2],
    )


def programs_of(name: str, work: Work) -> list[list[s.Step]]:
    """Return the steps of every rank."""
    return [list(steps_of(name, work, rank)) for rank in range(work.ranks)]
