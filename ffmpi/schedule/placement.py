"""Which rank owns which layers, and the links that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import UserError
from .steps import LinkId, Work


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


@dataclass(frozen=True)
class Placement:
    """Each rank's contiguous block of layers; the head, if there is one, comes after the last layer."""

    work: Work

    @cached_property
    def blocks(self) -> list[range]:
        """Return the stages of each rank: layer numbers, and ``work.layers`` for the head."""
        stages, ranks = len(self.work.costs), self.work.ranks
        if ranks > stages:
            head = " and the softmax head" if self.work.head_layers else ""
            raise UserError(
                f"{ranks} ranks for {self.work.layers} layers{head}: schedule 'pipeline' can use at most {stages}; "
                f"start {stages} ranks or fewer"
            )
        return balance(self.work.costs, ranks)

    def layers(self, rank: int) -> list[int]:
        """Return the layers of `rank`."""
        return [stage for stage in self.blocks[rank] if stage < self.work.layers]

    def rank_of(self, stage: int) -> int:
        """Return the rank of a layer, or of the head for ``work.layers``."""
        return next(rank for rank, block in enumerate(self.blocks) if stage in block)

    @property
    def head(self) -> int | None:
        """The rank of the head, if there is one."""
        return self.rank_of(self.work.layers) if self.work.head_layers else None

    @property
    def bound(self) -> float:
        """The speed-up over one rank that the balance of the costs allows."""
        costs = self.work.costs
        return sum(costs) / max(sum(costs[stage] for stage in block) for block in self.blocks)

    @cached_property
    def links(self) -> list[LinkId]:
        """Return all links: layer to layer where a block ends, and layer to head where another rank has the head.

        A link that skips ranks gets a buffer more for each, since its batch waits for the others to do theirs.
        """
        links: list[LinkId] = []
        for layer in range(self.work.layers):
            source = self.rank_of(layer)
            if layer + 1 < self.work.layers and (target := self.rank_of(layer + 1)) != source:
                links.append(LinkId(source, target, layer, False, self.work.depth))
            if layer in self.work.head_layers and self.head is not None and self.head != source:
                links.append(LinkId(source, self.head, layer, True, self.work.depth + self.head - source - 1))
        return links
