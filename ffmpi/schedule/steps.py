"""The vocabulary: what one rank does, one step after another.

A schedule knows ranks, layers, batches and chapters; it does not know MPI, NumPy or the network. The worker executes
its steps, the tests prove things about them.

A *stage* is a layer, by its index from 0, or the softmax head, which comes after the last layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

#: Of training samples. lesson: what layers learn from, the positives and negatives or the plain images; neutral: what
#: the head learns from; train: a lesson and, with a head, the neutral inputs; candidates: samples with every class.
#: Of held-out samples. softmax: neutral inputs for the head; goodness: samples with every class; local: plain images.
Stream = Literal["lesson", "neutral", "train", "candidates", "softmax", "goodness", "local"]
FOR_HEAD = ("neutral", "train", "softmax")
HELD_OUT = ("softmax", "goodness", "local")


@dataclass(frozen=True, slots=True)
class Batch:
    """The `index`-th batch of a stream."""

    stream: Stream
    index: int


@dataclass(frozen=True, slots=True)
class State:
    """A stage's weights (and moments) as they are after `chapter`."""

    stage: int
    chapter: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The adaptive negatives that were chosen for `chapter`, or for one batch of the running epoch."""

    chapter: int
    batch: int | None = None


Item = Batch | State | Choice

#: What a link carries: a layer's activities; the same for lessons, with room for a whole chapter of them; only their
#: neutral rows, for the head; a stage's whole state; a layer's weights to compute with; adaptive negatives.
Cargo = Literal["activations", "lessons", "neutral", "state", "weights", "negatives"]


@dataclass(frozen=True, slots=True)
class LinkId:
    """The directed connection that carries what belongs to `stage` from one rank to another."""

    source: int
    target: int
    cargo: Cargo
    stage: int
    depth: int  # buffers at the source, used in turn
    room: int  # and at the target


@dataclass(frozen=True, slots=True)
class Renew:
    """Take the order of the samples of `epoch` and the negatives of `chapter`, of those in `shard`."""

    epoch: int
    chapter: int
    shard: int = 0


@dataclass(frozen=True, slots=True)
class Compose:
    """Write a batch into the first layer's input."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Post:
    """Offer a buffer to an incoming link (Irecv): from now on the item may arrive while other steps run."""

    link: LinkId
    slot: int
    item: Item


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait until the posted item is there and use it; it stays in its buffer until the slot is posted again."""

    link: LinkId
    slot: int
    item: Item


@dataclass(frozen=True, slots=True)
class Again:
    """Use a batch once more that was received and is still in its buffer."""

    link: LinkId
    slot: int
    item: Item


@dataclass(frozen=True, slots=True)
class Reserve:
    """Wait until what was last sent from a buffer has left; the link's layer puts its next output there."""

    link: LinkId
    slot: int


@dataclass(frozen=True, slots=True)
class Send:
    """Start sending a buffer (Isend)."""

    link: LinkId
    slot: int
    item: Item


@dataclass(frozen=True, slots=True)
class Forward:
    """Compute a layer's activities of a batch, with its weights as they were after `chapter`, or else are now."""

    layer: int
    batch: Batch
    chapter: int | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Let a layer learn from the batch it has just computed, at the rate of `epoch`."""

    layer: int
    batch: Batch
    epoch: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave what a layer has put out in memory, to be taken again as often as wanted."""

    layer: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Take:
    """Take what was kept."""

    layer: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Drop:
    """Keep it no longer."""

    layer: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Remember:
    """Copy a stage's state after `chapter`, which is going to change before all is done that needs it."""

    stage: int
    chapter: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Let go of what was remembered."""

    stage: int
    chapter: int


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
class Choose:
    """Choose the negatives for `chapter` of a batch's samples by the scores it has just been given.

    With `index` only for that batch of the running epoch, whose neutral inputs came with this one.
    """

    batch: Batch
    chapter: int
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """Read the classes of a held-out batch out of the head (softmax), the goodness or the layers' classifiers."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Report:
    """Send rank 0 this rank's measurements of a chapter."""

    chapter: int


@dataclass(frozen=True, slots=True)
class Record:
    """Bring the measurements of a chapter from `ranks` together, on rank 0."""

    chapter: int
    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Save:
    """Bring the state after `chapter` together on rank 0, which writes a checkpoint; `owners` has each stage's rank."""

    chapter: int
    owners: tuple[int, ...]


Step = (
    Renew | Compose | Post | Receive | Again | Reserve | Send | Forward | Update | Keep | Take | Drop | Remember
    | Forget | Collect | Learn | Choose | Score | Report | Record | Save
)  # fmt: skip
Steps = Iterator[Step]


@dataclass(frozen=True)
class Adaptive:
    """Negatives that are chosen by scores.

    They are for the chapter `lag` after the one whose network gave the scores; or, with `each_batch`, for the batch
    after `lag` others: its neutral inputs go so far ahead, with the lesson of the batch that is then learnt.
    """

    scores: Literal["goodness", "softmax"]
    lag: int
    each_batch: bool = False


@dataclass(frozen=True)
class Work:
    """What a schedule has to know of a run."""

    ranks: int
    layers: int
    head_layers: tuple[int, ...]  # the layers the head reads; empty without a head
    costs: tuple[float, ...]  # FLOP of a training batch for each stage
    depth: int
    epochs: int
    chapters: int
    batches: tuple[int, ...]  # of training, each epoch, by shard
    candidate_batches: tuple[int, ...]  # the same samples with every class, by shard
    held_out_batches: dict[Stream, tuple[int, int]]  # how many, and every how many chapters (0: after the last only)
    save_every: int
    adaptive: Adaptive | None = None
    exchange: Literal["activations", "weights"] = "activations"
    redraw: Literal["chapter", "batch"] = "chapter"  # the negatives

    @property
    def stages(self) -> int:
        """The layers, and the head if there is one."""
        return self.layers + bool(self.head_layers)

    @property
    def epochs_per_chapter(self) -> int:
        """C, the epochs in one chapter."""
        return self.epochs // self.chapters

    def epochs_of(self, chapter: int) -> range:
        """Return the epochs of a chapter."""
        return range(chapter * self.epochs_per_chapter, (chapter + 1) * self.epochs_per_chapter)

    def training(self, chapter: int) -> list[tuple[Batch, int]]:
        """Return the lessons of a chapter as each layer learns from them, with their epochs.

        If each batch has its own negatives every epoch has lessons of its own, numbered on; otherwise they come again.
        """
        epochs, count = self.epochs_of(chapter), self.batches[self.shard_of(chapter)]
        own = self.redraw == "batch"
        return [(Batch("lesson", own * i * count + k), epoch) for i, epoch in enumerate(epochs) for k in range(count)]

    def lessons(self, chapter: int) -> list[Batch]:
        """Return the lessons of a chapter, each once."""
        return list(dict.fromkeys(batch for batch, _ in self.training(chapter)))

    def drawn(self, chapter: int, batch: Batch) -> int:
        """Return the epoch for which the order and the negatives of a lesson were drawn."""
        return self.epochs_of(chapter)[0] + batch.index // self.batches[self.shard_of(chapter)]

    def shard_of(self, chapter: int) -> int:
        """Return the shard a chapter is trained on."""
        return chapter % len(self.batches)

    def due(self, every: int, chapter: int) -> bool:
        """Whether something done every `every` chapters is due after `chapter` (from 0)."""
        return chapter + 1 == self.chapters or (every > 0 and (chapter + 1) % every == 0)

    def held_out(self, chapter: int) -> list[Batch]:
        """Return the held-out batches to classify after `chapter`."""
        return [
            Batch(stream, index)
            for stream, (count, every) in self.held_out_batches.items()
            if self.due(every, chapter)
            for index in range(count)
        ]

    def chosen_after(self, chapter: int) -> int | None:
        """Return the chapter whose negatives are chosen by the scores of the network after `chapter`."""
        if self.adaptive is None or self.adaptive.each_batch or chapter + self.adaptive.lag >= self.chapters:
            return None
        return chapter + self.adaptive.lag

    @property
    def ahead(self) -> int:
        """How many batches before its lesson the neutral inputs of a batch come."""
        return self.adaptive.lag if self.adaptive and self.adaptive.each_batch else 0

    def for_head(self, batch: Batch) -> bool:
        """Whether a batch has rows that the head reads."""
        late = batch.stream == "train" and batch.index + self.ahead >= self.batches[0]
        return bool(self.head_layers) and batch.stream in FOR_HEAD and not late
