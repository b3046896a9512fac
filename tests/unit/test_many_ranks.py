"""The pipeline on thousands of ranks: what is proved of a few of them holds for all.

Ranks are of one kind if they have pieces of the same layers, whole or not, are first or not of each, and the same is
special about them. On four thousand ranks there are some hundred kinds, since most have a piece of one layer as many
others do. Two things are shown:

- Every link is known at both its ends, and the links of a rank lead to as many ranks of each kind as those of every
  other rank of its kind. So ranks of a kind can be exchanged for each other without changing the schedule.
- The steps of two ranks of each kind (one, where there are no more), made by the same code with only the links between
  these, pass `simulate_pieces`, with everything that it checks. What one rank of a kind sends to another kind, or to
  its own, all of its kind send, at the same step of theirs; what it waits for, all wait for. So if these come to their
  end without a fault, so do all.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Hashable
from functools import lru_cache
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
from simulate import programs_of, spec_of
from simulate_pieces import simulate_pieces

from ffmpi.schedule import LinkId, Pipeline
from ffmpi.schedule import steps as s
from ffmpi.schedule.periods import Periods
from ffmpi.schedule.spec import Adaptive


def kind_of(plan: Pipeline, rank: int) -> Hashable:
    """Return what may make a rank do something else than another."""
    pieces = [
        (layer, len(panels) == plan.spec.panels[layer], plan.ribbon.owners(layer)[0] == rank)
        for layer, panels in plan.pieces(rank).items()
    ]
    return tuple(pieces), rank == 0, rank == plan.home, rank == plan.reader, rank == plan.chooser


class Sample:
    """A plan of which only two ranks of each kind are there."""

    def __init__(self, plan: Pipeline) -> None:
        self.plan, found = plan, defaultdict(list)
        for rank in range(plan.spec.ranks):
            found[kind_of(plan, rank)].append(rank)
        self.kinds: dict[int, Hashable] = {rank: kind for kind, ranks in found.items() for rank in ranks}
        self.ranks = sorted(rank for ranks in found.values() for rank in ranks[:2])
        self.ribbon = SimpleNamespace(owners=self._owners, pieces=plan.ribbon.pieces)
        self.links_of = lru_cache(None)(self._links_of)
        self.links = [link for rank in self.ranks for link in self.links_of(rank) if link.source == rank]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plan, name)

    def _owners(self, layer: int) -> list[int]:
        return [rank for rank in self.plan.ribbon.owners(layer) if rank in self.ranks]

    def _links_of(self, rank: int) -> list[LinkId]:
        return [link for link in self.plan.links_of(rank) if {link.source, link.target} <= set(self.ranks)]

    def programs(self) -> dict[int, list[s.Step]]:
        return {
            rank: list(chain.from_iterable(Periods(self, rank, self.links_of(rank)).portions())) for rank in self.ranks
        }


def check_links(sample: Sample) -> int:
    """Make sure that ranks of a kind have the same links but for ranks' numbers; return how many links there are."""
    kinds, known = sample.kinds, dict[Hashable, Counter[Any]]()
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(kinds.values()))}
    of_rank = [numbers[kinds[rank]] for rank in range(sample.spec.ranks)]
    ends, count = [0, 0], [0, 0]
    for rank in range(sample.spec.ranks):
        links = sample.plan.links_of(rank)
        found = Counter(
            (
                link.payload,
                link.stage,
                link.source == rank,
                of_rank[link.target if link.source == rank else link.source],
            )
            for link in links
        )
        # Of its own kind a rank has all but itself.
        expected = known.setdefault(kinds[rank], found)
        assert found == expected, f"rank {rank} has other links than others of its kind"
        for link in links:
            leaves = link.source == rank
            ends[leaves] = (ends[leaves] + hash((link.source, link.target, link.payload, link.stage))) % 2**64
            count[leaves] += 1
    assert count[0] == count[1] and ends[0] == ends[1], "some links are known at one end only"
    return count[0]


@pytest.mark.parametrize("adaptive", [None, Adaptive("goodness", 1)])
def test_a_sample_comes_to_what_all_ranks_come_to(adaptive: Adaptive | None) -> None:
    """Where all ranks can be simulated, too."""
    spec = spec_of(
        3, ranks=17, panels=(12, 12, 12), costs=[1.0, 1.0, 1.0, 0.1], depth=3, batches=(4,), test={"goodness": (2, 1)},
        adaptive=adaptive,
    )  # fmt: skip
    plan = Pipeline(spec)
    sample = Sample(plan)
    assert len(sample.ranks) < 17 and check_links(sample) == len(plan.links)
    assert simulate_pieces(sample, sample.programs()) == simulate_pieces(plan, programs_of(plan))


def test_four_thousand_ranks() -> None:
    """32 layers of 16384 units, with a head, evaluation, checkpoints and two epochs that follow each other."""
    began = time.process_time()
    layers = 32
    spec = spec_of(
        layers, ranks=4096, panels=(1024,) * layers, costs=[0.3] + [1.0] * (layers - 1) + [0.1], depth=3, batches=(3,),
        test={"softmax": (1, 1), "goodness": (1, 1)}, scores_training=False,
    )  # fmt: skip
    plan = Pipeline(spec)
    sample = Sample(plan)
    links = check_links(sample)
    assert links > 1_000_000
    outcome = simulate_pieces(sample, sample.programs())
    assert outcome.recorded == outcome.saved == [0, 1]
    assert all(len(outcome.updates[layer]) == 6 for layer in range(layers))
    assert time.process_time() - began < 60
