"""Runs the steps of all ranks without MPI, under the strictest semantics that MPI allows.

A Send completes only when its message has met a posted buffer; the messages of a link meet its buffers in order; Save
waits for every rank that takes part. Waiting is all that couples ranks, and what a rank waits for never goes away, so
the order in which the ranks are run here does not matter: if one order ends, all do.

Every buffer remembers what is in it: which layer's output, for which batch, drawn when, computed with which versions of
the weights. A posted buffer holds nothing, since the message may arrive at any moment. Whatever a rank reads must be
what its step names; whatever it writes must not be under way.

A stage's version is the number of its updates. That says which state it is: every update is recorded with the version
it began from, and a test expects each of them once.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from ffmpi.schedule import Schedule, ScheduleSpec
from ffmpi.schedule import steps as s

Programs = list[list[s.Step]]


class Fault(AssertionError):
    """What must not happen, happened."""


def ensure(condition: object, step: s.Step, reason: str, *found: object) -> None:
    if not condition:
        raise Fault(f"{step}: {reason}" + "".join(f" {thing}" for thing in found))


def version_after(spec: ScheduleSpec, chapter: int) -> int:
    """Return how many updates every stage has had after `chapter`."""
    return spec.epochs_per_chapter * sum(spec.batches[c % len(spec.batches)] for c in range(chapter + 1))


@dataclass(frozen=True, slots=True)
class Content:
    """A layer's (-1: the input's) output of a batch, with the versions that each layer up to this one had.

    Training samples come in the order, with the labels and with the negatives of the SetEpoch they were built under.
    """

    layer: int
    batch: s.Batch
    drawn: s.SetEpoch | None
    versions: tuple[int, ...] = ()


@dataclass(slots=True)
class Buffer:
    content: Any = None  # a Content, or the version of a state
    item: s.Item | None = None  # what has arrived
    state: str = "idle"  # or posted, arrived, sending, sent

    def read(self, layer: int, batch: s.Batch, step: s.Step) -> Content:
        ensure(self.state in ("idle", "sending", "sent"), step, "reads a buffer that is", self.state)
        found: Content | None = self.content
        ensure(found and (found.layer, found.batch) == (layer, batch), step, "finds", found)
        assert found is not None
        return found


class Outputs:
    """Where each layer's output is to be read, and where its next one goes: its own buffer, or for once a link's."""

    def __init__(self, layers: list[int]) -> None:
        self.own = {layer: Buffer() for layer in layers}
        self.current = dict(self.own)
        self.reserved: dict[int, Buffer] = {}

    def write(self, content: Content, step: s.Step) -> None:
        buffer = self.reserved.pop(content.layer, None) or self.own.get(content.layer)
        ensure(buffer, step, "has nowhere to write")
        assert buffer is not None
        ensure(buffer.state == "idle", step, "writes a buffer that is", buffer.state)
        buffer.content = content
        self.current[content.layer] = buffer

    def read(self, layer: int, batch: s.Batch, step: s.Step) -> Content:
        ensure(layer in self.current, step, "this rank has no outputs of layer", layer)
        return self.current[layer].read(layer, batch, step)


@dataclass
class Outcome:
    """What happened. Updates and what the head learnt in order; choices and scores, made on many ranks, counted.

    updates, layer by layer : (batch, epoch, drawn, versions read)
    finished, layer by layer : (epoch, updates until then)
    learnt : (batch, epoch, whether it ends the epoch, drawn, versions read of each layer, the head's version)
    chosen : (for chapter, batch, drawn, versions read of each layer, the head's version or -1)
    scored : (chapter, batch, versions read of each layer, the head's version or -1)
    """

    updates: dict[Any, list[Any]] = field(default_factory=lambda: defaultdict(list))
    finished: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    learnt: list[Any] = field(default_factory=list)
    heads: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))  # the same of each rank with a part
    chosen: Counter[Any] = field(default_factory=Counter)
    scored: Counter[Any] = field(default_factory=Counter)
    recorded: list[int] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    messages: Counter[s.Payload] = field(default_factory=Counter, compare=False)


class World:
    """What the ranks share: messages and posted buffers that have not met, reports, and who waits at a Save."""

    def __init__(self, schedule: Schedule, first: int) -> None:
        self.schedule, self.first, self.spec, self.outcome = schedule, first, schedule.spec, Outcome()
        self.sent: dict[s.LinkId, deque[Any]] = {link: deque() for link in schedule.links}
        self.posted: dict[s.LinkId, deque[Any]] = {link: deque() for link in schedule.links}
        self.reports: dict[int, deque[int]] = defaultdict(deque)  # each rank's, by chapter
        self.ranks = set(range(schedule.spec.ranks))
        self.shared, self.pieces = False, dict[int, Any]()  # ranks of the pipeline that see each other's memory
        self.saving: dict[s.Save, set[int]] = defaultdict(set)

    def meet(self, link: s.LinkId) -> None:
        sent, posted = self.sent[link], self.posted[link]
        while sent and posted:
            (send, source), (post, target) = sent.popleft(), posted.popleft()
            ensure(send.item == post.item, send, "meets", post)
            target.content, target.item, target.state, source.state = source.content, send.item, "arrived", "sent"
            self.outcome.messages[link.payload] += 1


def _method(kind: type) -> str:
    """Return the name of the method that carries out a kind of step: ``set_epoch`` for SetEpoch."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


class Rank:
    """One rank: its steps, buffers and states. The method for a kind of step returns False while it has to wait."""

    def __init__(self, world: World, rank: int, steps: list[s.Step]) -> None:
        self.schedule, self.spec, self.world, self.outcome = world.schedule, world.spec, world, world.outcome
        self.rank, self.steps, self.head = rank, deque(steps), self.spec.layers
        layers, stages = self.schedule.computed(rank), self.schedule.trained(rank)
        self.outputs = Outputs([-1, *layers] if 0 in layers else layers)
        self.neutral = Outputs([k for k in layers if k in self.spec.head_layers] if self.head in stages else [])
        #: Versions of the stages that it trains, None while one may be coming; of others what they sent.
        self.live: dict[int, int | None] = dict.fromkeys(stages, version_after(self.spec, world.first - 1))
        self.copies: dict[int, Buffer] = {layer: Buffer() for layer in layers if layer not in stages}
        self.buffers = {
            link: [Buffer() for _ in range(link.send_buffers if link.source == rank else link.receive_buffers)]
            for link in self.schedule.links
            if rank in (link.source, link.target)
        }
        self.stashed: dict[tuple[int, s.Batch], Buffer] = {}
        self.snapshots: dict[tuple[int, int], int] = {}
        self.to_learn: dict[int, tuple[s.Batch, int | None]] = {}  # what each layer has computed, for which epoch
        self.epoch_set: s.SetEpoch | None = None
        self.shares: dict[int, tuple[Content, int]] = {}  # of the head's logits
        self.added: tuple[s.Batch, dict[int, tuple[Content, int]]] | None = None  # logits that are complete
        self.error: s.Batch | None = None
        self.learnt: s.Batch | None = None  # what the head has the scores of
        self.measured: set[int] = set()  # chapters
        lag = self.spec.adaptive.lag if self.spec.adaptive else 0
        self.known = set(range(lag, world.first + lag))  # chapters whose negatives are, at first from a checkpoint
        self.known_now: set[int] = set()  # batches of the running epoch whose negatives are
        self.choosing: dict[int, set[s.Batch]] = defaultdict(set)

    def run(self) -> bool:
        """Go on until a step has to wait; return whether anything was done."""
        before = len(self.steps)
        while self.steps and getattr(self, _method(type(self.steps[0])))(self.steps[0]) is not False:
            self.steps.popleft()
        return len(self.steps) < before

    def end(self) -> None:
        """Make sure that nothing is left."""
        busy = {link: buffers for link, buffers in self.buffers.items() if any(b.state != "idle" for b in buffers)}
        for left in (busy, self.stashed, self.snapshots, self.measured):
            if left:
                raise Fault(f"rank {self.rank} ends with {left}")

    # -- Batches ------------------------------------------------------------------------------------------------------
    def set_epoch(self, step: s.SetEpoch) -> None:
        ensure(step.shard in self.schedule.shards(self.rank), step, "not a shard of rank", self.rank)
        self.epoch_set = step
        self.known_now.clear()

    def build_input(self, step: s.BuildInput) -> None:
        drawn, adaptive = self.epoch_set if step.batch.split == "train" else None, self.spec.adaptive
        if self.spec.ahead and step.batch.stream == "joint":
            ensure(step.batch.index in self.known_now, step, "the batch's negatives are not known")
        elif adaptive and step.batch.stream in ("train", "joint"):
            assert drawn is not None
            chosen_after = drawn.chapter - adaptive.lag
            if chosen_after >= 0:
                ensure(drawn.chapter in self.known, step, "not known are the negatives of chapter", drawn.chapter)
                same = self.spec.shard_of(chosen_after) == drawn.shard
                ensure(same, step, "the negatives were chosen for the samples of another shard")
        self.outputs.write(Content(-1, step.batch, drawn), step)

    def labelled(self, contents: list[Content], step: s.Step) -> tuple[tuple[int, ...], ...]:
        """Return the versions in `contents`, which must come in the order that the rank has the labels of."""
        for content in contents:
            ensure(content.drawn == self.epoch_set is not None, step, "has the labels of", self.epoch_set, content)
        return tuple(content.versions for content in contents)

    def stash_activations(self, step: s.StashActivations) -> None:
        ensure((step.layer, step.batch) not in self.stashed, step, "is kept already")
        self.outputs.read(step.layer, step.batch, step)
        buffer = self.outputs.current[step.layer]
        ensure(buffer is self.outputs.own[step.layer], step, "keeps what lies in a link's buffer")
        self.stashed[step.layer, step.batch] = buffer
        self.outputs.own[step.layer] = self.outputs.current[step.layer] = Buffer()

    def load_activations(self, step: s.LoadActivations) -> None:
        ensure((step.layer, step.batch) in self.stashed, step, "is not kept")
        self.outputs.current[step.layer] = self.stashed[step.layer, step.batch]

    def free_activations(self, step: s.FreeActivations) -> None:
        ensure((step.layer, step.batch) in self.stashed, step, "is not kept")
        self.stashed.pop((step.layer, step.batch)).content = None

    # -- Links --------------------------------------------------------------------------------------------------------
    def buffer(self, step: s.Post | s.Receive | s.Reuse | s.Reserve | s.Send) -> Buffer:
        end = step.link.source if isinstance(step, s.Reserve | s.Send) else step.link.target
        ensure(step.link in self.buffers and end == self.rank, step, "no such link on rank", self.rank)
        ensure(0 <= step.buffer < len(self.buffers[step.link]), step, "no such buffer")
        return self.buffers[step.link][step.buffer]

    def post(self, step: s.Post) -> None:
        buffer = self.buffer(step)
        ensure(buffer.state == "idle", step, "posts a buffer that is", buffer.state)
        if step.link.payload == "state":
            self.change(step.link.stage, None, step)
        buffer.state, buffer.content = "posted", None
        self.world.posted[step.link].append((step, buffer))
        self.world.meet(step.link)

    def receive(self, step: s.Receive) -> bool:
        buffer = self.buffer(step)
        ensure(buffer.state in ("posted", "arrived"), step, "waits for a buffer that is", buffer.state)
        if buffer.state == "posted":
            return False
        buffer.state = "idle"
        self.reuse(step)
        return True

    def reuse(self, step: s.Receive | s.Reuse) -> None:
        buffer, link = self.buffer(step), step.link
        ensure(buffer.state == "idle" and buffer.item == step.item, step, "finds", buffer)
        if isinstance(step.item, s.Batch):
            buffer.read(link.stage, step.item, step)
            (self.neutral if link.payload == "neutral" else self.outputs).current[link.stage] = buffer
        elif isinstance(step.item, s.Selection):
            self.hear_of(step.item)
        elif link.payload == "state":
            self.live[link.stage] = buffer.content
        else:
            self.copies[link.stage] = buffer

    def hear_of(self, choice: s.Selection) -> None:
        if choice.batch is None:
            self.known.add(choice.chapter)
        else:
            self.known_now.add(choice.batch)

    def reserve(self, step: s.Reserve) -> bool:
        buffer, payload = self.buffer(step), step.link.payload
        if buffer.state == "sending":
            return False
        buffer.state = "idle"
        if payload in ("activations", "chapter", "neutral"):
            (self.neutral if payload == "neutral" else self.outputs).reserved[step.link.stage] = buffer
        return True

    def send(self, step: s.Send) -> None:
        buffer, stage = self.buffer(step), step.link.stage
        ensure(buffer.state == "idle", step, "sends a buffer that is", buffer.state)
        if isinstance(step.item, s.Batch):
            buffer.read(stage, step.item, step)
        elif isinstance(step.item, s.State):
            ensure(step.item.stage == stage, step, "is of another stage")
            buffer.content = self.state_after(step.item.chapter, stage, step)
        elif step.item.batch is None:
            ensure(step.item.chapter in self.known, step, "not all of it is known")
        else:
            ensure(step.item.batch in self.known_now, step, "it is not known")
        buffer.state = "sending"
        self.world.sent[step.link].append((step, buffer))
        self.world.meet(step.link)

    # -- States -------------------------------------------------------------------------------------------------------
    def state(self, stage: int, step: s.Step, chapter: int | None = None) -> int:
        """Return the version of a stage that is to be used, as it is now or was after `chapter`."""
        if chapter is not None:
            version = self.snapshots.get((stage, chapter))
        else:
            version = self.copies[stage].content if stage in self.copies else self.live.get(stage)
        ensure(version is not None, step, "has no such state on rank", self.rank)
        return version  # type: ignore[return-value]

    def state_after(self, chapter: int, stage: int, step: s.Step, snapshots: bool = False) -> int:
        """Return the version of a stage, now or in a snapshot, which must be the one after `chapter`."""
        version = self.state(stage, step, chapter if snapshots else None)
        ensure(version == version_after(self.spec, chapter), step, "number of updates so far:", version)
        return version

    def change(self, stage: int, version: int | None, step: s.Step) -> None:
        ensure(stage in self.live, step, "does not train stage", stage)
        for link, buffers in self.buffers.items():
            if link.payload in ("state", "weights") and (link.source, link.stage) == (self.rank, stage):
                ensure(all(buffer.state == "idle" for buffer in buffers), step, "changes what leaves by", link)
        self.live[stage] = version

    def take_snapshot(self, step: s.TakeSnapshot) -> None:
        ensure((step.stage, step.chapter) not in self.snapshots, step, "is taken already")
        self.snapshots[step.stage, step.chapter] = self.state_after(step.chapter, step.stage, step)

    def free_snapshot(self, step: s.FreeSnapshot) -> None:
        ensure((step.stage, step.chapter) in self.snapshots, step, "has not been taken")
        del self.snapshots[step.stage, step.chapter]

    # -- Layers and head ----------------------------------------------------------------------------------------------
    def forward(self, step: s.Forward) -> None:
        a = self.outputs.read(step.layer - 1, step.batch, step)
        versions = (*a.versions, self.state(step.layer, step, step.chapter))
        self.outputs.write(Content(step.layer, step.batch, a.drawn, versions), step)
        self.to_learn[step.layer] = (step.batch, step.epoch)

    def update(self, step: s.Update) -> None:
        a = self.outputs.read(step.layer - 1, step.batch, step)
        out = self.outputs.read(step.layer, step.batch, step)
        version = self.state(step.layer, step)
        ready = self.to_learn.get(step.layer)
        ensure(ready == (step.batch, step.epoch), step, "the layer has computed, to learn from it,", ready)
        ensure(out == Content(step.layer, a.batch, a.drawn, (*a.versions, version)), step, "learns from", out)
        self.labelled([out], step)
        assert out.drawn is not None
        self.change(step.layer, version + 1, step)
        self.outcome.updates[step.layer].append((step.batch, step.epoch, out.drawn, out.versions))
        self.measured.add(out.drawn.chapter)

    def finish_epoch(self, step: s.FinishEpoch) -> None:
        ensure(step.layer in self.live, step, "does not train layer", step.layer)
        self.outcome.finished[step.layer].append((step.epoch, len(self.outcome.updates[step.layer])))

    def gather_head_input(self, step: s.GatherHeadInput) -> None:
        self.neutral.write(self.outputs.read(step.layer, step.batch, step), step)

    def logits(self, step: s.Logits) -> None:
        found = self.neutral.read(step.layer, step.batch, step)
        self.shares[step.layer] = (found, self.state(self.head, step))

    def add_logits(self, step: s.AddLogits) -> None:
        ensure(tuple(self.shares) == self.spec.head_layers, step, "there are shares of layers", *self.shares)
        ensure({found.batch for found, _ in self.shares.values()} == {step.batch}, step, "finds", self.shares)
        self.added, self.shares, self.error = (step.batch, dict(self.shares)), {}, None

    def head_error(self, step: s.HeadError) -> None:
        ensure(self.added and self.added[0] == step.batch, step, "there are the logits of", self.added)
        self.error = step.batch

    def read_out(self, step: s.UpdateHead | s.Evaluate | s.SelectNegatives, by_head: bool) -> tuple[list[Content], int]:
        """Return what the head reads, and its version; or the last layer's output."""
        if by_head:
            ensure(self.added and self.added[0] == step.batch, step, "there are the logits of", self.added)
            found = [self.neutral.read(layer, step.batch, step) for layer in self.spec.head_layers]
            return found, self.state(self.head, step)
        return [self.outputs.read(self.spec.layers - 1, step.batch, step)], -1

    def update_head(self, step: s.UpdateHead) -> None:
        ensure(self.error == step.batch, step, "there is the error of", self.error)
        found, version = self.read_out(step, by_head=True)
        assert self.added is not None
        for layer, content in zip(self.spec.head_layers, found, strict=True):
            ensure(self.added[1][layer] == (content, version), step, "the logits were made of", self.added)
        versions = self.labelled(found, step)
        assert self.epoch_set is not None
        self.change(self.head, version + 1, step)
        self.outcome.learnt.append((step.batch, step.epoch, step.last, self.epoch_set, versions, version))
        self.learnt = step.batch
        self.measured.add(self.epoch_set.chapter)

    def select_negatives(self, step: s.SelectNegatives) -> None:
        adaptive, drawn = self.spec.adaptive, self.epoch_set
        assert adaptive is not None and drawn is not None
        by_head = adaptive.scores == "softmax"
        ensure(not by_head or self.learnt == step.batch, step, "the head has the scores of", self.learnt)
        found, version = self.read_out(step, by_head)
        self.outcome.chosen[step.chapter, step.batch, drawn, self.labelled(found, step), version] += 1
        if step.index is not None:
            riding = step.batch.index + (self.spec.ahead if step.batch.stream == "joint" else 0)
            ensure(step.index == riding, step, "whose neutral inputs are of batch", riding)
            self.hear_of(s.Selection(step.chapter, step.index))
            return
        self.choosing[step.chapter].add(step.batch)
        of_shard = self.spec.batches if by_head else self.spec.candidate_batches
        if len(self.choosing[step.chapter]) == of_shard[drawn.shard]:
            self.known.add(step.chapter)

    def evaluate(self, step: s.Evaluate) -> None:
        assert self.epoch_set is not None  # it says of which chapter this is a measurement
        found, version = self.read_out(step, step.batch.stream == "softmax")
        versions = tuple(content.versions for content in found)
        self.outcome.scored[self.epoch_set.chapter, step.batch, versions, version] += 1
        self.learnt = None
        self.measured.add(self.epoch_set.chapter)

    # -- Bringing together --------------------------------------------------------------------------------------------
    def report(self, step: s.Report) -> None:
        ensure(not self.stashed, step, "still kept are", *self.stashed)
        ensure(self.measured <= {step.chapter}, step, "measured were chapters", self.measured)
        self.world.reports[self.rank].append(step.chapter)
        self.measured.clear()

    def record(self, step: s.Record) -> bool:
        recorded, reports = self.outcome.recorded, [self.world.reports[rank] for rank in step.ranks]
        ensure(self.rank == 0 and step.chapter == self.world.first + len(recorded), step, "recorded are", recorded)
        if not all(reports):
            return False
        found = [report.popleft() for report in reports]
        ensure(set(found) == {step.chapter}, step, "finds the reports of", found)
        recorded.append(step.chapter)
        return True

    def save(self, step: s.Save) -> bool:
        """Wait for all owners; a checkpoint has their states and what a resumed run cannot choose again."""
        owners = [pieces[0].rank for pieces in step.pieces]
        if step.head is not None:
            owners.append(step.head)
        ranks, here = {0, *owners}, self.world.saving[step]
        ensure(self.rank in ranks and len(owners) == self.spec.stages, step, "on rank", self.rank)
        ensure(step.pieces == self.spec.whole(owners[: self.spec.layers]), step, "not of whole layers")
        ensure(not self.stashed, step, "still kept are", *self.stashed)
        for stage, owner in enumerate(owners):
            if owner == self.rank:
                self.state_after(step.chapter, stage, step, snapshots=(stage, step.chapter) in self.snapshots)
        if self.rank == 0 and self.rank not in here:
            ensure(self.outcome.recorded[-1:] == [step.chapter], step, "recorded are", self.outcome.recorded)
            lag = self.spec.adaptive.lag if self.spec.adaptive and not self.spec.ahead else 0
            needed = set(range(max(lag, step.chapter + 1), min(step.chapter + lag + 1, self.spec.chapters)))
            ensure(needed <= self.known, step, "rank 0 does not know the negatives of", needed - self.known)
            self.outcome.saved.append(step.chapter)
        here.add(self.rank)
        return here == ranks


def simulate(schedule: Schedule, programs: Programs, first: int = 0) -> Outcome:
    """Run the steps of all ranks, from chapter `first` to the end; Fault for a deadlock or for anything else wrong."""
    world = World(schedule, first)
    ranks = [Rank(world, rank, steps) for rank, steps in enumerate(programs)]
    while any(rank.steps for rank in ranks):
        if not any([rank.run() for rank in ranks]):
            raise Fault(f"deadlock: the ranks wait at {[rank.steps[0] if rank.steps else None for rank in ranks]}")
    for rank in ranks:
        rank.end()
    left = [link for link in world.sent if world.sent[link] or world.posted[link]]
    if left or any(world.reports.values()):
        raise Fault(f"never received: {left}, {world.reports}")
    return world.outcome


def programs_of(schedule: Schedule) -> Programs:
    """Return the steps of every rank."""
    return [list(schedule.steps(rank)) for rank in range(schedule.spec.ranks)]


def spec_of(
    layers: int, *, head: bool = True, ranks: int = 1, depth: int = 2, batches: tuple[int, ...] = (3,),
    test: dict[s.Stream, tuple[int, int]] | None = None, validation: dict[s.Stream, tuple[int, int]] | None = None,
    per_chapter: int = 1, chapters: int = 2,
    save_every: int = 1, costs: list[float] | None = None, panels: tuple[int, ...] = (), **rest: Any,
) -> ScheduleSpec:  # fmt: skip
    """Return a small run of `per_chapter` epochs a chapter; a head reads all layers but the first of several."""
    return ScheduleSpec(
        ranks=ranks,
        layers=layers,
        panels=panels or (2,) * layers,
        head_layers=tuple(range(min(1, layers - 1), layers)) if head else (),
        costs=tuple(costs or [1.0] * (layers + head)),
        depth=depth,
        epochs=per_chapter * chapters,
        chapters=chapters,
        batches=batches,
        candidate_batches=tuple(2 * count - 1 for count in batches),
        test_batches={key: value for key, value in (test or {}).items() if head or key != "softmax"},
        validation_batches={key: value for key, value in (validation or {}).items() if head or key != "softmax"},
        save_every=save_every,
        **rest,
    )
