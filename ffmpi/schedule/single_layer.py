"""Schedule `single-layer`: each rank owns a block of layers and trains it chapter by chapter (paper, Algorithm 1).

Time is cut into slots. A chapter passes from rank to rank, one a slot, so that in a slot every rank trains a chapter of
its own. Batches reach a rank in one of two ways: as the activations of the layer before, streamed while that rank
passes them on, into buffers for a whole chapter; or by computing them with the weights of all layers before, as in the
paper.

When the last layer has finished a chapter all ranks together pass the neutral inputs, the candidates for adaptive
negatives and the test samples through the network as it was after that chapter: the ranks ahead have taken snapshots of
their layers. With `weights` only weights travel, and the last rank does all this alone while the others wait, as in the
paper for adaptive negatives. If negatives are chosen for a chapter that would begin before the scores are there, its
beginning waits for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Annotated, Literal

from msgspec import Meta

from . import chapter as c
from .interface import OfWholeLayers, Schedule, Settings
from .placement import Placement
from .spec import ScheduleSpec
from .steps import (
    Batch,
    BuildInput,
    Forward,
    FreeActivations,
    FreeSnapshot,
    Item,
    LinkId,
    LoadActivations,
    Portions,
    Record,
    Report,
    Save,
    Selection,
    StashActivations,
    State,
    Step,
    Steps,
    TakeSnapshot,
)
from .streams import Streams
from .sweep import conclusion, sweep

#: Chapters for each rank but one with which ranks have something to do most of the time.
_FEW = 8


class SingleLayer(Placement, OfWholeLayers):
    """Who owns what, and when each chapter begins."""

    name = "single-layer"

    def __init__(self, spec: ScheduleSpec, first: int = 0) -> None:
        super().__init__(spec, first)
        self.by_weights = spec.exchange == "weights"
        self.last = self.rank_of(spec.layers - 1)  # the rank of the last layer
        #: The slot in which each chapter begins on rank 0: its negatives must have been chosen in an earlier one.
        self.begins: dict[int, int] = {}
        for chapter in range(first, spec.chapters):
            begin = self.begins.get(chapter - 1, -1) + 1
            if spec.adaptive and chapter - spec.adaptive.lag >= first:
                begin = max(begin, self.begins[chapter - spec.adaptive.lag] + self.last + 1)
            self.begins[chapter] = begin

    @property
    def reader(self) -> int:
        """The rank that reads out the network: the head's, or the last layer's."""
        return self.last if self.head is None else self.head

    @property
    def chooser(self) -> int:
        """The rank that chooses adaptive negatives."""
        return self.reader if self.by_weights else super().chooser

    @property
    def round(self) -> range:
        """The second chapter: a rank measures of the first one what it trains, not yet what follows it."""
        return range(self.first + 1, self.first + 2)

    @property
    def delay(self) -> str:
        """Chapters may begin later than one a slot, and with few of them ranks have nothing to do in most slots."""
        chapters = len(self.begins)
        if chapters < _FEW * self.last:
            return f"for their first chapter and after their last, since there are only {chapters}"
        return self.spec.delay_of(self.last + 1)

    def computed(self, rank: int) -> list[int]:
        """Return the layers whose activations `rank` computes: with `weights` also those before its own."""
        if not self.by_weights:
            return self.layers(rank)
        return list(range((self.layers(rank) or [self.spec.layers - 1])[-1] + 1))

    @cached_property
    def links(self) -> list[LinkId]:
        """The links of the sweeps, of the chapters' batches or the weights, and of the negatives."""
        spec, links = self.spec, [] if self.by_weights else list(self.flow)
        for layer in range(spec.layers):
            source = self.rank_of(layer)
            if self.by_weights:
                # One is in use, and one may come for each slot that the target is behind.
                links += [
                    LinkId(source, to, "weights", layer, 1, to - source + 1) for to in range(source + 1, spec.ranks)
                ]
            elif layer + 1 < spec.layers and self.rank_of(layer + 1) != source:
                receive_buffers = len(spec.train_batches(0)) + spec.depth
                links.append(LinkId(source, self.rank_of(layer + 1), "chapter", layer, spec.depth, receive_buffers))
        if spec.adaptive:
            told = range(self.last + 1) if self.by_weights else [0]
            links += [LinkId(self.chooser, to, "negatives", 0, 1, 1) for to in told if to != self.chooser]
        return links

    def steps(self, rank: int) -> Steps:
        """Yield what `rank` does to the end."""
        return chain.from_iterable(self._portions(rank))

    def _portions(self, rank: int) -> Portions:
        streams = Streams(rank, self._items(rank))
        starts = {begin: chapter for chapter, begin in self.begins.items()}
        slots = max(starts, default=-self.last - 1) + self.last + 1
        yield streams.open()
        for slot in range(slots):
            trained = starts.get(slot - rank) if rank <= self.last else None
            ended = starts.get(slot - self.last)
            if trained is not None:
                yield from self._train(rank, streams, trained)
                yield [TakeSnapshot(layer, trained) for layer in self._snapshots(rank, trained)]
                if rank < self.last:
                    yield [Report(trained)]
            if ended is not None:
                yield from self._end(rank, streams, ended)
        yield streams.close()

    def _is_ahead(self, rank: int, chapter: int) -> bool:
        """Whether `rank` trains the next chapter before the last rank ends `chapter`."""
        begin = self.begins.get(chapter + 1)
        return begin is not None and rank <= self.last and begin + rank <= self.begins[chapter] + self.last

    def _snapshots(self, rank: int, chapter: int) -> list[int]:
        """Return the layers of `rank` that are needed as they were after `chapter` when they have changed."""
        needed = not self.by_weights or self.spec.due(self.spec.save_every, chapter)
        return self.layers(rank) if needed and self._is_ahead(rank, chapter) else []

    def _end(self, rank: int, streams: Streams, chapter: int) -> Portions:
        """Yield what all ranks do when the last layer has been trained for `chapter`."""
        spec, ahead = self.spec, self._is_ahead(rank, chapter)
        copies = [link for link in streams.items if link.payload == "weights" and link.target == rank]
        if self.by_weights and rank == self.reader > self.last:
            yield [streams.receive(link) for link in copies]
        for epoch, batches in c.after(spec, chapter):
            if not self.by_weights:
                yield c.set_epoch(spec, chapter, batches)
                conclude = conclusion(spec, chapter, batches, epoch)
                yield from sweep(self, rank, batches, conclude, chapter=chapter if ahead else None)
            elif rank == self.reader:
                yield from c.sweep_alone(spec, chapter, epoch, batches)
        if rank == self.reader:
            for link in copies:
                yield streams.release(link)
        for link in streams.items:
            if link.payload == "negatives" and spec.chosen_after(chapter) is not None:
                yield streams.carry(link)
        if rank >= self.last:
            yield [Report(chapter)]
        if rank == 0:
            yield [Record(chapter, tuple(range(spec.ranks)))]
        if spec.due(spec.save_every, chapter):
            yield [Save(chapter, self.owners, self.head)]
        yield [FreeSnapshot(layer, chapter) for layer in self._snapshots(rank, chapter)]

    def _items(self, rank: int) -> dict[LinkId, Sequence[Item]]:
        """Return all that will pass this rank's links but for the sweeps'."""
        spec, chapters = self.spec, range(self.first, self.spec.chapters)
        items: dict[LinkId, Sequence[Item]] = {}
        for link in self.links:
            if rank not in (link.source, link.target):
                continue
            if link.payload == "chapter":
                items[link] = spec.train_batches(0) * len(chapters)  # the same objects: it may be millions
            elif link.payload == "weights":
                items[link] = [State(link.stage, chapter) for chapter in chapters]
            elif link.payload == "negatives":
                chosen = [spec.chosen_after(chapter) for chapter in chapters]
                items[link] = [Selection(chapter) for chapter in chosen if chapter is not None]
        return items

    def _train(self, rank: int, streams: Streams, chapter: int) -> Portions:
        """Yield the part of `chapter` that this rank's layers have."""
        spec, layers = self.spec, self.layers(rank)
        for link in streams.items:
            if link.payload == "weights":
                # The last weights have left before they change; those of the layers before are here.
                yield [streams.reserve(link) if link.source == rank else streams.receive(link)]
        train_batches = _ChapterInput(self, rank, streams, chapter)
        for layer in layers:
            yield from c.train(spec, chapter, layer, train_batches.bring)
            for link in streams.items:
                if link.payload == "weights" and link.source == rank and link.stage == layer:
                    yield [streams.send(link)]
            if layer + 1 in layers or (train_batches.out and not self.by_weights):
                yield from c.pass_on(spec, chapter, layer, train_batches.bring_on, train_batches.leave)
            else:
                for batch in spec.train_batches(chapter):
                    yield train_batches.drop(layer, batch)
        if rank != self.reader:
            for link in streams.items:
                if link.payload == "weights" and link.target == rank:
                    yield streams.release(link)


class _ChapterInput:
    """How the batches of a chapter reach the layers of a rank and leave them."""

    def __init__(self, schedule: SingleLayer, rank: int, streams: Streams, chapter: int) -> None:
        self.layers, self.streams, self.by_weights = schedule.layers(rank), streams, schedule.by_weights
        self.places = {batch: place for place, batch in enumerate(schedule.spec.train_batches(chapter))}
        links = [link for link in streams.items if link.payload == "chapter"]
        self.into = next((link for link in links if link.target == rank), None)
        self.out = next((link for link in links if link.source == rank), None)
        self.met: set[Batch] = set()
        self.released = 0

    def bring(self, layer: int, batch: Batch) -> list[Step]:
        """Bring a batch to `layer`: built, received, computed through all layers before, or stashed."""
        first_time = batch not in self.met
        if layer == 0 or layer > self.layers[0] or (self.by_weights and not first_time):
            return c.stashed(layer, batch)
        self.met.add(batch)
        if self.into:
            move = self.streams.receive if first_time else self.streams.reuse
            return [move(self.into, self.places[batch] - self.released)]
        return [
            BuildInput(batch),
            *(Forward(before, batch) for before in range(layer)),
            StashActivations(layer - 1, batch),
            LoadActivations(layer - 1, batch),
        ]

    def bring_on(self, layer: int, batch: Batch) -> list[Step]:
        """Bring it once more, to be passed on."""
        steps = self.bring(layer, batch)
        return [*steps, self.streams.reserve(self.out)] if layer == self.layers[-1] and self.out else steps

    def leave(self, layer: int, batch: Batch) -> list[Step]:
        """Stash or send the output of `layer` for a batch."""
        if layer == self.layers[-1] and self.out:
            return [self.streams.send(self.out), *self.drop(layer, batch)]
        return [StashActivations(layer, batch), *self.drop(layer, batch)]

    def drop(self, layer: int, batch: Batch) -> list[Step]:
        """Free what `layer` learnt from."""
        if layer == self.layers[0] and self.into:
            self.released += 1
            return self.streams.release(self.into)
        return [FreeActivations(layer - 1, batch)] if layer > 0 else []


class SingleLayerSettings(Settings, frozen=True, kw_only=True, tag="single-layer"):
    """A rank owns a block of layers, and chapters pass from rank to rank."""

    exchange: Annotated[
        Literal["activations", "weights"],
        Meta(
            description="What a rank passes to the next: activations, or as in the paper weights, with which the next "
            "computes these once more."
        ),
    ] = "activations"

    def plan(self, spec: ScheduleSpec, first: int = 0) -> Schedule:
        """See `Settings.plan`."""
        return SingleLayer(spec, first)
