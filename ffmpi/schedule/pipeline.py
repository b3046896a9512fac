"""Schedule `pipeline`: every layer learns from each batch as it flows by.

Layer k+1 learns from what layer k put out for the batch before layer k's own update, so a batch passes each layer once
and nothing flows back. While a rank computes one batch, the next is arriving and the last one is leaving.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import chapter as c
from .placement import Placement
from .spec import Work
from .steps import (
    FOR_HEAD,
    Batch,
    Choice,
    Choose,
    Collect,
    Compose,
    Forward,
    LinkId,
    Record,
    Renew,
    Report,
    Save,
    Steps,
    Update,
)
from .streams import Traffic


class Pipeline(Placement):
    """Who owns what, and how batches flow."""

    @property
    def links(self) -> list[LinkId]:
        """Return the links of the layers and of the head, and the one that brings rank 0 the negatives."""
        adaptive = self.work.adaptive
        if adaptive is None or self.chooser == 0:
            return self.flow
        room = min(self.work.ahead, self.work.batches[0]) + 1
        return [*self.flow, LinkId(self.chooser, 0, "negatives", 0, room, room)]

    def steps(self, rank: int) -> Steps:
        """Yield what `rank` does to the end."""
        work, chapters = self.work, range(self.first, self.work.chapters)
        told = [link for link in self.links if link.cargo == "negatives" and rank in (link.source, link.target)]
        choices = [choice for chapter in chapters if told for choice in self._choices(chapter)]
        traffic = Traffic(rank, {link: choices for link in told})
        yield from traffic.open()
        for chapter in chapters:
            for epoch in work.epochs_of(chapter):
                yield Renew(epoch, chapter)
                yield from self._train(rank, chapter, epoch, traffic)
            for learnt, batches in c.after(work, chapter):
                if learnt is None:  # the head has learnt already
                    yield from c.renew(work, chapter, batches)
                    yield from sweep(self, rank, batches, conclusion(work, chapter, None))
            if work.chosen_after(chapter) is not None:
                for link in told:
                    yield from traffic.carry(link)
            yield Report(chapter)
            if rank == 0:
                yield Record(chapter, tuple(range(work.ranks)))
            if work.due(work.save_every, chapter):
                yield Save(chapter, self.owners)
        yield from traffic.close()

    def _choices(self, chapter: int) -> list[Choice]:
        """Return the choices made in and after a chapter."""
        if self.work.ahead:
            return [
                Choice(chapter, index) for _ in self.work.epochs_of(chapter) for index in range(self.work.batches[0])
            ]
        chosen = self.work.chosen_after(chapter)
        return [] if chosen is None else [Choice(chosen)]

    def _train(self, rank: int, chapter: int, epoch: int, traffic: Traffic) -> Steps:
        """Yield an epoch; if every batch's negatives are chosen, its neutral inputs run ahead of it."""
        work, ahead = self.work, self.work.ahead
        count = work.batches[0]
        batches = [Batch("neutral", index) for index in range(min(ahead, count))]
        batches += [Batch("train", index) for index in range(count)]

        def conclude(batch: Batch) -> Steps:
            yield from c.concluding(work, chapter, batch, epoch)
            if ahead:
                yield Choose(batch, chapter, batch.index + (ahead if batch.stream == "train" else 0))
                for link in traffic.items:
                    yield from traffic.carry(link)

        def prepare(batch: Batch) -> Steps:
            for link in traffic.items if ahead and batch.stream == "train" else ():
                yield from traffic.carry(link)

        yield from sweep(self, rank, batches, conclude, epoch, prepare=prepare)


def conclusion(work: Work, chapter: int, epoch: int | None) -> Callable[[Batch], Steps]:
    """Return what follows when a batch of a sweep after `chapter` has passed the network."""
    return lambda batch: c.concluding(work, chapter, batch, epoch)


def sweep(
    placement: Placement, rank: int, batches: Sequence[Batch], conclude: Callable[[Batch], Steps],
    epoch: int | None = None, chapter: int | None = None, prepare: Callable[[Batch], Steps] = lambda batch: iter(()),
) -> Steps:  # fmt: skip
    """Yield what `rank` does to pass `batches` through the network once.

    Layers learn from batches of the stream `train`, at the rate of `epoch`; otherwise they may be used as they were
    after `chapter`. `prepare` comes before a batch is composed; `conclude` says what follows at the head or, for
    streams that are not for it, at the last layer. All buffers are idle before and after.
    """
    work = placement.work
    links = [link for link in placement.flow if rank in (link.source, link.target)]
    traffic = Traffic(
        rank, {link: [b for b in batches if link.cargo == "activations" or work.for_head(b)] for link in links}
    )
    layers, last = placement.layers(rank), work.layers - 1

    def find(cargo: str, stage: int, end: str) -> LinkId | None:
        return next((k for k in links if (k.cargo, k.stage, getattr(k, end)) == (cargo, stage, rank)), None)

    entries = {layer: find("activations", layer - 1, "target") for layer in layers}
    outs = {layer: find("activations", layer, "source") for layer in layers}
    sides_out = {layer: find("neutral", layer, "source") for layer in layers}
    sides = [side for layer in work.head_layers if (side := find("neutral", layer, "target"))]
    yield from traffic.open()
    for batch in batches:
        for_head = work.for_head(batch)
        for layer in layers:
            entry, out = entries[layer], outs[layer]
            if layer == 0:
                yield from prepare(batch)
                yield Compose(batch)
            elif entry:
                yield traffic.receive(entry)
            if out:
                yield traffic.reserve(out)
            yield Forward(layer, batch, chapter)
            if out:
                yield traffic.send(out)
            if for_head and layer in work.head_layers:
                side = sides_out[layer]
                if side:
                    yield traffic.reserve(side)
                yield Collect(layer, batch)
                if side:
                    yield traffic.send(side)
            if batch.stream == "train":
                assert epoch is not None
                yield Update(layer, batch, epoch)
            if entry:
                yield from traffic.release(entry)
            if layer == last and batch.stream not in FOR_HEAD:
                yield from conclude(batch)
        if rank == placement.head and for_head:
            for side in sides:
                yield traffic.receive(side)
            yield from conclude(batch)
            for side in sides:
                yield from traffic.release(side)
    yield from traffic.close()
