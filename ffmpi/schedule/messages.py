"""How many bytes messages have, from shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import steps as s
from .core import PANEL
from .cost import Rows
from .interface import Schedule
from .pipeline import Pipeline

_FLOAT = 4  # bytes


def _padded(rows: float, to: int) -> int:
    return -(-int(rows) // to) * to


@dataclass(frozen=True)
class MessageSizes:
    """What the messages of a run hold.

    Attributes
    ----------
    batches : what the batches of each split and stream hold
    classes : how many there are
    samples : to learn from
    shares : of each layer the numbers that its learning rule adds up over the units, beside sums of squares
    outputs : the bytes of each layer's output in the memory that the chapter schedules send it from
    neutral : the bytes of the rows of each layer that the head reads, in the same
    states, weights : the bytes of each stage's state, and of what a forward needs of it
    saved : the bytes of all arrays of a checkpoint
    in_place : whether ranks of a host read each other's activations in the pipeline where they are
    """

    batches: Mapping[tuple[s.Split, s.Stream], Rows]
    classes: int
    samples: int
    shares: tuple[int, ...]
    outputs: tuple[int, ...]
    neutral: tuple[int, ...]
    states: tuple[int, ...]
    weights: tuple[int, ...]
    saved: int
    in_place: bool = False

    def of(self, plan: Schedule, link: s.LinkId, item: s.Item, same_host: bool = False) -> int:
        """Return the bytes of a message, between two ranks of the same host or of two."""
        if isinstance(item, s.Selection):
            chosen = self.samples if item.batch is None else self.batches["train", "joint"].samples
            return int(chosen) * (1 if self.classes <= 256 else 2)
        if isinstance(plan, Pipeline):
            assert isinstance(item, s.Batch)
            if self.in_place and same_host and link.payload == "activations":
                return 0
            return self._of_pieces(plan, link, item)
        each = {"state": self.states, "weights": self.weights, "neutral": self.neutral}
        return each.get(link.payload, self.outputs)[link.stage]

    def _of_pieces(self, plan: Pipeline, link: s.LinkId, item: s.Batch) -> int:
        size, layer = self.batches[item.split, item.stream], link.stage
        squares, of_head = _padded(size.rows, PANEL), _padded(size.samples, PANEL)
        logits = _padded(self.classes, PANEL) * _padded(size.samples, 8)
        if link.payload == "error":
            read = sum(layer in plan.spec.head_layers for layer in plan.pieces(link.target))
            return _FLOAT * (logits + read * of_head)
        if link.payload == "scores":
            return _FLOAT * squares
        piece = plan.pieces(link.source)[layer]
        if link.payload == "activations":
            return _FLOAT * len(piece) * PANEL * _padded(size.rows, 8)
        nodes = plan.nodes(link.source, layer)
        if link.payload == "logits":
            return _FLOAT * nodes * (of_head + logits)
        shared = layer in plan.pieces(link.target)  # only those who share the layer learn from the rest
        return _FLOAT * nodes * (squares + (self.shares[layer] if shared else 0))
