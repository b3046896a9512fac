"""One sweep through layers that lie in blocks of whole ones on the ranks, batch by batch: what follows a chapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import chapter as c
from .placement import Placement
from .spec import ScheduleSpec
from .steps import FOR_HEAD, Batch, BuildInput, Forward, GatherHeadInput, Portions, Step
from .streams import Streams

#: Steps that follow from a batch.
_Of = Callable[[Batch], list[Step]]


def conclusion(spec: ScheduleSpec, chapter: int, batches: Sequence[Batch], epoch: int | None) -> _Of:
    """Return what follows when one of the `batches` of a sweep after `chapter` has passed the network."""
    return c.conclusions(spec, chapter, batches, epoch).__getitem__


def sweep(
    placement: Placement, rank: int, batches: Sequence[Batch], conclude: _Of, chapter: int | None = None
) -> Portions:
    """Yield what `rank` does to pass `batches` through the network once, batch by batch.

    Layers are used as they are, or were after `chapter`; `conclude` says what follows at the head or, for streams that
    are not for it, at the last layer. All buffers are idle before and after.
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
                steps.append(BuildInput(batch))
            elif entry:
                steps.append(streams.receive(entry))
            if out:
                steps.append(streams.reserve(out))
            steps.append(Forward(layer, batch, chapter))
            if out:
                steps.append(streams.send(out))
            if reads and layer in spec.head_layers:
                side = sides_out[layer]
                if side:
                    steps.append(streams.reserve(side))
                steps.append(GatherHeadInput(layer, batch))
                if side:
                    steps.append(streams.send(side))
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
