"""What the schedules of the paper's chapter algorithm share: how one layer, and the head, is trained for a chapter.

A layer trains its C epochs on what the layers before it, already trained, put out; then it passes the chapter's lessons
on. After the last layer come the head, the scores of the negatives to come, and the held-out samples.
"""

from __future__ import annotations

from collections.abc import Callable

from .spec import Work
from .steps import (
    FOR_HEAD,
    Batch,
    Choose,
    Collect,
    Compose,
    Drop,
    Forward,
    Keep,
    Learn,
    Renew,
    Score,
    Steps,
    Take,
    Update,
)

#: Steps that bring a lesson to a layer, or take away what it makes of it.
Move = Callable[[int, Batch], Steps]


def kept(layer: int, batch: Batch) -> Steps:
    """Bring `layer` a lesson that this rank composes, or has kept behind the layer before."""
    yield Compose(batch) if layer == 0 else Take(layer - 1, batch)


def keep(layer: int, batch: Batch) -> Steps:
    """Keep what `layer` makes of a lesson, and no longer what it made it of."""
    yield Keep(layer, batch)
    if layer > 0:
        yield Drop(layer - 1, batch)


def train(work: Work, chapter: int, layer: int, bring: Move = kept) -> Steps:
    """Let `layer` learn for the epochs of `chapter`."""
    for batch, epoch in work.training(chapter):
        yield from _renew(work, chapter, batch)
        yield from bring(layer, batch)
        yield Forward(layer, batch)
        yield Update(layer, batch, epoch)


def pass_on(work: Work, chapter: int, layer: int, bring: Move = kept, leave: Move = keep) -> Steps:
    """Let the lessons of `chapter` go through `layer` as it is now."""
    for batch in work.lessons(chapter):
        yield from _renew(work, chapter, batch)
        yield from bring(layer, batch)
        yield Forward(layer, batch)
        yield from leave(layer, batch)


def finish(work: Work, chapter: int) -> Steps:
    """Drop what was kept for the last layer."""
    if work.layers > 1:
        for batch in work.lessons(chapter):
            yield Drop(work.layers - 2, batch)


def _renew(work: Work, chapter: int, batch: Batch) -> Steps:
    shard = work.shard_of(chapter)
    if batch.index % work.batches[shard] == 0:
        yield Renew(work.drawn(chapter, batch), chapter, shard)


def after(work: Work, chapter: int) -> list[tuple[int | None, list[Batch]]]:
    """Return the sweeps through the whole network that follow a chapter: batches, and the epoch if they are learnt."""
    shard, epochs = work.shard_of(chapter), work.epochs_of(chapter)
    sweeps: list[tuple[int | None, list[Batch]]] = []
    if work.head_layers:
        neutral = [Batch("neutral", index) for index in range(work.batches[shard])]
        sweeps += [(epoch, neutral) for epoch in epochs]
    chosen = work.chosen_after(chapter)
    if chosen is not None and work.adaptive and work.adaptive.scores == "goodness":
        sweeps.append((None, [Batch("candidates", index) for index in range(work.candidate_batches[shard])]))
    return [*sweeps, (None, work.held_out(chapter))]


def concluding(work: Work, chapter: int, batch: Batch, epoch: int | None) -> Steps:
    """Yield what follows when a batch of a sweep has passed the network: at the head, or at the last layer."""
    learnt = batch.stream in ("neutral", "train")
    if learnt:
        assert epoch is not None
        yield Learn(batch, epoch, work.ends_epoch(chapter, batch))
    elif batch.stream != "candidates":
        yield Score(batch)
    chosen = work.chosen_after(chapter)
    if chosen is None or work.adaptive is None:
        return
    # The head scores a sample when it last learns from it in the chapter.
    last = learnt and work.adaptive.scores == "softmax" and epoch == work.epochs_of(chapter)[-1]
    if batch.stream == "candidates" or last:
        yield Choose(batch, chosen)


def renew(work: Work, chapter: int, batches: list[Batch]) -> Steps:
    """Take the order that a sweep of training samples after `chapter` comes in."""
    if batches and batches[0].stream in ("neutral", "candidates"):
        yield Renew(work.epochs_of(chapter)[0], chapter, work.shard_of(chapter))


def sweep_alone(work: Work, chapter: int, epoch: int | None, batches: list[Batch]) -> Steps:
    """Yield a sweep after `chapter` on a rank that has the whole network."""
    yield from renew(work, chapter, batches)
    for batch in batches:
        yield Compose(batch)
        for layer in range(work.layers):
            yield Forward(layer, batch)
            if layer in work.head_layers and batch.stream in FOR_HEAD:
                yield Collect(layer, batch)
        yield from concluding(work, chapter, batch, epoch)
