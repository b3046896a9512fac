"""How many bytes the pipeline's messages have, from shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import steps as s
from .core import PANEL
from .cost import Rows
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
    shares : of each layer the numbers that its learning rule adds up over the units, beside sums of squares
    """

    batches: Mapping[tuple[s.Split, s.Stream], Rows]
    classes: int
    shares: tuple[int, ...]

    def of(self, plan: Pipeline, link: s.LinkId, item: s.Item) -> int:
        """Return the bytes of a message."""
        if isinstance(item, s.Selection):
            return int(self.batches["train", "joint"].samples) * (1 if self.classes <= 256 else 2)
        assert isinstance(item, s.Batch)
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
