"""The vocabulary: what one rank does, one step after another.

A schedule knows ranks, layers, batches and chapters; it does not know MPI, NumPy or the network. The worker executes
its steps, the tests prove things about them. Steps are msgspec's structs, which are made and compared without Python.

A *stage* is a layer, by its index from 0, or the softmax head, which comes after the last layer. A layer's units come
in panels of 16, and a *piece* is a range of a layer's panels, on one rank. A rank has at most one piece of a layer, so
a step that names a layer is about the rank's piece of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

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
    """The `index`-th batch of a stream of one split's samples.

    `epoch` says whose order of the samples, negatives and chapter are meant; -1: those of the last SetEpoch.
    """

    stream: Stream
    index: int
    split: Split = "train"
    epoch: int = -1


class State(Struct, frozen=True, gc=False):
    """A stage's weights (and moments) as they are after `chapter`."""

    stage: int
    chapter: int


class Selection(Struct, frozen=True, gc=False):
    """The adaptive negatives that were chosen for `chapter`, or for one batch of `epoch`."""

    chapter: int
    batch: int | None = None
    epoch: int = -1


class Piece(Struct, frozen=True, gc=False):
    """The panels from `first` to before `stop` of a layer, on `rank`."""

    rank: int
    first: int
    stop: int


Item = Batch | State | Selection

#: What a link carries.
#: Of the pipeline. activations: a piece's; sums: its nodes of the sums over a layer's units; logits: its nodes of the
#: head's logits; error: the derivative of the head's loss; scores: what the layers up to one say for classification;
#: negatives: adaptive ones.
#: Of the other schedules. activations: a layer's; chapter: the same of what the next layer learns from, into buffers
#: for a whole chapter; neutral: only the rows that the head reads; state: a stage's; weights: a layer's, to use them.
Payload = Literal[
    "activations", "sums", "scores", "logits", "error", "negatives", "chapter", "neutral", "state", "weights"
]  # fmt: skip
_NUMBERS = {payload: number for number, payload in enumerate(get_args(Payload))}


class LinkId(Struct, frozen=True, gc=False):
    """The directed connection that carries what belongs to `stage` from one rank to another."""

    source: int
    target: int
    payload: Payload
    stage: int
    send_buffers: int  # buffers at the source, used in turn
    receive_buffers: int  # and at the target


def tag_of(link: LinkId) -> int:
    """Return a number that no other link from the same source to the same target has; small, as MPI's tags must be."""
    return link.stage * len(_NUMBERS) + _NUMBERS[link.payload]


class SetEpoch(Struct, frozen=True, gc=False):
    """Take the order of the samples of `epoch` and the negatives of `chapter`, of those in `shard`.

    Batches that name an earlier epoch go on meaning theirs until FreeEpoch.
    """

    epoch: int
    chapter: int
    shard: int = 0


class FreeEpoch(Struct, frozen=True, gc=False):
    """Let go of an epoch's order and negatives: no batch of it is to come on this rank.

    If it was set again meanwhile it stays until it is freed as often.
    """

    epoch: int


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

    In the pipeline the activations of each layer have a ring of buffers on a rank (`Pipeline.buffers`), in which a
    batch's pieces come together, whichever ranks they are from. The input lies in buffer `source` of the ring of the
    layer before (of layer 0: in the rank's only input), the output goes into buffer `target` of the layer's own. A
    piece also leaves its nodes of the layer's sums there, to be sent. The other schedules leave 0: there a layer's
    output goes into the buffer last reserved, or the layer's own, and the next layer's input is what was last received,
    or that.
    """

    layer: int
    batch: Batch
    chapter: int | None = None
    epoch: int | None = None
    source: int = 0
    target: int = 0


class AddSums(Struct, frozen=True, gc=False):
    """Complete a layer's sums of a batch from the nodes of all its pieces, in buffer `buffer` of the layer's ring."""

    layer: int
    batch: Batch
    buffer: int = 0


class AddScore(Struct, frozen=True, gc=False):
    """Add what a layer says of a batch for classification to what the layers below say; for the buffers see Forward.

    The sums of the layer are complete. One rank does it, the first that has a piece of the layer.
    """

    layer: int
    batch: Batch
    source: int = 0
    target: int = 0


class Update(Struct, frozen=True, gc=False):
    """Let a layer learn from the batch it has computed, at the rate of `epoch`; for the buffers see Forward."""

    layer: int
    batch: Batch
    epoch: int
    source: int = 0
    target: int = 0


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
    """Copy what this rank has of a stage's state after `chapter`; it changes before all is done that needs it."""

    stage: int
    chapter: int


class FreeSnapshot(Struct, frozen=True, gc=False):
    """Free a snapshot."""

    stage: int
    chapter: int


class GatherHeadInput(Struct, frozen=True, gc=False):
    """Copy the neutral rows of a layer's activations to where the head, or the link to it, takes them from.

    In the pipeline from buffer `source` of the layer's ring to buffer `target` of those that the head's rows of all of
    this rank's pieces have (`Pipeline.head_buffers`).
    """

    layer: int
    batch: Batch
    source: int = 0
    target: int = 0


class Logits(Struct, frozen=True, gc=False):
    """Compute a layer's share of the head's logits, from gathered rows in buffer `source`, into buffer `target`.

    With them go the sums of squares of these rows: they are nodes, to be sent to the head's home or added up there.
    """

    layer: int
    batch: Batch
    source: int = 0
    target: int = 0


class AddLogits(Struct, frozen=True, gc=False):
    """Complete the head's logits from the shares of all layers in buffer `buffer`, which are all here."""

    batch: Batch
    buffer: int = 0


class HeadError(Struct, frozen=True, gc=False):
    """Find the head's loss of the logits, and its derivative, which goes into buffer `target`."""

    batch: Batch
    epoch: int
    target: int = 0


class UpdateHead(Struct, frozen=True, gc=False):
    """Let the head learn from a batch, at the rate of `epoch`; `last` says that it is the epoch's last one.

    That is: the head's weights of all layers that this rank has, from the error in buffer `buffer` and the gathered
    rows in buffer `source`.
    """

    batch: Batch
    epoch: int
    last: bool
    source: int = 0
    buffer: int = 0


class SelectNegatives(Struct, frozen=True, gc=False):
    """Choose the negatives for `chapter` of a batch's samples by the scores it has just been given.

    With `index` only for that batch of the same epoch, whose neutral rows passed with this one. `buffer` of the last
    layer's ring has what the layers say of `candidates`.
    """

    batch: Batch
    chapter: int
    index: int | None = None
    buffer: int = 0


class Evaluate(Struct, frozen=True, gc=False):
    """Classify a batch of validation or test samples: by the head's logits, or by what the layers say.

    The latter is in buffer `buffer` of the last layer's ring.
    """

    batch: Batch
    buffer: int = 0


class Report(Struct, frozen=True, gc=False):
    """Send rank 0 this rank's measurements of a chapter."""

    chapter: int


class Record(Struct, frozen=True, gc=False):
    """Bring the measurements of a chapter from `ranks` together, on rank 0."""

    chapter: int
    ranks: tuple[int, ...]


class Save(Struct, frozen=True, gc=False):
    """Bring the state after `chapter` together on rank 0, which writes a checkpoint.

    `pieces` has each layer's in order; the head's weights of a layer lie with the layer's, or all of them on rank
    `head`.
    """

    chapter: int
    pieces: tuple[tuple[Piece, ...], ...]
    head: int | None = None


Step = (
    SetEpoch | FreeEpoch | BuildInput | Post | Receive | Reuse | Reserve | Send | Forward | AddSums | AddScore
    | Update | FinishEpoch | StashActivations | LoadActivations | FreeActivations | TakeSnapshot | FreeSnapshot
    | GatherHeadInput | Logits | AddLogits | HeadError | UpdateHead | SelectNegatives | Evaluate | Report | Record
    | Save
)  # fmt: skip
Steps = Iterator[Step]
#: The same in portions, mostly one a batch: a schedule that makes so many at once is asked less often.
Portions = Iterator[list[Step]]
