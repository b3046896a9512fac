"""What the schedules of the paper's chapter algorithm share: how one layer, and the head, is trained for a chapter.

A layer trains its C epochs on what the layers before it, already trained, put out; then it passes the chapter's lessons
on. After the last layer come the head, the scores of the negatives to come, and the test samples.
"""

from __future__ import annotations

from collections.abc import Callable

from .spec import ScheduleSpec
from .steps import (
    FOR_HEAD,
    Batch,
    BuildInput,
    Evaluate,
    Forward,
    FreeActivations,
    GatherHeadInput,
    LoadActivations,
    SelectNegatives,
    SetEpoch,
    StashActivations,
    Steps,
    Update,
    UpdateHead,
)

#: Steps that bring a lesson to a layer, or take away what it makes of it.
Move = Callable[[int, Batch], Steps]


def stashed(layer: int, batch: Batch) -> Steps:
    """Bring `layer` a lesson that this rank composes, or has kept behind the layer before."""
    yield BuildInput(batch) if layer == 0 else LoadActivations(layer - 1, batch)


def stash(layer: int, batch: Batch) -> Steps:
    """Keep what `layer` makes of a lesson, and no longer what it made it of."""
    yield StashActivations(layer, batch)
    if layer > 0:
        yield FreeActivations(layer - 1, batch)


def train(spec: ScheduleSpec, chapter: int, layer: int, bring: Move = stashed) -> Steps:
    """Let `layer` learn for the epochs of `chapter`."""
    for batch, epoch in spec.training(chapter):
        yield from _set_epoch(spec, chapter, batch)
        yield from bring(layer, batch)
        yield Forward(layer, batch)
        yield Update(layer, batch, epoch)


def pass_on(spec: ScheduleSpec, chapter: int, layer: int, bring: Move = stashed, leave: Move = stash) -> Steps:
    """Let the lessons of `chapter` go through `layer` as it is now."""
    for batch in spec.train_batches(chapter):
        yield from _set_epoch(spec, chapter, batch)
        yield from bring(layer, batch)
        yield Forward(layer, batch)
        yield from leave(layer, batch)


def finish(spec: ScheduleSpec, chapter: int) -> Steps:
    """Drop what was kept for the last layer."""
    if spec.layers > 1:
        for batch in spec.train_batches(chapter):
            yield FreeActivations(spec.layers - 2, batch)


def _set_epoch(spec: ScheduleSpec, chapter: int, batch: Batch) -> Steps:
    shard = spec.shard_of(chapter)
    if batch.index % spec.batches[shard] == 0:
        yield SetEpoch(spec.drawn(chapter, batch), chapter, shard)


def after(spec: ScheduleSpec, chapter: int) -> list[tuple[int | None, list[Batch]]]:
    """Return the sweeps through the whole network that follow a chapter: batches, and the epoch if they are learnt."""
    shard, epochs = spec.shard_of(chapter), spec.epochs_of(chapter)
    sweeps: list[tuple[int | None, list[Batch]]] = []
    if spec.head_layers:
        neutral = [Batch("neutral", index) for index in range(spec.batches[shard])]
        sweeps += [(epoch, neutral) for epoch in epochs]
    chosen = spec.chosen_after(chapter)
    if chosen is not None and spec.adaptive and spec.adaptive.scores == "goodness":
        sweeps.append((None, [Batch("candidates", index) for index in range(spec.candidate_batches[shard])]))
    return [*sweeps, (None, spec.scored_after(chapter))]


def concluding(spec: ScheduleSpec, chapter: int, batch: Batch, epoch: int | None) -> Steps:
    """Yield what follows when a batch of a sweep has passed the network: at the head, or at the last layer."""
    learnt = batch.stream in ("neutral", "joint")
    if learnt:
        assert epoch is not None
        yield UpdateHead(batch, epoch, spec.ends_epoch(chapter, batch))
    elif batch.stream != "candidates":
        yield Evaluate(batch)
    chosen = spec.chosen_after(chapter)
    if chosen is None or spec.adaptive is None:
        return
    # The head scores a sample when it last learns from it in the chapter.
    last = learnt and spec.adaptive.scores == "softmax" and epoch == spec.epochs_of(chapter)[-1]
    if batch.stream == "candidates" or last:
        yield SelectNegatives(batch, chosen)


def set_epoch(spec: ScheduleSpec, chapter: int, batches: list[Batch]) -> Steps:
    """Take the order that a sweep of training samples after `chapter` comes in."""
    if batches and batches[0].stream in ("neutral", "candidates"):
        yield SetEpoch(spec.epochs_of(chapter)[0], chapter, spec.shard_of(chapter))


def sweep_alone(spec: ScheduleSpec, chapter: int, epoch: int | None, batches: list[Batch]) -> Steps:
    """Yield a sweep after `chapter` on a rank that has the whole network."""
    yield from set_epoch(spec, chapter, batches)
    for batch in batches:
        yield BuildInput(batch)
        for layer in range(spec.layers):
            yield Forward(layer, batch)
            if layer in spec.head_layers and batch.stream in FOR_HEAD:
                yield GatherHeadInput(layer, batch)
        yield from concluding(spec, chapter, batch, epoch)
