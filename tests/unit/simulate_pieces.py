"""Runs the pipeline's steps without MPI, as simulate.py does those of other schedules; checks whatever a piece reads.

A buffer of a layer's ring holds a part of each rank that has a piece of the layer. A part remembers which batch it is
of, drawn when, and which versions of the weights it was computed with; a part that a message is to bring holds nothing
from the moment when its buffer is posted. Parts lie one after the other, at distances that depend on the batch's rows:
so then nothing of the batch before is left in any of them, and posting waits until that has been sent. Layers may read
a buffer only if all parts are there and agree, and if the sums have been completed from the nodes of all pieces of the
same batch.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import Any

from simulate import Buffer, Content, Fault, Outcome, Programs, World, _method, ensure, version_after

from ffmpi.schedule import Pipeline
from ffmpi.schedule import steps as s


class Slot:
    """A buffer of a layer's ring: the part of each rank, and the content that the sums were completed for."""

    def __init__(self) -> None:
        self.parts: dict[int, Buffer] = defaultdict(Buffer)
        self.sums: Content | None = None
        self.score: Content | None = None  # what the layers up to this one say of it


class PieceRank:
    """One rank: its steps, buffers and versions. The method for a kind of step returns False while it has to wait."""

    def __init__(self, world: World, plan: Pipeline, rank: int, steps: list[s.Step]) -> None:
        self.plan, self.spec, self.world, self.outcome = plan, plan.spec, world, world.outcome
        self.rank, self.steps, layers = rank, deque(steps), plan.pieces(rank)
        self.pieces, self.head = layers, plan.spec.layers
        rings = {layer for k in layers for layer in (k - 1, k) if layer >= 0}
        self.rings = {layer: [Slot() for _ in range(plan.buffers(rank, layer))] for layer in rings}
        self.input: Content | None = None
        #: Versions of its pieces, and of its rows of the head's weights.
        self.live = dict.fromkeys(plan.trained(rank), version_after(self.spec, world.first - 1))
        self.ends = {
            (link, number): Buffer()
            for link in plan.links_of(rank)
            for number in range(link.send_buffers if link.source == rank else link.receive_buffers)
        }
        self.gathered: dict[tuple[int, int], Content] = {}
        self.logits: dict[tuple[int, int], Any] = {}
        self.errors: dict[int, Any] = {}
        self.added: Any = None  # logits that are complete
        self.scored: s.Batch | None = None
        self.snapshots: dict[tuple[int, int], int] = {}
        self.to_learn: dict[int, Any] = {}
        self.epochs: dict[int, s.SetEpoch] = {}
        self.times_set: Counter[int] = Counter()
        self.measured: set[int] = set()
        self.reported = world.first - 1
        lag = self.spec.adaptive.lag if self.spec.adaptive else 0
        self.known = set(range(lag, world.first + lag))
        self.known_now: set[tuple[int, int | None]] = set()
        self.choosing: dict[int, set[s.Batch]] = defaultdict(set)

    def run(self) -> bool:
        """Go on until a step has to wait; return whether anything was done."""
        before = len(self.steps)
        while self.steps and self.do(self.steps[0]) is not False:
            self.steps.popleft()
        return len(self.steps) < before

    def do(self, step: s.Step) -> object:
        return self.share_logits(step) if isinstance(step, s.Logits) else getattr(self, _method(type(step)))(step)

    def end(self) -> None:
        busy = {key: end for key, end in self.ends.items() if end.state not in ("idle", "sent")}
        for left in (busy, self.snapshots, self.epochs, self.measured):
            if left:
                raise Fault(f"rank {self.rank} ends with {left}")

    # -- Batches ------------------------------------------------------------------------------------------------------
    def set_epoch(self, step: s.SetEpoch) -> None:
        ensure(self.epochs.get(step.epoch, step) == step, step, "is set otherwise", self.epochs)
        self.epochs[step.epoch] = step
        self.times_set[step.epoch] += 1

    def free_epoch(self, step: s.FreeEpoch) -> None:
        ensure(step.epoch in self.epochs, step, "is not set")
        self.times_set[step.epoch] -= 1
        if not self.times_set[step.epoch]:
            del self.epochs[step.epoch]

    def drawn(self, batch: s.Batch, step: s.Step) -> s.SetEpoch:
        ensure(batch.epoch in self.epochs, step, "has no labels of epoch", batch.epoch)
        return self.epochs[batch.epoch]

    def measure(self, batch: s.Batch, step: s.Step) -> None:
        chapter = self.drawn(batch, step).chapter
        ensure(chapter > self.reported, step, "measures what has been reported, chapter", chapter)
        self.measured.add(chapter)

    def build_input(self, step: s.BuildInput) -> None:
        batch, adaptive = step.batch, self.spec.adaptive
        drawn = self.drawn(batch, step)
        if self.spec.ahead and batch.stream == "joint":
            ensure((batch.epoch, batch.index) in self.known_now, step, "the batch's negatives are not known")
        elif adaptive and batch.stream == "joint" and drawn.chapter >= adaptive.lag:
            ensure(drawn.chapter in self.known, step, "not known are the negatives of chapter", drawn.chapter)
        self.input = Content(-1, batch, drawn if batch.split == "train" else None)

    # -- Layers -------------------------------------------------------------------------------------------------------
    def buffer(self, layer: int, number: int, step: s.Step) -> Slot:
        ensure(layer in self.rings and 0 <= number < len(self.rings[layer]), step, "no such buffer of layer", layer)
        return self.rings[layer][number]

    def own(self, layer: int, number: int, batch: s.Batch, step: s.Step) -> Content:
        """Return what this rank's piece has put out."""
        part = self.buffer(layer, number, step).parts[self.rank]
        found: Content | None = part.content
        ensure(found and (found.layer, found.batch) == (layer, batch), step, "finds", found)
        assert found is not None
        return found

    def whole(self, layer: int, number: int, batch: s.Batch, step: s.Step) -> Content:
        """Return a layer's output, of which all parts must be here, with its sums."""
        if layer < 0:
            ensure(self.input and self.input.batch == batch, step, "finds the input", self.input)
            assert self.input is not None
            return self.input
        slot = self.buffer(layer, number, step)
        parts = [slot.parts[rank] for rank in self.plan.ribbon.owners(layer)]
        contents = [part.content for part in parts]
        ensure(all(part.state == "idle" for part in parts), step, "reads what may be on its way", parts)
        ensure(all(found == slot.sums for found in contents), step, "finds", slot.sums, *contents)
        found: Content | None = slot.sums
        ensure(found and (found.layer, found.batch) == (layer, batch), step, "finds", found)
        assert found is not None
        return found

    def forward(self, step: s.Forward) -> None:
        layer, batch = step.layer, step.batch
        a, slot = self.whole(layer - 1, step.source, batch, step), self.buffer(layer, step.target, step)
        self.drawn(batch, step)
        for (link, number), end in self.ends.items():
            if number == step.target and link.stage == layer and link.payload in ("activations", "sums"):
                leaves = link.source == self.rank
                ensure(not leaves or end.state == "idle", step, "writes what leaves by", link)
        content = Content(layer, batch, a.drawn, (*a.versions, self.live[layer]))
        slot.parts[self.rank].content = content
        slot.sums = content if len(self.pieces[layer]) == self.spec.panels[layer] else None
        slot.score = None
        self.to_learn[layer] = (batch, step.epoch)

    def add_sums(self, step: s.AddSums) -> None:
        layer, batch, slot = step.layer, step.batch, self.buffer(step.layer, step.buffer, step)
        nodes = []
        for rank in self.plan.ribbon.owners(layer):
            if rank == self.rank:
                nodes.append(self.own(layer, step.buffer, batch, step))
                continue
            link = s.LinkId(rank, self.rank, "sums", layer, self.spec.depth, self.spec.depth)
            end = self.ends[link, step.buffer]
            ensure(end.state == "idle" and end.item == batch, step, "the nodes are not here by", link)
            nodes.append(end.content)
        ensure(len(nodes) > 1 or self.rank not in self.plan.ribbon.owners(layer), step, "of what is whole here")
        ensure(all(node == nodes[0] for node in nodes), step, "adds up", *nodes)
        ensure(slot.sums != nodes[0], step, "has been added up")
        slot.sums = nodes[0]

    def add_score(self, step: s.AddScore) -> None:
        layer, batch, slot = step.layer, step.batch, self.buffer(step.layer, step.target, step)
        ensure(self.rank == self.plan.ribbon.owners(layer)[0], step, "not the layer's first rank")
        out = self.own(layer, step.target, batch, step)
        ensure(slot.sums == out, step, "scores without the layer's sums")
        if layer > 0:
            before = self.buffer(layer - 1, step.source, step).score
            fitting = before and (before.batch, before.versions) == (batch, out.versions[:-1])
            ensure(fitting, step, "the layers before say", before)
        self.idle("scores", step.target, step, layer)
        slot.score = out

    def update(self, step: s.Update) -> None:
        layer, batch = step.layer, step.batch
        a, out = self.whole(layer - 1, step.source, batch, step), self.own(layer, step.target, batch, step)
        ensure(self.buffer(layer, step.target, step).sums == out, step, "learns without the layer's sums")
        ready = self.to_learn.get(layer)
        ensure(ready == (batch, step.epoch), step, "the layer has computed, to learn from it,", ready)
        version = self.live[layer]
        ensure(out == Content(layer, batch, a.drawn, (*a.versions, version)), step, "learns from", out)
        self.measure(batch, step)
        if self.spec.scores_training:
            before = self.buffer(layer - 1, step.source, step).score if layer > 0 else a
            ensure(before == a, step, "the layers before say", before)
            first, own = self.plan.ribbon.owners(layer)[0], self.buffer(layer, step.target, step).score
            ensure(own == out or self.rank != first, step, "the layers say", own)
        self.live[layer] = version + 1
        self.outcome.updates[layer, self.rank].append((batch, step.epoch, out.drawn, out.versions))

    def finish_epoch(self, step: s.FinishEpoch) -> None:
        ensure(len(self.pieces[step.layer]) == self.spec.panels[step.layer], step, "a layer that is cut")
        self.outcome.finished[step.layer].append((step.epoch, len(self.outcome.updates[step.layer, self.rank])))

    # -- The head -----------------------------------------------------------------------------------------------------
    def gather_head_input(self, step: s.GatherHeadInput) -> None:
        ensure(step.layer in self.spec.head_layers, step, "the head does not read layer", step.layer)
        ensure(0 <= step.target < self.plan.head_buffers(self.rank), step, "no such buffer")
        self.gathered[step.layer, step.target] = self.own(step.layer, step.source, step.batch, step)

    def rows(self, layer: int, number: int, batch: s.Batch, step: s.Step) -> Content:
        found = self.gathered.get((layer, number))
        ensure(found and found.batch == batch, step, "finds of layer", layer, found)
        assert found is not None
        return found

    def idle(self, payload: s.Payload, number: int, step: s.Step, stage: int) -> None:
        for (link, at), end in self.ends.items():
            if (link.payload, link.source, link.stage, at) == (payload, self.rank, stage, number):
                ensure(end.state == "idle", step, "writes what leaves by", link)

    def share_logits(self, step: s.Logits) -> None:
        self.idle("logits", step.target, step, step.layer)
        rows = self.rows(step.layer, step.source, step.batch, step)
        self.logits[step.layer, step.target] = (rows, self.live[self.head])

    def add_logits(self, step: s.AddLogits) -> None:
        ensure(self.rank == self.plan.home, step, "not at home")
        self.drawn(step.batch, step)
        versions, of_head = [], set()
        for layer in self.spec.head_layers:
            shares = []
            for rank in self.plan.ribbon.owners(layer):
                if rank == self.rank:
                    ensure((layer, step.buffer) in self.logits, step, "there is no share of layer", layer)
                    shares.append(self.logits[layer, step.buffer])
                    continue
                link = s.LinkId(rank, self.rank, "logits", layer, self.spec.depth, self.spec.depth)
                end = self.ends[link, step.buffer]
                ensure(end.state == "idle" and end.item == step.batch, step, "the logits are not here by", link)
                shares.append(end.content)
            rows = {share[0] for share in shares}
            of_head |= {share[1] for share in shares}
            ensure(len(rows) == 1 and shares[0][0].batch == step.batch, step, "adds up", *shares)
            versions.append(shares[0][0])
        ensure(len(of_head) == 1 and len({found.drawn for found in versions}) == 1, step, "adds up", of_head, versions)
        self.added = (step.batch, versions[0].drawn, tuple(found.versions for found in versions), of_head.pop())
        self.scored = None

    def head_error(self, step: s.HeadError) -> None:
        ensure(self.added and self.added[0] == step.batch, step, "there are the logits of", self.added)
        ensure(step.epoch == step.batch.epoch, step, "of another epoch")
        self.idle("error", step.target, step, self.head)
        self.measure(step.batch, step)
        self.errors[step.target] = self.added
        self.scored = step.batch

    def update_head(self, step: s.UpdateHead) -> None:
        if self.rank == self.plan.home:
            error = self.errors.get(step.buffer)
        else:
            assert self.plan.home is not None
            link = s.LinkId(self.plan.home, self.rank, "error", self.head, self.spec.depth, self.spec.depth)
            end = self.ends[link, step.buffer]
            ensure(end.state == "idle" and end.item == step.batch, step, "the error is not here by", link)
            error = end.content
        ensure(error and error[0] == step.batch, step, "finds the error", error)
        batch, drawn, versions, version = error
        ensure(version == self.live[self.head], step, "the error is of version", version)
        ensure(drawn == self.drawn(batch, step), step, "has the labels of", self.epochs)
        for layer, seen in zip(self.spec.head_layers, versions, strict=True):
            if layer in self.pieces:
                rows = self.rows(layer, step.source, batch, step)
                ensure(rows.versions == seen, step, "has gathered", rows)
        self.live[self.head] = version + 1
        self.outcome.heads[self.rank].append((batch, step.epoch, step.last, drawn, versions, version))

    def read_out(self, batch: s.Batch, number: int, step: s.Step) -> tuple[Any, int]:
        """Return the versions of what is classified by, and the head's or -1."""
        if batch.stream in s.FOR_HEAD:
            ensure(self.added and self.added[0] == batch, step, "there are the logits of", self.added)
            return self.added[2:]
        ensure(self.rank == self.plan.reader, step, "not the reader")
        last = self.spec.layers - 1
        found = self.own(last, number, batch, step)
        ensure(self.buffer(last, number, step).score == found, step, "reads out what the layers have not said")
        return (found.versions,), -1

    def select_negatives(self, step: s.SelectNegatives) -> None:
        ensure(self.rank == self.plan.chooser and self.spec.adaptive, step, "does not choose")
        batch, drawn = step.batch, self.drawn(step.batch, step)
        by_head = batch.stream != "candidates"
        versions, version = self.read_out(batch, step.buffer, step)
        if by_head:
            ensure(self.scored == batch, step, "the head has the scores of", self.scored)
            version += 1  # as the outcome counts: it has been learnt from, or will be at once
        self.outcome.chosen[step.chapter, batch, drawn, versions, version] += 1
        if step.index is not None:
            riding = batch.index + (self.spec.ahead if batch.stream == "joint" else 0)
            ensure(step.index == riding, step, "whose neutral inputs are of batch", riding)
            self.known_now.add((batch.epoch, step.index))
            return
        self.choosing[step.chapter].add(batch)
        if len(self.choosing[step.chapter]) == (self.spec.batches if by_head else self.spec.candidate_batches)[0]:
            self.known.add(step.chapter)

    def evaluate(self, step: s.Evaluate) -> None:
        self.measure(step.batch, step)
        versions, version = self.read_out(step.batch, step.buffer, step)
        self.outcome.scored[self.drawn(step.batch, step).chapter, step.batch, versions, version] += 1

    # -- Links --------------------------------------------------------------------------------------------------------
    def end_of(self, step: s.Post | s.Receive | s.Reserve | s.Send) -> Buffer:
        end = step.link.source if isinstance(step, s.Reserve | s.Send) else step.link.target
        known = (step.link, step.buffer) in self.ends and end == self.rank
        ensure(known, step, "no such link, or buffer, on rank", self.rank)
        return self.ends[step.link, step.buffer]

    def part(self, link: s.LinkId, number: int, step: s.Step) -> Buffer | None:
        """Return the part of a layer's ring that lies in an activations link's buffer at its target."""
        return self.buffer(link.stage, number, step).parts[link.source] if link.payload == "activations" else None

    def post(self, step: s.Post) -> bool:
        end = self.end_of(step)
        ensure(end.state == "idle", step, "posts a buffer that is", end.state)
        if step.link.payload == "activations" and not self.clear(step.link.stage, step.buffer, step):
            return False
        end.state, end.content, end.item = "posted", None, None
        if part := self.part(step.link, step.buffer, step):
            part.content, part.state = None, "posted"
        if step.link.payload == "scores":
            self.buffer(step.link.stage, step.buffer, step).score = None
        self.world.posted[step.link].append((step, end))
        self.world.meet(step.link)
        return True

    def clear(self, layer: int, number: int, step: s.Post) -> bool:
        """Let nothing be left in a buffer of another batch, once that has been sent."""
        slot = self.buffer(layer, number, step)
        for part in slot.parts.values():
            if part.content is not None and part.content.batch != step.item:
                leaving = [
                    end
                    for (link, at), end in self.ends.items()
                    if (link.payload, link.source, link.stage, at) == ("activations", self.rank, layer, number)
                ]
                if any(end.state == "sending" for end in leaving):
                    return False
                part.content = None
        return True

    def receive(self, step: s.Receive) -> bool:
        end = self.end_of(step)
        ensure(end.state in ("posted", "arrived"), step, "waits for a buffer that is", end.state)
        if end.state == "posted":
            return False
        ensure(end.item == step.item, step, "finds", end.item)
        end.state = "idle"
        if part := self.part(step.link, step.buffer, step):
            part.content, part.state = end.content, "idle"
        if step.link.payload == "scores":
            self.buffer(step.link.stage, step.buffer, step).score = end.content
        if isinstance(step.item, s.Selection):
            self.hear_of(step.item)
        return True

    def hear_of(self, choice: s.Selection) -> None:
        if choice.batch is None:
            self.known.add(choice.chapter)
        else:
            self.known_now.add((choice.epoch, choice.batch))

    def reserve(self, step: s.Reserve) -> bool:
        end = self.end_of(step)
        if end.state == "sending" or (end.state == "sent" and self.world.shared and not self.taken(step)):
            return False
        end.state = "idle"
        return True

    def taken(self, step: s.Reserve) -> bool:
        """Whether the other end needs what was sent no longer: it lies where the next message will."""
        link = step.link
        there = self.world.pieces[link.target].ends[link, step.buffer].state
        if link.payload == "activations":
            return there == "posted"  # read in place, until it is posted anew
        return there != "arrived"

    def send(self, step: s.Send) -> None:
        end, link, item = self.end_of(step), step.link, step.item
        ensure(end.state == "idle", step, "sends a buffer that is", end.state)
        if link.payload in ("activations", "sums"):
            assert isinstance(item, s.Batch)
            end.content = self.own(link.stage, step.buffer, item, step)
        elif link.payload == "scores":
            end.content = self.buffer(link.stage, step.buffer, step).score
            ensure(end.content and end.content.batch == item, step, "finds", end.content)
        elif link.payload == "negatives":
            assert isinstance(item, s.Selection)
            whole = item.batch is None
            known = item.chapter in self.known if whole else (item.epoch, item.batch) in self.known_now
            ensure(known, step, "it is not known")
        else:
            content = self.logits.get((link.stage, step.buffer)) if link.payload == "logits" else (
                self.errors.get(step.buffer)
            )  # fmt: skip
            found = content and (content[0].batch if link.payload == "logits" else content[0])
            ensure(found == item, step, "finds", content)
            end.content = content
        end.state = "sending"
        self.world.sent[link].append((step, end))
        self.world.meet(link)

    # -- Chapters -----------------------------------------------------------------------------------------------------
    def after(self, chapter: int, stage: int, step: s.Step) -> int:
        """Return the version of a stage, in a snapshot if there is one, which must be that after `chapter`."""
        version = self.snapshots.get((stage, chapter), self.live[stage])
        ensure(version == version_after(self.spec, chapter), step, "number of updates so far:", version)
        return version

    def take_snapshot(self, step: s.TakeSnapshot) -> None:
        ensure((step.stage, step.chapter) not in self.snapshots, step, "is taken already")
        self.snapshots[step.stage, step.chapter] = self.after(step.chapter, step.stage, step)

    def free_snapshot(self, step: s.FreeSnapshot) -> None:
        ensure((step.stage, step.chapter) in self.snapshots, step, "has not been taken")
        del self.snapshots[step.stage, step.chapter]

    def report(self, step: s.Report) -> None:
        ensure(step.chapter == self.reported + 1, step, "reported are those up to", self.reported)
        self.reported = step.chapter
        self.measured.discard(step.chapter)
        ensure(all(chapter > step.chapter for chapter in self.measured), step, "measured were", self.measured)
        self.world.reports[self.rank].append(step.chapter)

    def record(self, step: s.Record) -> bool:
        simulated = [rank for rank in step.ranks if rank in self.world.ranks]
        recorded, reports = self.outcome.recorded, [self.world.reports[rank] for rank in simulated]
        ensure(self.rank == 0 and step.chapter == self.world.first + len(recorded), step, "recorded are", recorded)
        if not all(reports):
            return False
        found = [report.popleft() for report in reports]
        ensure(set(found) == {step.chapter}, step, "finds the reports of", found)
        recorded.append(step.chapter)
        return True

    def save(self, step: s.Save) -> bool:
        """Wait for all; a checkpoint has the pieces of all layers and what a resumed run cannot choose again."""
        here = self.world.saving[step]
        for layer, pieces in enumerate(step.pieces):
            edges = [0, *(piece.stop for piece in pieces)]
            ensure([piece.first for piece in pieces] == edges[:-1], step, "pieces of layer", layer)
            ensure(edges[-1] == self.spec.panels[layer], step, "pieces of layer", layer)
            for piece in pieces:
                if piece.rank == self.rank:
                    ensure(self.pieces.get(layer) == range(piece.first, piece.stop), step, "has", self.pieces)
        ensure(len(step.pieces) == self.spec.layers and step.head is None, step, "not of all layers")
        for stage in self.live:
            self.after(step.chapter, stage, step)
        if self.rank == 0 and self.rank not in here:
            ensure(self.outcome.recorded[-1:] == [step.chapter], step, "recorded are", self.outcome.recorded)
            lag = self.spec.adaptive.lag if self.spec.adaptive and not self.spec.ahead else 0
            needed = set(range(max(lag, step.chapter + 1), min(step.chapter + lag + 1, self.spec.chapters)))
            ensure(needed <= self.known, step, "rank 0 does not know the negatives of", needed - self.known)
            self.outcome.saved.append(step.chapter)
        here.add(self.rank)
        return here == self.world.ranks


def simulate_pieces(
    plan: Pipeline, programs: Programs | dict[int, list[s.Step]], first: int = 0, shared: bool = False
) -> Outcome:
    """Run the steps of all ranks, from chapter `first` to the end; Fault for a deadlock or for anything else wrong.

    With `shared` all ranks are on a host, where a buffer is the same memory at both ends of a link. `programs` may be
    those of some ranks only, by number, if `plan` knows no others.
    """
    world, found = World(plan, first), programs if isinstance(programs, dict) else dict(enumerate(programs))
    world.ranks = set(found)
    ranks = [PieceRank(world, plan, rank, steps) for rank, steps in found.items()]
    world.shared, world.pieces = shared, {rank.rank: rank for rank in ranks}
    while any(rank.steps for rank in ranks):
        if not any([rank.run() for rank in ranks]):
            raise Fault(f"deadlock: the ranks wait at {[rank.steps[0] if rank.steps else None for rank in ranks]}")
    for rank in ranks:
        rank.end()
    left = [link for link in world.sent if world.sent[link] or world.posted[link]]
    if left or any(world.reports.values()):
        raise Fault(f"never received: {left}, {world.reports}")
    return merged(plan, world.outcome)


def merged(plan: Pipeline, found: Outcome) -> Outcome:
    """Return the outcome of whole layers: all pieces of a layer, and all of the head, must have done the same."""
    updates: dict[Any, list[Any]] = defaultdict(list)
    for layer in range(plan.spec.layers):
        each = [found.updates[layer, rank] for rank in plan.ribbon.owners(layer)]
        if any(one != each[0] for one in each):
            raise Fault(f"the pieces of layer {layer} have learnt from {each}")
        if each[0]:
            updates[layer] = each[0]
    heads = list(found.heads.values())
    if any(one != heads[0] for one in heads):
        raise Fault(f"the pieces of the head have learnt from {heads}")
    found.updates, found.learnt = updates, heads[0] if heads else []
    found.heads = {}
    return found
