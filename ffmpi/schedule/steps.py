"""The vocabulary: what one rank does, one step after another.

A schedule knows ranks, layers, batches and chapters; it does not know MPI, NumPy or the network. The worker executes
its steps, the tests prove things about them. Steps are msgspec's structs, which are made and compared without Python.

A *stage* is a layer, by its index from 0, or the softmax head, which comes after the last layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

#: Of training samples. train: what layers learn from, positives and negatives or plain images; neutral: what the head
#: learns from; joint: rows to learn from and, with a head, neutral ones; candidates: samples with every wrong class.
#: Of samples that are only scored. softmax: neutral rows for the head; goodness: samples with every class; plain:
#: images without label.
Stream = Literal["train", "neutral", "joint", "candidates", "softmax", "goodness", "plain"]
FOR_HEAD = ("neutral", "joint", "softmax")
LEARNT = ("train", "joint")  # by layers
LAYERS_SCORED = ("candidates", "goodness", "plain")  # by what layers say
SCORED = ("softmax", "goodness", "plain")
#: What is learnt from, what recipes are chosen by, and what the result is measured on.
Split = Literal["train", "validation", "test"]


class Batch(Struct, frozen=True, gc=False):
    """The `index`-th batch of a stream of one split's samples."""

    stream: Stream
    index: int
    split: Split = "train"


class State(Struct, frozen=True, gc=False):
    """A stage's weights (and moments) as they are after `chapter`."""

    stage: int
    chapter: int


class Selection(Struct, frozen=True, gc=False):
    """The adaptive negatives that were chosen for `chapter`, or for one batch of the running epoch."""

    chapter: int
    batch: int | None = None


Item = Batch | State | Selection

#: What a link carries: a layer's activations; the same of what the next layer learns from, into buffers for a whole
#: chapter; only their neutral rows, for the head; a stage's whole state; a layer's weights to compute with; adaptive
#: negatives.
Payload = Literal["activations", "chapter", "neutral", "state", "weights", "negatives"]


class LinkId(Struct, frozen=True, gc=False):
    """The directed connection that carries what belongs to `stage` from one rank to another."""

    source: int
    target: int
    payload: Payload
    stage: int
    send_buffers: int  # buffers at the source, used in turn
    receive_buffers: int  # and at the target


class SetEpoch(Struct, frozen=True, gc=False):
    """Take the order of the samples of `epoch` and the negatives of `chapter`, of those in `shard`."""

    epoch: int
    chapter: int
    shard: int = 0


class BuildInput(Struct, frozen=True, gc=False):
    """Write a batch into the first layer's input."""

    batch: Batch


class Post(Struct, frozen=True, gc=False):
    """Offer a buffer to an incoming link (Irecv): from now on the item may arrive while other steps run."""

    link: LinkId
    buffer: int
    item: Item


class Receive(Struct, frozen=True, gc=False):
    """Wait until the posted item is there and use it; it stays in its buffer until the buffer is posted again."""

    link: LinkId
    buffer: int
    item: Item


class Reuse(Struct, frozen=True, gc=False):
    """Use a batch once more that was received and is still in its buffer."""

    link: LinkId
    buffer: int
    item: Item


class Reserve(Struct, frozen=True, gc=False):
    """Wait until what was last sent from a buffer has left; the link's layer puts its next output there."""

    link: LinkId
    buffer: int


class Send(Struct, frozen=True, gc=False):
    """Start sending a buffer (Isend)."""

    link: LinkId
    buffer: int
    item: Item


class Forward(Struct, frozen=True, gc=False):
    """Compute a layer's activations of a batch, with its weights as they were after `chapter`, or else are now.

    With `epoch` the layer is about to learn from them in that epoch.
    """

    layer: int
    batch: Batch
    chapter: int | None = None
    epoch: int | None = None


class Update(Struct, frozen=True, gc=False):
    """Let a layer learn from the batch it has just computed, at the rate of `epoch`."""

    layer: int
    batch: Batch
    epoch: int


class FinishEpoch(Struct, frozen=True, gc=False):
    """Let a layer's learning rule do what is due when the layer has learnt from all batches of `epoch`."""

    layer: int
    epoch: int


class StashActivations(Struct, frozen=True, gc=False):
    """Leave a layer's output in memory, to be loaded as often as wanted."""

    layer: int
    batch: Batch


class LoadActivations(Struct, frozen=True, gc=False):
    """Use a stashed output as the next layer's input."""

    layer: int
    batch: Batch


class FreeActivations(Struct, frozen=True, gc=False):
    """Free a stashed output."""

    layer: int
    batch: Batch


class TakeSnapshot(Struct, frozen=True, gc=False):
    """Copy a stage's state after `chapter`, which changes before all is done that needs it."""

    stage: int
    chapter: int


class FreeSnapshot(Struct, frozen=True, gc=False):
    """Free a snapshot."""

    stage: int
    chapter: int


class GatherHeadInput(Struct, frozen=True, gc=False):
    """Copy the neutral rows of a layer's activations to where the head, or the link to it, takes them from."""

    layer: int
    batch: Batch


class UpdateHead(Struct, frozen=True, gc=False):
    """Let the head learn from a batch, at the rate of `epoch`; `last` says that it is the epoch's last one."""

    batch: Batch
    epoch: int
    last: bool


class SelectNegatives(Struct, frozen=True, gc=False):
    """Choose the negatives for `chapter` of a batch's samples by the scores it has just been given.

    With `index` only for that batch of the running epoch, whose neutral rows passed with this one.
    """

    batch: Batch
    chapter: int
    index: int | None = None


class Evaluate(Struct, frozen=True, gc=False):
    """Classify a batch of validation or test samples by the head (softmax), the goodness or the layers' classifiers."""

    batch: Batch


class Report(Struct, frozen=True, gc=False):
    """Send rank 0 this rank's measurements of a chapter."""

    chapter: int


class Record(Struct, frozen=True, gc=False):
    """Bring the measurements of a chapter from `ranks` together, on rank 0."""

    chapter: int
    ranks: tuple[int, ...]


class Save(Struct, frozen=True, gc=False):
    """Bring the state after `chapter` together on rank 0, which writes a checkpoint; `owners` has each stage's rank."""

    chapter: int
    owners: tuple[int, ...]


Step = (
    SetEpoch | BuildInput | Post | Receive | Reuse | Reserve | Send | Forward | Update | FinishEpoch | StashActivations
    | LoadActivations | FreeActivations | TakeSnapshot | FreeSnapshot | GatherHeadInput
    | UpdateHead | SelectNegatives | Evaluate | Report | Record | Save
)  # fmt: skip
Steps = Iterator[Step]
#: The same in portions, mostly one a batch: a schedule that makes so many at once is asked less often.
Portions = Iterator[list[Step]]
