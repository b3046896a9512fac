"""Schedule `pipeline`: every layer learns from each batch as it flows by.

Layer k+1 learns from layer k's output of the batch before layer k's own update, so a batch passes each layer once
and nothing flows back. While a rank computes one batch, the next is arriving and the last one is leaving.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import ClassVar

from . import chapter as c
from .interface import Schedule, Settings
from .placement import Placement
from .spec import ScheduleSpec
from .steps import (
    FOR_HEAD,
    Batch,
    BuildInput,
    FinishEpoch,
    Forward,
    GatherHeadInput,
    LinkId,
    Portions,
    Record,
    Report,
    Save,
    Selection,
    SelectNegatives,
    SetEpoch,
    Step,
    Steps,
    Update,
)
from .streams import Streams


class Pipeline(Placement):
    """Who owns what, and how batches flow."""

    @property
    def links(self) -> list[LinkId]:
        """Return the links of the layers and of the head, and the one that brings rank 0 the negatives."""
        adaptive = self.spec.adaptive
        if adaptive is None or self.chooser == 0:
            return self.flow
        buffers = min(self.spec.ahead, self.spec.batches[0]) + 1
        return [*self.flow, LinkId(self.chooser, 0, "negatives", 0, buffers, buffers)]

    @property
    def round(self) -> range:
        """One chapter: every rank has its layers' share of it."""
        return range(self.first, self.first + 1)

    @property
    def delay(self) -> str:
        """A batch's negatives may be selected only when the first rank would already learn from it."""
        return self.spec.delay_of(self.spec.ranks) if self.spec.ahead else ""

    def steps(self, rank: int) -> Steps:
        """Yield what `rank` does to the end."""
        return chain.from_iterable(self._portions(rank))

    def _portions(self, rank: int) -> Portions:
        spec, chapters = self.spec, range(self.first, self.spec.chapters)
        told = [link for link in self.links if link.payload == "negatives" and rank in (link.source, link.target)]
        choices = [choice for chapter in chapters if told for choice in self._choices(chapter)]
        streams = Streams(rank, {link: choices for link in told})
        yield streams.open()
        for chapter in chapters:
            for epoch in spec.epochs_of(chapter):
                yield [SetEpoch(epoch, chapter)]
                yield from self._train(rank, chapter, epoch, streams)
                if spec.finishes:
                    yield [FinishEpoch(layer, epoch) for layer in self.layers(rank)]
            for learnt, batches in c.after(spec, chapter):
                if learnt is None:  # the head has learnt already
                    yield c.set_epoch(spec, chapter, batches)
                    yield from sweep(self, rank, batches, conclusion(spec, chapter, batches, None))
            if spec.chosen_after(chapter) is not None:
                for link in told:
                    yield streams.carry(link)
            yield [Report(chapter)]
            if rank == 0:
                yield [Record(chapter, tuple(range(spec.ranks)))]
            if spec.due(spec.save_every, chapter):
                yield [Save(chapter, self.owners)]
        yield streams.close()

    def _choices(self, chapter: int) -> list[Selection]:
        """Return the choices made in and after a chapter."""
        if self.spec.ahead:
            return [
                Selection(chapter, index) for _ in self.spec.epochs_of(chapter) for index in range(self.spec.batches[0])
            ]
        chosen = self.spec.chosen_after(chapter)
        return [] if chosen is None else [Selection(chosen)]

    def _train(self, rank: int, chapter: int, epoch: int, streams: Streams) -> Portions:
        """Return an epoch; if every batch's negatives are chosen, its neutral inputs run ahead of it."""
        spec, ahead = self.spec, self.spec.ahead
        count = spec.batches[0]
        batches = [Batch("neutral", index) for index in range(min(ahead, count))]
        batches += [Batch("joint", index) for index in range(count)]
        conclude = conclusion(spec, chapter, batches, epoch)
        if not ahead:
            return sweep(self, rank, batches, conclude, epoch)

        def select(batch: Batch) -> list[Step]:
            riding = batch.index + (ahead if batch.stream == "joint" else 0)
            told = [step for link in streams.items for step in streams.carry(link)]
            return [*conclude(batch), SelectNegatives(batch, chapter, riding), *told]

        def prepare(batch: Batch) -> list[Step]:
            return [step for link in streams.items if batch.stream == "joint" for step in streams.carry(link)]

        return sweep(self, rank, batches, select, epoch, prepare=prepare)


#: Steps that follow from a batch.
_Of = Callable[[Batch], list[Step]]


def conclusion(spec: ScheduleSpec, chapter: int, batches: Sequence[Batch], epoch: int | None) -> _Of:
    """Return what follows when one of the `batches` of a sweep after `chapter` has passed the network."""
    return c.conclusions(spec, chapter, batches, epoch).__getitem__


def sweep(
    placement: Placement, rank: int, batches: Sequence[Batch], conclude: _Of, epoch: int | None = None,
    chapter: int | None = None, prepare: _Of | None = None,
) -> Portions:  # fmt: skip
    """Yield what `rank` does to pass `batches` through the network once, batch by batch.

    Layers learn from batches of the stream `joint`, at the rate of `epoch`; otherwise they may be used as they were
    after `chapter`. `prepare` comes before a batch is built; `conclude` says what follows at the head or, for
    streams that are not for it, at the last layer. All buffers are idle before and after.
    """
    spec = placement.spec
    links = [link for link in placement.flow if rank in (link.source, link.target)]
    for_head = spec.for_head(batches)
    read = [batch for batch, reads in zip(batches, for_head, strict=True) if reads]
    streams = Streams(rank, {link: batches if link.payload == "activations" else read for link in links})
    layers, last, has_head = placement.layers(rank), spec.layers - 1, rank == placement.head

    incoming = {(link.payload, link.stage): link for link in links if link.target == rank}
    outgoing = {(link.payload, link.stage): link for link in links if link.source == rank}
    entries = {layer: incoming.get(("activations", layer - 1)) for layer in layers}
    outs = {layer: outgoing.get(("activations", layer)) for layer in layers}
    sides_out = {layer: outgoing.get(("neutral", layer)) for layer in layers}
    sides = [incoming["neutral", layer] for layer in spec.head_layers if ("neutral", layer) in incoming]
    yield streams.open()
    for batch, reads in zip(batches, for_head, strict=True):
        steps: list[Step] = []
        for layer in layers:
            entry, out = entries[layer], outs[layer]
            if layer == 0:
                if prepare:
                    steps += prepare(batch)
                steps.append(BuildInput(batch))
            elif entry:
                steps.append(streams.receive(entry))
            if out:
                steps.append(streams.reserve(out))
            steps.append(Forward(layer, batch, chapter, epoch if batch.stream == "joint" else None))
            if out:
                steps.append(streams.send(out))
            if reads and layer in spec.head_layers:
                side = sides_out[layer]
                if side:
                    steps.append(streams.reserve(side))
                steps.append(GatherHeadInput(layer, batch))
                if side:
                    steps.append(streams.send(side))
            if batch.stream == "joint":
                assert epoch is not None
                steps.append(Update(layer, batch, epoch))
            if entry:
                steps += streams.release(entry)
            if layer == last and batch.stream not in FOR_HEAD:
                steps += conclude(batch)
        if has_head and reads:
            steps += [streams.receive(side) for side in sides]
            steps += conclude(batch)
            for side in sides:
                steps += streams.release(side)
        yield steps
    yield streams.close()


class PipelineSettings(Settings, frozen=True, kw_only=True, tag="pipeline"):
    """Every layer learns from each batch as it flows by; a rank owns a block of layers."""

    by_batch: ClassVar[bool] = True
    algorithm: ClassVar[str] = "pipeline"

    def plan(self, spec: ScheduleSpec, first: int = 0) -> Schedule:
        """See `Settings.plan`."""
        return Pipeline(spec, first)
