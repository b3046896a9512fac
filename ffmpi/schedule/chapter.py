"""What the schedules of the paper's chapter algorithm share: how one layer, and the head, is trained for a chapter.

A layer trains its C epochs on the outputs of the layers before it, which are trained already; then it passes the
chapter's batches on. After the last layer come the head, the scores for later negatives, and the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .spec import ScheduleSpec
from .steps import (
    FOR_HEAD,
    AddLogits,
    Batch,
    BuildInput,
    Evaluate,
    FinishEpoch,
    Forward,
    FreeActivations,
    GatherHeadInput,
    HeadError,
    LoadActivations,
    Logits,
    Portions,
    SelectNegatives,
    SetEpoch,
    StashActivations,
    Step,
    Update,
    UpdateHead,
)

#: Steps that bring a batch to a layer, or take its output away.
Move = Callable[[int, Batch], list[Step]]


def stashed(layer: int, batch: Batch) -> list[Step]:
    """Bring `layer` a batch that this rank builds, or has stashed behind the layer before."""
    return [BuildInput(batch) if layer == 0 else LoadActivations(layer - 1, batch)]


def stash(layer: int, batch: Batch) -> list[Step]:
    """Stash the output of `layer` for a batch, and free its input."""
    return [StashActivations(layer, batch), *([FreeActivations(layer - 1, batch)] if layer > 0 else [])]


def train(spec: ScheduleSpec, chapter: int, layer: int, bring: Move = stashed) -> Portions:
    """Let `layer` learn for the epochs of `chapter`."""
    for batch, epoch in spec.training(chapter):
        yield [
            *_set_epoch(spec, chapter, batch),
            *bring(layer, batch),
            Forward(layer, batch, epoch=epoch),
            Update(layer, batch, epoch),
            *([FinishEpoch(layer, epoch)] if spec.finishes and spec.ends_pass(chapter, batch) else []),
        ]


def pass_on(spec: ScheduleSpec, chapter: int, layer: int, bring: Move = stashed, leave: Move = stash) -> Portions:
    """Let the batches of `chapter` go through `layer` as it is now."""
    for batch in spec.train_batches(chapter):
        yield [
            *_set_epoch(spec, chapter, batch),
            *bring(layer, batch),
            Forward(layer, batch),
            *leave(layer, batch),
        ]


def finish(spec: ScheduleSpec, chapter: int) -> list[Step]:
    """Free what was stashed for the last layer."""
    if spec.layers == 1:
        return []
    return [FreeActivations(spec.layers - 2, batch) for batch in spec.train_batches(chapter)]


def _set_epoch(spec: ScheduleSpec, chapter: int, batch: Batch) -> list[Step]:
    shard = spec.shard_of(chapter)
    if batch.index % spec.batches[shard]:
        return []
    return [SetEpoch(spec.drawn(chapter, batch), chapter, shard)]


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


def conclusions(
    spec: ScheduleSpec, chapter: int, batches: Sequence[Batch], epoch: int | None
) -> dict[Batch, list[Step]]:  # fmt: skip
    """Return what follows when each batch of a sweep has passed the network: at the head, or at the last layer."""
    chosen, count = spec.chosen_after(chapter), spec.batches[spec.shard_of(chapter)]
    # The head scores a sample when it last learns from it in the chapter.
    by_head = spec.adaptive is not None and spec.adaptive.scores == "softmax" and epoch == spec.epochs_of(chapter)[-1]
    found: dict[Batch, list[Step]] = {}
    for batch in batches:
        steps = found[batch] = []
        learnt = batch.stream == "neutral"
        if batch.stream in FOR_HEAD:
            steps += [*(Logits(layer, batch) for layer in spec.head_layers), AddLogits(batch)]
        if learnt:
            assert epoch is not None
            steps += [HeadError(batch, epoch), UpdateHead(batch, epoch, batch.index + 1 == count)]
        elif batch.stream != "candidates":
            steps.append(Evaluate(batch))
        if chosen is not None and (batch.stream == "candidates" or (learnt and by_head)):
            steps.append(SelectNegatives(batch, chosen))
    return found


def set_epoch(spec: ScheduleSpec, chapter: int, batches: list[Batch]) -> list[Step]:
    """Take the order that a sweep of training samples after `chapter` comes in."""
    if batches and batches[0].stream in ("neutral", "candidates"):
        return [SetEpoch(spec.epochs_of(chapter)[0], chapter, spec.shard_of(chapter))]
    return []


def sweep_alone(spec: ScheduleSpec, chapter: int, epoch: int | None, batches: list[Batch]) -> Portions:
    """Yield a sweep after `chapter` on a rank that has the whole network."""
    yield set_epoch(spec, chapter, batches)
    for batch, conclusion in conclusions(spec, chapter, batches, epoch).items():
        steps: list[Step] = [BuildInput(batch)]
        for layer in range(spec.layers):
            steps.append(Forward(layer, batch))
            if layer in spec.head_layers and batch.stream in FOR_HEAD:
                steps.append(GatherHeadInput(layer, batch))
        yield [*steps, *conclusion]
