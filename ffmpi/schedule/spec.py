"""What a schedule has to know of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from .core import CORE, Core
from .steps import FOR_HEAD, Batch, Piece, Split, Stream


@dataclass(frozen=True)
class Adaptive:
    """Negatives that are chosen by scores.

    They are for the chapter `lag` after the one whose network gave the scores; or, if they are for a batch, for the one
    after `lag` others: its neutral rows go so far ahead, with the batch that is then learnt from.
    """

    scores: Literal["goodness", "softmax"]
    lag: int


@dataclass(frozen=True)
class ScheduleSpec:
    """What a schedule has to know of a run."""

    ranks: int
    layers: int
    head_layers: tuple[int, ...]  # the layers the head reads; empty without a head
    panels: tuple[int, ...]  # of each layer
    costs: tuple[float, ...]  # share of each stage in what a rank alone computes: see `totals.stage_loads`
    depth: int
    epochs: int
    chapters: int
    batches: tuple[int, ...]  # of training, each epoch, by shard
    candidate_batches: tuple[int, ...]  # the same samples with every wrong class, by shard
    test_batches: dict[Stream, tuple[int, int]]  # how many, and every how many chapters (0: after the last only)
    save_every: int
    adaptive: Adaptive | None = None
    exchange: Literal["activations", "weights"] = "activations"
    resample: Literal["chapter", "batch"] = "chapter"  # the negatives
    scores_training: bool = False  # layers learn from what those below say for classification
    save_waits: bool = False  # nothing is learnt in the pipeline until a chapter is saved
    finishes: bool = False  # the rule has something to do at the end of an epoch
    fixed: tuple[float, ...] = ()  # what a part of each stage costs however small it is, in the same unit
    after: float = 0.0  # share of what is computed for no stage, in the same unit
    validation_batches: dict[Stream, tuple[int, int]] = field(default_factory=dict)  # as those of the test samples
    core: Core = CORE  # by whose figures the work is shared out

    @property
    def stages(self) -> int:
        """The layers, and the head if there is one."""
        return self.layers + bool(self.head_layers)

    def whole(self, owners: Sequence[int]) -> tuple[tuple[Piece, ...], ...]:
        """Return the pieces of layers that lie whole on the ranks `owners`, for `Save`."""
        return tuple((Piece(rank, 0, count),) for rank, count in zip(owners, self.panels, strict=True))

    @property
    def epochs_per_chapter(self) -> int:
        """C, the epochs in one chapter."""
        return self.epochs // self.chapters

    def epochs_of(self, chapter: int) -> range:
        """Return the epochs of a chapter."""
        return range(chapter * self.epochs_per_chapter, (chapter + 1) * self.epochs_per_chapter)

    def training(self, chapter: int) -> list[tuple[Batch, int]]:
        """Return the batches of a chapter as each layer learns from them, with their epochs.

        If negatives are resampled for each batch, every epoch has batches of its own, numbered on; otherwise the same.
        """
        epochs, count = self.epochs_of(chapter), self.batches[self.shard_of(chapter)]
        own = self.resample == "batch"
        return [(Batch("train", own * i * count + k), epoch) for i, epoch in enumerate(epochs) for k in range(count)]

    def train_batches(self, chapter: int) -> list[Batch]:
        """Return the batches of a chapter, each once."""
        return list(dict.fromkeys(batch for batch, _ in self.training(chapter)))

    def drawn(self, chapter: int, batch: Batch) -> int:
        """Return the epoch for which the order and the negatives of a batch were drawn."""
        return self.epochs_of(chapter)[0] + batch.index // self.batches[self.shard_of(chapter)]

    def shard_of(self, chapter: int) -> int:
        """Return the shard a chapter is trained on."""
        return chapter % len(self.batches)

    def due(self, every: int, chapter: int) -> bool:
        """Whether something done every `every` chapters is due after `chapter` (from 0)."""
        return chapter + 1 == self.chapters or (every > 0 and (chapter + 1) % every == 0)

    @property
    def scored(self) -> list[tuple[Split, dict[Stream, tuple[int, int]]]]:
        """The batches of samples that are only scored, by split."""
        return [("validation", self.validation_batches), ("test", self.test_batches)]

    def scored_after(self, chapter: int) -> list[Batch]:
        """Return the batches of validation and test samples to classify after `chapter`."""
        return [
            Batch(stream, index, split)
            for split, batches in self.scored
            for stream, (count, every) in batches.items()
            if self.due(every, chapter)
            for index in range(count)
        ]

    def chosen_after(self, chapter: int) -> int | None:
        """Return the chapter whose negatives are chosen by the scores of the network after `chapter`."""
        if self.adaptive is None or self.resample == "batch" or chapter + self.adaptive.lag >= self.chapters:
            return None
        return chapter + self.adaptive.lag

    def delay_of(self, ranks: int) -> str:
        """Say that `ranks` ranks wait for adaptive negatives whose lag is less than their number, if it is."""
        if self.adaptive is None or self.adaptive.lag >= ranks:
            return ""
        return f"for negatives, since negatives.lag = {self.adaptive.lag} is less than their number"

    @cached_property
    def ahead(self) -> int:
        """How many batches before a batch is learnt from its neutral rows pass."""
        return self.adaptive.lag if self.adaptive and self.resample == "batch" else 0

    def ends_pass(self, chapter: int, batch: Batch) -> bool:
        """Whether a training batch of `chapter` is the last of an epoch for the layer that learns from it."""
        return (batch.index + 1) % self.batches[self.shard_of(chapter)] == 0

    @cached_property
    def joint_for_head(self) -> int:
        """How many batches of an epoch, the first ones, bring the head neutral rows with what layers learn from."""
        return self.batches[0] - self.ahead if self.head_layers else 0

    def for_head(self, batches: Sequence[Batch]) -> list[bool]:
        """Return of each batch of a chapter schedule whether it has rows that the head reads."""
        return [bool(self.head_layers) and batch.stream in FOR_HEAD for batch in batches]
