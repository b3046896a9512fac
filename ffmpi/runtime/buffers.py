"""Where activations lie on a rank: in a layer's own memory, in a link's buffers, or stashed within a chapter."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from .. import kernels
from ..data.labels import class_type
from ..network.activations import Activations
from ..schedule import Schedule
from ..schedule import steps as s
from .batches import Batches
from .head import Gathered, PieceHead
from .link import Link
from .model import RankModel
from .rings import whole


class Buffers:
    """What moves between layers and between ranks, and the links it moves on.

    Attributes
    ----------
    own : each layer's own memory, for its next output unless a buffer is `reserved` for that, for once
    held : each layer's (-1: the input's) last output, or what was received in its place
    head : what this rank does of the softmax head, if it has it
    """

    def __init__(self, comm: Any, model: RankModel, schedule: Schedule, batches: Batches) -> None:
        """Make the memory, and connect the links that begin or end on this rank of `comm`."""
        self.comm, self.model, self.schedule, self.batches = comm, model, schedule, batches
        self.config = model.config
        self.own = {layer: model.activations(layer) for layer in model.layers}
        self.held: dict[int, Activations] = dict(self.own)
        if model.inputs:
            self.held[-1] = model.inputs
        self.head: PieceHead | None = None
        if model.head:
            units, rank = self.config.network.layers, comm.rank
            cuts = {k: whole(kernels.panels_of(units[k]), rank) for k in self.config.head_layers}
            self.head = PieceHead(rank, model, batches, cuts, True, 1, 1)
        self._gathered: dict[int, Gathered] = {}  # where a layer's next ones go, if not to the head's own
        self.reserved: dict[int, Activations] = {}
        self._stashed: dict[tuple[int, s.Batch], Activations] = {}
        self._spare: dict[int, list[Activations]] = defaultdict(list)
        self._contents: dict[tuple[s.LinkId, int], Any] = {}
        self._parts: dict[tuple[s.LinkId, int], list[np.ndarray]] = {}
        self.links: dict[s.LinkId, Link] = {}
        for tag, link in enumerate(schedule.links):
            if comm.rank in (link.source, link.target):
                self.links[link] = self._connect(link, tag)

    @property
    def nbytes(self) -> int:
        """Bytes of what is stashed and of the links' buffers, but for weights that are sent from where they are."""
        spare = [buffer for buffers in self._spare.values() for buffer in buffers]
        own = [link for link in self.links if link.payload != "state" and not self._sends_weights(link)]
        return sum(buffer.flat.nbytes for buffer in [*self._stashed.values(), *spare]) + sum(map(self._bytes_of, own))

    @property
    def copied(self) -> int:
        """Bytes of the weights that come from other ranks."""
        return sum(
            self._bytes_of(link) for link in self.links if link.payload == "weights" and link.target == self.comm.rank
        )

    def _bytes_of(self, link: s.LinkId) -> int:
        return sum(array.nbytes for (of, _), part in self._parts.items() if of is link for array in part)

    def _sends_weights(self, link: s.LinkId) -> bool:
        return link.payload == "weights" and link.source == self.comm.rank

    def _connect(self, link: s.LinkId, tag: int) -> Link:
        """Make the buffers of this rank's end: memory of their own, or the stage's weights themselves."""
        sends, stage, batch = link.source == self.comm.rank, link.stage, self.config.train.batch_size
        buffers = link.send_buffers if sends else link.receive_buffers
        for buffer in range(buffers):
            content: Any = None
            if link.payload == "state":
                part = [parameters.flat for parameters in self.model.states(stage).values()]
            elif link.payload == "weights":
                content = self.model.states(stage) if sends else self.model.copies(stage)
                part = [parameters.plain for parameters in content.values() if parameters.plain.size]
            elif link.payload == "negatives":
                dataset = self.model.dataset
                samples = batch if self.schedule.spec.ahead else dataset.train
                content = np.zeros(samples, class_type(dataset.classes))
                part = [content]
            elif link.payload == "neutral":
                units = self.config.network.layers[stage]
                content = Gathered(units, kernels.panels_of(units), 1, batch)
                part = [content.a.h, content.squares]
            else:
                content = self.model.activations(stage)
                part = [content.flat]
            self._contents[link, buffer], self._parts[link, buffer] = content, part
        peer = link.target if sends else link.source
        return Link(self.comm, peer, tag, buffers, self.config.schedule.timeout)

    def finish(self) -> None:
        """Wait until all has left, at the end."""
        for link in self.links.values():
            link.finish()

    # -- What layers compute with --------------------------------------------------------------------------------------
    def place(self, step: s.Forward) -> tuple[Activations, Activations, int]:
        """Return the input of a layer, where its output is to go, and how many rows the batch has."""
        out = self.held[step.layer] = self.reserved.pop(step.layer, self.own[step.layer])
        return self.held[step.layer - 1], out, self.batches.contents[step.batch].rows

    def read(self, step: s.Update) -> tuple[Activations, Activations]:
        """Return the input of a layer, and its output."""
        return self.held[step.layer - 1], self.held[step.layer]

    # -- Between ranks ------------------------------------------------------------------------------------------------
    def post(self, step: s.Post) -> None:
        """See `steps.Post`."""
        self.links[step.link].post(step.buffer, self._parts[step.link, step.buffer])

    def receive(self, step: s.Receive) -> None:
        """See `steps.Receive`."""
        self.links[step.link].wait(step.buffer)
        self.use(step)

    def use(self, step: s.Receive | s.Reuse) -> None:
        """See `steps.Reuse`."""
        link, content = step.link, self._contents[step.link, step.buffer]
        if link.payload == "neutral":
            assert self.head is not None and isinstance(step.item, s.Batch)
            content.rows = self.batches.contents[step.item].head_rows
            self.head.gathered[link.stage] = [content]
        elif link.payload in ("activations", "chapter"):
            self.held[link.stage] = content
        elif link.payload == "weights":
            self.model.use(link.stage, content)
        elif link.payload == "negatives":
            assert isinstance(step.item, s.Selection)
            epoch = self.batches.epochs[step.item.epoch]
            self.batches.labels.take_choice(step.item.chapter, epoch, step.item.batch, content)

    def reserve(self, step: s.Reserve) -> None:
        """See `steps.Reserve`."""
        link, content = step.link, self._contents[step.link, step.buffer]
        self.links[link].wait(step.buffer)
        if link.payload == "neutral":
            self._gathered[link.stage] = content
        elif link.payload in ("activations", "chapter"):
            self.reserved[link.stage] = content

    def send(self, step: s.Send) -> None:
        """See `steps.Send`."""
        if step.link.payload == "negatives":
            assert isinstance(step.item, s.Selection)
            content = self._contents[step.link, step.buffer]
            epoch = self.batches.epochs[step.item.epoch]
            self.batches.labels.give_choice(step.item.chapter, epoch, step.item.batch, content)
        self.links[step.link].send(step.buffer, self._parts[step.link, step.buffer])

    def gather(self, step: s.GatherHeadInput) -> None:
        """See `steps.GatherHeadInput`."""
        content, layer = self.batches.contents[step.batch], step.layer
        target = self._gathered.get(layer) or (self.head and self.head.gathered[layer][0])
        assert target
        a = self.held[layer]
        target.take(a, a.total[None], content.head_row, content.head_rows)

    def scores(self, buffer: int) -> np.ndarray:
        """Return what all layers say of the rows that the last layer has computed last."""
        return self.held[len(self.config.network.layers) - 1].score

    # -- On this rank -------------------------------------------------------------------------------------------------
    def stash(self, step: s.StashActivations) -> None:
        """See `steps.StashActivations`."""
        stashed = self._stashed[step.layer, step.batch] = self.held[step.layer]
        spare = self._spare[stashed.units]
        self.own[step.layer] = spare.pop() if spare else self.model.activations(step.layer)

    def load(self, step: s.LoadActivations) -> None:
        """See `steps.LoadActivations`."""
        self.held[step.layer] = self._stashed[step.layer, step.batch]

    def free(self, step: s.FreeActivations) -> None:
        """See `steps.FreeActivations`."""
        buffer = self._stashed.pop((step.layer, step.batch))
        self._spare[buffer.units].append(buffer)
