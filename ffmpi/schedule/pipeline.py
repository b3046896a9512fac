"""Schedule `pipeline`: every layer learns from each batch as it flows by.

Layer k+1 learns from what layer k put out for the batch before layer k's own update, so a batch passes each layer once
and nothing flows back. While a rank computes one batch, the next is arriving and the last one is leaving.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from .placement import Placement
from .steps import (
    Batch,
    Collect,
    Compose,
    Forward,
    Learn,
    LinkId,
    Post,
    Receive,
    Renew,
    Report,
    Reserve,
    Save,
    Score,
    Send,
    Steps,
    Update,
    Work,
)


def steps(work: Work, rank: int, first_chapter: int = 0) -> Steps:
    """Yield what `rank` does from `first_chapter` to the end."""
    placement = Placement(work)
    for chapter in range(first_chapter, work.chapters):
        epochs = range(chapter * work.epochs_per_chapter, (chapter + 1) * work.epochs_per_chapter)
        for epoch in epochs:
            yield Renew(epoch)
            yield from sweep(placement, rank, [Batch("train", i) for i in range(work.batches)], epoch)
        yield from sweep(placement, rank, work.held_out(chapter), epochs[-1])
        yield Report(chapter)
        if work.due(work.save_every, chapter):
            yield Save(chapter)


def sweep(placement: Placement, rank: int, batches: Sequence[Batch], epoch: int) -> Steps:
    """Yield what `rank` does to pass `batches` through the network once; training batches are learnt from.

    All buffers are idle before and after.
    """
    traffic = _Traffic(placement, rank, batches)
    layers = placement.layers(rank)
    last = placement.work.layers - 1
    entries = {layer: traffic.into(layer - 1, neutral=False) for layer in layers}
    outs = {layer: traffic.out_of(layer, neutral=False) for layer in layers}
    sides_out = {layer: traffic.out_of(layer, neutral=True) for layer in layers}
    sides = [side for layer in placement.work.head_layers if (side := traffic.into(layer, neutral=True))]
    yield from traffic.open()
    for batch in batches:
        learning, for_head = batch.stream == "train", batch.stream != "goodness"
        for layer in layers:
            entry, out = entries[layer], outs[layer]
            if layer == 0:
                yield Compose(batch)
            elif entry:
                yield traffic.receive(entry, batch)
            if out:
                yield traffic.reserve(out)
            yield Forward(layer, batch)
            if out:
                yield traffic.send(out, batch)
            if for_head and layer in placement.work.head_layers:
                side = sides_out[layer]
                if side:
                    yield traffic.reserve(side)
                yield Collect(layer, batch)
                if side:
                    yield traffic.send(side, batch)
            if learning:
                yield Update(layer, batch, epoch)
            if entry:
                yield from traffic.release(entry)
            if layer == last and batch.stream == "goodness":
                yield Score(batch)
        if rank == placement.head and for_head:
            for side in sides:
                yield traffic.receive(side, batch)
            yield Learn(batch, epoch) if learning else Score(batch)
            for side in sides:
                yield from traffic.release(side)
    yield from traffic.close()


class _Traffic:
    """Counts the messages on each of a rank's links, so that every step names its slot."""

    def __init__(self, placement: Placement, rank: int, batches: Sequence[Batch]) -> None:
        self.rank = rank
        self.links = [link for link in placement.links if rank in (link.source, link.target)]
        self.messages = {
            link: [batch for batch in batches if not link.neutral or batch.stream != "goodness"] for link in self.links
        }
        self.done: dict[LinkId, int] = defaultdict(int)

    def _find(self, layer: int, neutral: bool, end: str) -> LinkId | None:
        for link in self.links:
            if (link.layer, link.neutral, getattr(link, end)) == (layer, neutral, self.rank):
                return link
        return None

    def into(self, layer: int, *, neutral: bool) -> LinkId | None:
        return self._find(layer, neutral, "target")

    def out_of(self, layer: int, *, neutral: bool) -> LinkId | None:
        return self._find(layer, neutral, "source")

    def open(self) -> Steps:
        for link in self.links:
            if link.target == self.rank:
                for slot, batch in enumerate(self.messages[link][: link.depth]):
                    yield Post(link, slot, batch)

    def receive(self, link: LinkId, batch: Batch) -> Receive:
        return Receive(link, self.done[link] % link.depth, batch)

    def release(self, link: LinkId) -> Steps:
        count = self.done[link]
        self.done[link] += 1
        coming = count + link.depth
        if coming < len(self.messages[link]):
            yield Post(link, count % link.depth, self.messages[link][coming])

    def reserve(self, link: LinkId) -> Reserve:
        return Reserve(link, self.done[link] % link.depth)

    def send(self, link: LinkId, batch: Batch) -> Send:
        count = self.done[link]
        self.done[link] += 1
        return Send(link, count % link.depth, batch)

    def close(self) -> Steps:
        for link in self.links:
            if link.source == self.rank:
                for slot in range(min(link.depth, len(self.messages[link]))):
                    yield Reserve(link, slot)
