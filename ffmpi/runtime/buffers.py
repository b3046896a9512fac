"""Where activations lie on a rank: in a layer's own memory, in a link's buffers, or stashed within a chapter."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from ..data.labels import class_type
from ..network.activations import Activations
from ..schedule import Schedule
from ..schedule import steps as s
from .batches import Batches
from .link import Link
from .model import RankModel


class Buffers:
    """What moves between layers and between ranks, and the links it moves on.

    Attributes
    ----------
    own : each layer's own memory, for its next output unless a buffer is `reserved` for that, for once
    held : each layer's (-1: the input's) last output, or what was received in its place
    collected : the same of the neutral rows that the head reads, which this rank's layers put into `own_neutral`
    """

    def __init__(self, comm: Any, model: RankModel, schedule: Schedule, batches: Batches) -> None:
        """Make the memory, and connect the links that begin or end on this rank of `comm`."""
        self.comm, self.model, self.schedule, self.batches = comm, model, schedule, batches
        self.config = model.config
        self.own = {layer: model.activations(layer) for layer in model.layers}
        self.held: dict[int, Activations] = dict(self.own)
        if model.inputs:
            self.held[-1] = model.inputs
        self.own_neutral: dict[int, Activations] = {}
        if model.head:
            batch = self.config.train.batch_size
            here = [layer for layer in self.config.head_layers if layer in model.layers]
            self.own_neutral = {layer: model.activations(layer, batch) for layer in here}
        self.collected = dict(self.own_neutral)
        self.reserved: dict[int, Activations] = {}
        self._stashed: dict[tuple[int, s.Batch], Activations] = {}
        self._spare: dict[int, list[Activations]] = defaultdict(list)
        self._contents: dict[tuple[s.LinkId, int], Any] = {}
        self.links: dict[s.LinkId, Link] = {}
        for tag, link in enumerate(schedule.links):
            if comm.rank in (link.source, link.target):
                self.links[link] = self._connect(link, tag)

    @property
    def nbytes(self) -> int:
        """Bytes of what is stashed and of the links' buffers, but for weights that are sent from where they are."""
        spare = [buffer for buffers in self._spare.values() for buffer in buffers]
        own = [link for link in self.links if link.payload != "state" and not self._sends_weights(link)]
        return sum(buffer.flat.nbytes for buffer in [*self._stashed.values(), *spare]) + sum(
            self.links[link].nbytes for link in own
        )

    def _sends_weights(self, link: s.LinkId) -> bool:
        return link.payload == "weights" and link.source == self.comm.rank

    def _connect(self, link: s.LinkId, tag: int) -> Link:
        """Make the buffers of this rank's end: memory of their own, or the stage's weights themselves."""
        sends, stage, batch = link.source == self.comm.rank, link.stage, self.config.train.batch_size
        parts: list[list[np.ndarray]] = []
        for buffer in range(link.send_buffers if sends else link.receive_buffers):
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
            else:
                content = self.model.activations(stage, batch if link.payload == "neutral" else None)
                part = [content.flat]
            self._contents[link, buffer] = content
            parts.append(part)
        peer = link.target if sends else link.source
        return Link(self.comm, peer, tag, parts, self.config.schedule.timeout)

    # -- Between ranks ------------------------------------------------------------------------------------------------
    def post(self, step: s.Post) -> None:
        """See `steps.Post`."""
        self.links[step.link].post(step.buffer)

    def receive(self, step: s.Receive) -> None:
        """See `steps.Receive`."""
        self.links[step.link].wait(step.buffer)
        self.use(step)

    def use(self, step: s.Receive | s.Reuse) -> None:
        """See `steps.Reuse`."""
        link, content = step.link, self._contents[step.link, step.buffer]
        if link.payload == "neutral":
            self.collected[link.stage] = content
        elif link.payload in ("activations", "chapter"):
            self.held[link.stage] = content
        elif link.payload == "weights":
            self.model.use(link.stage, content)
        elif link.payload == "negatives":
            assert isinstance(step.item, s.Selection)
            self.batches.labels.take_choice(step.item.chapter, step.item.batch, content)

    def reserve(self, step: s.Reserve) -> None:
        """See `steps.Reserve`."""
        link, content = step.link, self._contents[step.link, step.buffer]
        self.links[link].wait(step.buffer)
        if link.payload == "neutral":
            self.collected[link.stage] = content
        elif link.payload in ("activations", "chapter"):
            self.reserved[link.stage] = content

    def send(self, step: s.Send) -> None:
        """See `steps.Send`."""
        if step.link.payload == "negatives":
            assert isinstance(step.item, s.Selection)
            content = self._contents[step.link, step.buffer]
            self.batches.labels.give_choice(step.item.chapter, step.item.batch, content)
        self.links[step.link].send(step.buffer)

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
