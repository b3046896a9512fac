"""The vocabulary: what one rank does, one step after another.

A schedule knows ranks, layers, batches and chapters; it does not know MPI, NumPy or the network. The worker executes
its steps, the tests prove things about them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

#: train: the pairs of a training batch and, with a head, its neutral inputs; pairs and neutral: one of both alone;
#: softmax: neutral inputs of held-out samples; goodness: held-out samples with every class in turn.
Stream = Literal["train", "pairs", "neutral", "softmax", "goodness"]


@dataclass(frozen=True, slots=True)
class Batch:
    """The `index`-th batch of a stream."""

    stream: Stream
    index: int


@dataclass(frozen=True, slots=True)
class LinkId:
    """The directed connection that carries what `layer` puts out, or only its neutral rows, for the head."""

    source: int
    target: int
    layer: int
    neutral: bool
    depth: int  # buffers at each end


@dataclass(frozen=True, slots=True)
class Renew:
    """Draw the order of the samples and the negatives of an epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Compose:
    """Write a batch into the first layer's input."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Post:
    """Offer a buffer to an incoming link (Irecv): from now on the batch may arrive while other steps run."""

    link: LinkId
    slot: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait until the posted batch is there; it stays in its buffer until the slot is posted again."""

    link: LinkId
    slot: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Reserve:
    """Wait until what was last sent from a buffer has left, then let the link's layer write into it."""

    link: LinkId
    slot: int


@dataclass(frozen=True, slots=True)
class Send:
    """Start sending a buffer (Isend)."""

    link: LinkId
    slot: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Forward:
    """Compute a layer's activities of a batch."""

    layer: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Update:
    """Let a layer learn from the batch it has just computed, at the rate of `epoch`."""

    layer: int
    batch: Batch
    epoch: int


@dataclass(frozen=True, slots=True)
class Collect:
    """Copy the neutral rows of a layer's activities to where the head, or the link to it, takes them from."""

    layer: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Learn:
    """Let the head learn from a batch, at the rate of `epoch`."""

    batch: Batch
    epoch: int


@dataclass(frozen=True, slots=True)
class Score:
    """Read the classes of a held-out batch out of the head (softmax) or the summed goodness (goodness)."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Report:
    """Bring every rank's measurements of a chapter together on rank 0."""

    chapter: int


@dataclass(frozen=True, slots=True)
class Save:
    """Bring every layer's state together on rank 0, which writes a checkpoint: `chapter` is done."""

    chapter: int


Step = (
    Renew | Compose | Post | Receive | Reserve | Send | Forward | Update | Collect | Learn | Score | Report | Save
)  # fmt: skip
Steps = Iterator[Step]


@dataclass(frozen=True)
class Work:
    """What a schedule has to know of a run."""

    ranks: int
    layers: int
    head_layers: tuple[int, ...]  # the layers the head reads; empty without a head
    costs: tuple[float, ...]  # FLOP of a training batch for each layer, then for the head if there is one
    depth: int
    epochs: int
    chapters: int
    batches: int  # of training, each epoch
    softmax_batches: int  # held-out batches for each classifier; 0 without it
    goodness_batches: int
    softmax_every: int  # chapters between measurements, 0: after the last only
    goodness_every: int
    save_every: int

    @property
    def epochs_per_chapter(self) -> int:
        """C, the epochs in one chapter."""
        return self.epochs // self.chapters

    def due(self, every: int, chapter: int) -> bool:
        """Whether something done every `every` chapters is due after `chapter` (from 0)."""
        return chapter + 1 == self.chapters or (every > 0 and (chapter + 1) % every == 0)

    def held_out(self, chapter: int) -> list[Batch]:
        """Return the held-out batches to classify after `chapter`."""
        batches: list[Batch] = []
        if self.due(self.softmax_every, chapter):
            batches += [Batch("softmax", i) for i in range(self.softmax_batches)]
        if self.due(self.goodness_every, chapter):
            batches += [Batch("goodness", i) for i in range(self.goodness_batches)]
        return batches
