"""What moves between the pieces of the pipeline: slots of rings, and the links that fill and empty them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..data.labels import class_type
from ..network.activations import Activations
from ..schedule import Pipeline
from ..schedule import steps as s
from .batches import Batches
from .head import PieceHead
from .link import Link, SharedLink
from .model import RankModel
from .rings import Cut, Ring, Views
from .shared import SharedMemory


class Flow:
    """The rings of a rank, and its links.

    Attributes
    ----------
    rings : by layer, of those that this rank has a piece of, or of the layer above
    head : what it does of the softmax head, if there is one
    """

    def __init__(self, comm: Any, model: RankModel, schedule: Pipeline, batches: Batches) -> None:
        """Make the memory, and connect the links that begin or end on this rank of `comm`."""
        self._shared: SharedMemory | None = None
        self.comm, self.model, self.schedule, self.batches = comm, model, schedule, batches
        self.config, self.rule, rank = model.config, model.config.rule, comm.rank
        self._classes = model.dataset.classes
        layout, units = model.layout, self.config.network.layers
        outputs, rows = self.rule.outputs(self._classes), layout.most_rows
        self.rings: dict[int, Ring] = {}
        for layer in sorted({*model.layers, *(layer - 1 for layer in model.layers if layer > 0)}):
            reads, cut = layer + 1 in model.layers, cut_of(schedule, layer)
            share = max(self._share(units[layer], layout.train_rows, True), self._share(units[layer], rows, False))
            slots = schedule.buffers(rank, layer)
            self.rings[layer] = Ring(units[layer], cut, rank, reads, slots, rows, share, outputs)
        built = SimpleNamespace(now=Views(model.inputs, None))  # what layer 0 reads
        self._inputs: dict[int, Sequence[Any]] = {
            layer: self.rings[layer - 1].slots if layer else [built] for layer in model.layers
        }
        self.head: PieceHead | None = None
        if model.head:
            cuts = {layer: cut_of(schedule, layer) for layer in self.config.head_layers}
            kept, buffers = schedule.head_buffers(rank), schedule.logit_buffers
            self.head = PieceHead(rank, model, batches, cuts, rank == schedule.home, kept, buffers)
        self._selections: dict[tuple[s.LinkId, int], np.ndarray] = {}
        self.links: dict[s.LinkId, Link | SharedLink] = {}
        self._leaving: dict[int, list[s.LinkId]] = defaultdict(list)
        for link in schedule.links_of(rank):
            buffers = link.send_buffers if link.source == rank else link.receive_buffers
            peer = link.target if link.source == rank else link.source
            self.links[link] = Link(comm, peer, s.tag_of(link), buffers, self.config.schedule.timeout)
            if link.payload == "activations" and link.source == rank:
                self._leaving[link.stage].append(link)
            if link.payload == "negatives":
                samples = layout.size if schedule.spec.ahead else model.dataset.train
                for buffer in range(buffers):
                    self._selections[link, buffer] = np.zeros(samples, class_type(self._classes))

    def share_memory(self) -> None:
        """Let ranks of a host see each other's memory instead of sending messages; for all ranks, before the first."""
        shared = SharedMemory(self.comm, self.schedule, self.model.layout.most_rows, self._rooms())
        self._shared = shared
        for layer, ring in self.rings.items():
            for slot, h in zip(ring.slots, shared.slots(layer) or (), strict=False):
                slot.share(h)
        for link in self.links:
            if shared.channel(link):
                sends = link.source == self.comm.rank
                self.links[link] = SharedLink(shared, link, sends, self.config.schedule.timeout)

    def _rooms(self) -> dict[s.LinkId, int]:
        """Return the bytes that a message has at most, of each link that begins here; none of what lies in slots."""
        rooms = {}
        for link in self.links:
            if link.source == self.comm.rank:
                arrays: list[np.ndarray] = []
                if link.payload in ("logits", "error"):
                    assert self.head is not None
                    arrays = self.head.largest(link)
                elif link.payload != "activations":
                    arrays = self._arrays(link, 0, s.Batch("train", 0))
                rooms[link] = sum(array.nbytes for array in arrays)
        return rooms

    def finish(self) -> None:
        """Wait until all has left, and give back what ranks share; for all ranks, at the end."""
        for link in self.links.values():
            link.finish()
        if self._shared:
            self.rings, self._inputs = {}, {}
            self._shared.free()

    @property
    def nbytes(self) -> int:
        """Bytes of what is there for links: the slots of layers that come or go."""
        moved = {link.stage for link in self.links if link.payload in ("activations", "sums")}
        return sum(slot.nbytes for layer in moved for slot in self.rings[layer].slots)

    #: Weights that come from other ranks, in bytes: none do.
    copied = 0

    # -- What layers compute with --------------------------------------------------------------------------------------
    def place(self, step: s.Forward) -> tuple[Activations, Activations, int]:
        """Return the input of a layer, where its piece's output is to go, and how many rows the batch has."""
        slot, batch = self.rings[step.layer].slots[step.target], step.batch
        if slot.batch != batch:
            rows = self.batches.contents[batch].rows
            slot.batch, slot.rows, slot.now = batch, rows, slot.views[rows]
        a, out = self._inputs[step.layer][step.source].now.whole, slot.now.own
        assert a is not None and out is not None
        return a, out, slot.rows

    def read(self, step: s.Update | s.AddScore) -> tuple[Activations, Activations]:
        """Return the input of a layer, and the output of its piece."""
        a, out = self._inputs[step.layer][step.source].now.whole, self.rings[step.layer].slots[step.target].now.own
        assert a is not None and out is not None
        return a, out

    def _share(self, units: int, rows: int, learning: bool) -> int:
        return self.rule.share_size(units, rows, self._classes, learning)

    # -- Sums ----------------------------------------------------------------------------------------------------------
    def squares(self, step: s.Forward, nodes: np.ndarray) -> None:
        """Take this piece's parts, (nodes, rows or more) float32, of the rows' sums of squares."""
        ring = self.rings[step.layer]
        slot = ring.slots[step.target]
        slot.sums.squares[ring.cut.places[self.comm.rank], : slot.rows] = nodes[:, : slot.rows]

    def share(self, step: s.Forward, nodes: np.ndarray) -> None:
        """Take this piece's parts, (nodes, n) float32, of what the rule adds up for a batch."""
        ring = self.rings[step.layer]
        ring.slots[step.target].sums.shares[ring.cut.places[self.comm.rank], : nodes.shape[1]] = nodes

    def sums(self, step: s.Update | s.AddScore, size: int) -> np.ndarray:
        """Return what the rule has added up for a batch, `size` numbers, float32, complete."""
        return self.rings[step.layer].slots[step.target].sums.sums[:size]

    def add_sums(self, step: s.AddSums) -> None:
        """See `steps.AddSums`."""
        self.rings[step.layer].slots[step.buffer].sums.add_up()

    def gather(self, step: s.GatherHeadInput) -> None:
        """See `steps.GatherHeadInput`."""
        content, ring = self.batches.contents[step.batch], self.rings[step.layer]
        slot = ring.slots[step.source]
        squares, own = slot.sums.squares[ring.cut.places[self.comm.rank]], slot.now.own
        assert self.head is not None and own is not None
        kept = self.head.gathered[step.layer][step.target]
        kept.take(own, squares, content.head_row, content.head_rows)

    def scores(self, buffer: int) -> np.ndarray:
        """Return what all layers say of the rows in a buffer of the last layer's ring."""
        seen = self.rings[max(self.rings)].slots[buffer].now.own
        assert seen is not None
        return seen.score

    # -- Links ---------------------------------------------------------------------------------------------------------
    def _arrays(self, link: s.LinkId, buffer: int, item: s.Item) -> list[np.ndarray]:
        """Return the arrays of a message."""
        stage, payload = link.stage, link.payload
        if payload == "negatives":
            return [self._selections[link, buffer]]
        assert isinstance(item, s.Batch)
        if payload in ("logits", "error"):
            assert self.head is not None
            return self.head.arrays(link, buffer, item)
        ring = self.rings[stage]
        slot = ring.slots[buffer]
        if payload == "activations":
            return [slot.part(link.source)]
        if payload == "scores":
            seen = slot.now.own or slot.now.whole
            assert seen is not None
            return [seen.score]
        return slot.sums.parts(link.source, shares=link.target in ring.cut.pieces)

    def post(self, step: s.Post) -> None:
        """See `steps.Post`."""
        if step.link.payload == "activations":
            self._offer(step.link.stage, step.buffer, step.item)
        self.links[step.link].post(step.buffer, self._arrays(step.link, step.buffer, step.item))

    def _offer(self, layer: int, buffer: int, batch: s.Item) -> None:
        """Let a slot be for `batch`, of which pieces may come from now on."""
        slot = self.rings[layer].slots[buffer]
        if slot.batch == batch:
            return
        assert isinstance(batch, s.Batch)
        rows = self.batches.contents[batch].rows
        # What comes would lie where this rank's piece of the last batch may still be leaving.
        if rows > slot.rows and not slot.shared:
            for link in self._leaving[layer]:
                self.links[link].wait(buffer)
        slot.batch, slot.rows, slot.now = batch, rows, slot.views[rows]

    def receive(self, step: s.Receive) -> None:
        """See `steps.Receive`."""
        link, buffer, item = step.link, step.buffer, step.item
        self.links[link].wait(buffer)
        if link.payload == "negatives":
            assert isinstance(item, s.Selection)
            labels, epoch = self.batches.labels, self.batches.epochs[item.epoch]
            labels.take_choice(item.chapter, epoch, item.batch, self._selections[link, buffer])

    def reserve(self, step: s.Reserve) -> None:
        """See `steps.Reserve`."""
        self.links[step.link].wait(step.buffer)

    def send(self, step: s.Send) -> None:
        """See `steps.Send`."""
        link, buffer, item = step.link, step.buffer, step.item
        if link.payload == "negatives":
            assert isinstance(item, s.Selection)
            labels, epoch = self.batches.labels, self.batches.epochs[item.epoch]
            labels.give_choice(item.chapter, epoch, item.batch, self._selections[link, buffer])
        self.links[link].send(buffer, self._arrays(link, buffer, item))


def cut_of(schedule: Pipeline, layer: int) -> Cut:
    """Return how a layer is cut."""
    pieces = {piece.rank: range(piece.first, piece.stop) for piece in schedule.owners[layer]}
    return Cut(schedule.spec.panels[layer], pieces)
