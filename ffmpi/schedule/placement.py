"""Which rank owns which layers, and the links that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from ..errors import UserError
from .spec import ScheduleSpec
from .steps import LinkId


def balance(costs: Sequence[float], parts: int) -> list[range]:
    """Cut `costs` into `parts` contiguous, non-empty blocks so that the dearest block is as cheap as can be.

    Dynamic programming over (blocks, items); of equally good cuts the one with the earlier blocks longest.
    """
    count = len(costs)
    sums = [0.0]
    for cost in costs:
        sums.append(sums[-1] + cost)
    # best[p][i]: the dearest block when the first i items make p blocks, and where the last block starts.
    best = [[(float("inf"), 0)] * (count + 1) for _ in range(parts + 1)]
    best[0][0] = (0.0, 0)
    for part in range(1, parts + 1):
        for end in range(part, count + 1):
            best[part][end] = min(
                ((max(best[part - 1][start][0], sums[end] - sums[start]), start) for start in range(part - 1, end)),
                key=lambda pair: (pair[0], -pair[1]),
            )
    blocks: list[range] = []
    end = count
    for part in range(parts, 0, -1):
        start = best[part][end][1]
        blocks.append(range(start, end))
        end = start
    return blocks[::-1]


class Placement:
    """Each rank's contiguous block of stages; what schedules `pipeline` and `single-layer` share."""

    name = "pipeline"

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

    @property
    def owners(self) -> tuple[int, ...]:
        """Each stage's rank."""
        return tuple(self.rank_of(stage) for stage in range(self.spec.stages))

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

    @property
    def bound(self) -> float:
        """The speed-up over one rank that the balance of the costs allows."""
        costs = self.spec.costs
        return sum(costs) / max(sum(costs[stage] for stage in block) for block in self.blocks)

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
