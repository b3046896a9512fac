"""Which rank owns which layers, and the links that follow from it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

from ..errors import UserError
from .spec import ScheduleSpec
from .steps import (
    FOR_HEAD,
    AddLogits,
    BuildInput,
    Evaluate,
    Forward,
    GatherHeadInput,
    HeadError,
    LinkId,
    Logits,
    Piece,
    SelectNegatives,
    StashActivations,
    Step,
    Update,
    UpdateHead,
)


def balance(costs: Sequence[float], parts: int) -> list[range]:
    """Cut `costs` into `parts` contiguous, non-empty blocks so that the dearest block is as cheap as can be.

    Dynamic programming over (blocks, items); of equally good cuts the one with the earlier blocks longest.
    """
    count = len(costs)
    sums = [0.0, *accumulate(costs)]
    # The dearest block when the first i items make so many blocks; and, by blocks, where the last of them starts.
    dearest, starts = [0.0] + [float("inf")] * count, []
    for part in range(1, parts + 1):
        now, cuts = [float("inf")] * (count + 1), [0] * (count + 1)
        for end in range(part, count + 1):
            # With its start what lies before it gets dearer, and the last block itself cheaper: where they cross.
            start = bisect_left(range(part - 1, end), True, key=lambda i: dearest[i] > sums[end] - sums[i]) + part - 2
            if start + 1 < end and (start < part - 1 or dearest[start + 1] <= sums[end] - sums[start]):
                start = bisect_right(dearest, dearest[start + 1], start + 1, end) - 1
            now[end], cuts[end] = max(dearest[start], sums[end] - sums[start]), start
        dearest = now
        starts.append(cuts)
    blocks: list[range] = []
    end = count
    for cuts in reversed(starts):
        blocks.append(range(cuts[end], end))
        end = cuts[end]
    return blocks[::-1]


class Placement:
    """Each rank's contiguous block of stages, whole layers and the head."""

    name = "single-layer"

    def __init__(self, spec: ScheduleSpec, first: int = 0) -> None:
        """Place the stages of `work`, which begins with chapter `first`; UserError for more ranks than stages."""
        self.spec, self.first = spec, first
        if spec.ranks > spec.stages:
            head = " and the softmax head" if spec.head_layers else ""
            raise UserError(
                f"{spec.ranks} ranks for {spec.layers} layers{head}: schedule '{self.name}' can use at most "
                f"{spec.stages}; start {spec.stages} ranks or fewer"
            )
        self.blocks = balance(spec.costs, spec.ranks)

    def trained(self, rank: int) -> list[int]:
        """Return the stages that `rank` trains."""
        return list(self.blocks[rank])

    def computed(self, rank: int) -> list[int]:
        """Return the layers whose activations `rank` computes."""
        return self.layers(rank)

    def shards(self, rank: int) -> list[int]:
        """Return the shards that `rank` reads."""
        return [0]

    def layers(self, rank: int) -> list[int]:
        """Return the layers of `rank`."""
        return [stage for stage in self.blocks[rank] if stage < self.spec.layers]

    def rank_of(self, stage: int) -> int:
        """Return the rank of a layer, or of the head for ``work.layers``."""
        return next(rank for rank, block in enumerate(self.blocks) if stage in block)

    def pieces(self, rank: int) -> dict[int, range]:
        """Return the panels of the layers that `rank` computes: all of them."""
        return {layer: range(self.spec.panels[layer]) for layer in self.computed(rank)}

    @cached_property
    def owners(self) -> tuple[tuple[Piece, ...], ...]:
        """Each layer's rank."""
        return self.spec.whole([self.rank_of(layer) for layer in range(self.spec.layers)])

    @property
    def head(self) -> int | None:
        """The rank of the head, if there is one."""
        return self.rank_of(self.spec.layers) if self.spec.head_layers else None

    @property
    def chooser(self) -> int:
        """The rank that chooses adaptive negatives: the head's, or for those by goodness the last layer's."""
        adaptive = self.spec.adaptive
        by_head = adaptive is not None and adaptive.scores == "softmax"
        return self.rank_of(self.spec.layers) if by_head else self.rank_of(self.spec.layers - 1)

    def stage_of(self, step: Step) -> int | None:
        """Return the stage whose rank computes `step`."""
        match step:
            case BuildInput():
                return 0
            case Forward(layer) | Update(layer) | GatherHeadInput(layer) | StashActivations(layer):
                return layer
            case Logits() | AddLogits() | HeadError() | UpdateHead():
                return self.spec.layers
            case Evaluate() | SelectNegatives():
                by_head = self.spec.head_layers and step.batch.stream in FOR_HEAD
                return self.spec.layers if by_head else self.spec.layers - 1
        return None

    @cached_property
    def flow(self) -> list[LinkId]:
        """The links of a sweep: layer to layer where a block ends, and layer to head where another rank has the head.

        A link that skips ranks gets a buffer more for each, since its batch waits for the others to do theirs.
        """
        links: list[LinkId] = []
        depth = self.spec.depth
        for layer in range(self.spec.layers):
            source = self.rank_of(layer)
            if layer + 1 < self.spec.layers and (target := self.rank_of(layer + 1)) != source:
                links.append(LinkId(source, target, "activations", layer, depth, depth))
            if layer in self.spec.head_layers and self.head is not None and self.head != source:
                more = depth + self.head - source - 1
                links.append(LinkId(source, self.head, "neutral", layer, more, more))
        return links
