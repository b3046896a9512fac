"""Which rank gets which layers, chapters and shards, and the number of ranks that a schedule can use."""

from __future__ import annotations

import itertools
import random

import pytest
from simulate import spec_of

from ffmpi.errors import UserError
from ffmpi.network.tree import nodes_of
from ffmpi.schedule import Pipeline, ScheduleSpec, schedule_of, tag_of
from ffmpi.schedule import steps as s
from ffmpi.schedule.all_layers import AllLayers
from ffmpi.schedule.placement import Placement, balance
from ffmpi.schedule.ribbon import Ribbon, nodes_in
from ffmpi.schedule.single_layer import SingleLayer
from ffmpi.schedule.spec import Adaptive


def test_balance_is_the_best_there_is() -> None:
    generator = random.Random(2)
    for _ in range(300):
        count = generator.randint(1, 8)
        costs = [generator.randint(0, 9) for _ in range(count)]
        parts = generator.randint(1, count)
        blocks = balance(costs, parts)
        assert len(blocks) == parts and all(blocks)
        assert [item for block in blocks for item in block] == list(range(count))
        best = min(
            max(sum(costs[a:b]) for a, b in itertools.pairwise((0, *cuts, count)))
            for cuts in itertools.combinations(range(1, count), parts - 1)
        )
        assert max(sum(costs[i] for i in block) for block in blocks) == best


def test_balance_of_many_is_quick() -> None:
    blocks = balance([1.0] * 1000 + [50.0], 100)
    assert [item for block in blocks for item in block] == list(range(1001)) and len(blocks[-1]) == 1


def test_balance_of_equal_costs() -> None:
    assert balance([1.0] * 5, 2) == [range(0, 3), range(3, 5)]
    assert balance([1.0] * 4, 4) == [range(i, i + 1) for i in range(4)]


def test_placement() -> None:
    placement = Placement(spec_of(3, ranks=2, costs=[4, 1, 1, 2]))
    assert placement.blocks == [range(0, 1), range(1, 4)]
    assert [placement.layers(rank) for rank in range(2)] == [[0], [1, 2]]
    assert [placement.trained(rank) for rank in range(2)] == [[0], [1, 2, 3]]
    assert placement.owners == ((s.Piece(0, 0, 2),), (s.Piece(1, 0, 2),), (s.Piece(1, 0, 2),)) and placement.head == 1
    assert placement.pieces(1) == {1: range(2), 2: range(2)}
    assert Placement(spec_of(3, head=False)).head is None and Placement(spec_of(3)).flow == []


def test_links_of_the_head() -> None:
    """The head gets what it reads from every rank; a link that skips ranks has a buffer more for each."""
    placement = Placement(spec_of(4, ranks=3, costs=[1, 1, 1, 1, 3]))
    assert placement.blocks == [range(0, 2), range(2, 4), range(4, 5)]
    links = [
        (link.source, link.target, link.payload, link.stage, link.send_buffers, link.receive_buffers)
        for link in placement.flow
    ]
    assert links == [
        (0, 1, "activations", 1, 2, 2),
        (0, 2, "neutral", 1, 3, 3),
        (1, 2, "neutral", 2, 2, 2),
        (1, 2, "neutral", 3, 2, 2),
    ]


def test_layers_that_are_computed() -> None:
    """With weights a rank computes what its batches go through, and the rank of the head all that the head reads."""
    by_weights = SingleLayer(spec_of(4, ranks=3, costs=[1, 1, 1, 1, 3], exchange="weights"))
    assert [by_weights.computed(rank) for rank in range(3)] == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert [by_weights.trained(rank) for rank in range(3)] == [[0, 1], [2, 3], [4]]
    by_activations = SingleLayer(spec_of(4, ranks=3, costs=[1, 1, 1, 1, 3]))
    assert [by_activations.computed(rank) for rank in range(3)] == [[0, 1], [2, 3], []]
    in_turn = AllLayers(spec_of(2, ranks=2))
    assert [(in_turn.computed(rank), in_turn.trained(rank)) for rank in range(2)] == [([0, 1], [0, 1, 2])] * 2


# The ribbon of the pipeline -------------------------------------------------------------------------------------------


def load(panels: list[int], costs: list[float], fixed: list[float], first: int, stop: int) -> float:
    """Return what a stretch of the ribbon costs."""
    start, found = 0, 0.0
    for count, cost, least in zip(panels, costs, fixed, strict=True):
        inside = min(stop, start + count) - max(first, start)
        found += least + (cost - least) * inside / count if inside > 0 else 0
        start += count
    return found


def test_the_ribbon_is_cut_as_well_as_can_be() -> None:
    """Every rank has a contiguous run of all panels, and no other cuts make the dearest rank cheaper."""
    generator = random.Random(5)
    for _ in range(300):
        panels = [generator.randint(1, 4) for _ in range(generator.randint(1, 4))]
        fixed = [generator.choice([0.0, 0.0, 1.0, 7.0]) for _ in panels]
        costs = [least + generator.choice([0.0, 1.0, 2.0, 5.0]) for least in fixed]
        ranks = generator.randint(1, sum(panels))
        ribbon = Ribbon(panels, costs, ranks, fixed)
        run = [(layer, panel) for rank in range(ranks) for layer, own in ribbon.pieces(rank).items() for panel in own]
        assert run == [(layer, panel) for layer, count in enumerate(panels) for panel in range(count)]
        assert all(ribbon.pieces(rank) for rank in range(ranks))
        for layer in range(len(panels)):
            assert list(ribbon.owners(layer)) == [rank for rank in range(ranks) if layer in ribbon.pieces(rank)]
        best = min(
            max(load(panels, costs, fixed, a, b) for a, b in itertools.pairwise((0, *cuts, len(run))))
            for cuts in itertools.combinations(range(1, len(run)), ranks - 1)
        )
        found = [load(panels, costs, fixed, a, b) for a, b in itertools.pairwise(ribbon.cuts)]
        assert max(found) == pytest.approx(best)
        if sum(found):
            assert [ribbon.load(rank) for rank in range(ranks)] == pytest.approx(
                [ranks * f / sum(found) for f in found]
            )


def test_in_how_many_parts_sums_are_sent() -> None:
    """As many as the tree over a layer's panels has largest nodes inside the piece."""
    for panels in range(1, 30):
        for first, stop in itertools.combinations(range(panels + 1), 2):
            assert nodes_in(first, stop, panels) == len(nodes_of(first, stop, panels))


def test_cuts_between_layers_are_preferred() -> None:
    assert Ribbon([4, 4, 4], [1, 1, 1], 3).cuts == [0, 4, 8, 12]
    assert Ribbon([4, 4], [1, 3], 2).cuts == [0, 5, 8]  # of 3.25 in all at least 2.5; not 0, 4, 8
    assert Ribbon([3, 3], [2, 1], 3).cuts == [0, 2, 3, 6]  # 0, 2, 4, 6 is as good
    assert Ribbon([9, 4, 4], [1, 1, 9], 2, whole=True).pieces(0) == {0: range(9), 1: range(4)}


def test_more_ranks_than_panels() -> None:
    with pytest.raises(UserError) as caught:
        schedule_of("pipeline", spec_of(3, ranks=7, panels=(1, 2, 3)))
    assert str(caught.value) == "7 ranks: expected at most 6, the number of panels of 16 units in all layers"
    plan = schedule_of("pipeline", spec_of(3, ranks=6, panels=(1, 2, 3)))
    assert [len(plan.pieces(rank)) for rank in range(6)] == [1] * 6
    with pytest.raises(UserError) as caught:
        schedule_of("pipeline", spec_of(3, ranks=4, panels=(1, 2, 3), finishes=True))
    assert (
        str(caught.value) == "4 ranks: expected at most 3, the number of layers, which this learning rule needs whole"
    )


def test_the_head_is_paid_for_by_its_layers() -> None:
    plan = Pipeline(spec_of(3, ranks=2, panels=(4, 4, 4), costs=[4, 1, 1, 2]))
    assert [plan.pieces(rank) for rank in range(2)] == [{0: range(4)}, {1: range(4), 2: range(4)}]
    assert [plan.trained(rank) for rank in range(2)] == [[0], [1, 2, 3]]
    assert (plan.home, plan.reader, plan.chooser) == (1, 1, 1)
    assert plan.owners[0] == (s.Piece(0, 0, 4),)


def test_tags_tell_links_between_two_ranks_apart() -> None:
    plan = Pipeline(spec_of(4, ranks=9, panels=(5,) * 4, adaptive=Adaptive("softmax", 1), scores_training=True))
    links = plan.links
    assert len({(link.source, link.target, tag_of(link)) for link in links}) == len(links)
    assert max(tag_of(s.LinkId(0, 1, payload, 1000, 1, 1)) for payload in s.Payload.__args__) < 32_767  # type: ignore


@pytest.mark.parametrize("first", range(5))
def test_shards(first: int) -> None:
    """The rank of a chapter has the chapter's shard; nobody else has it."""
    for ranks, shards in [(1, 3), (2, 4), (4, 4), (3, 1)]:
        spec = spec_of(3, ranks=ranks, chapters=9, batches=(2,) * shards)
        plan = schedule_of("federated", spec, first)
        assert isinstance(plan, AllLayers)
        holders = {shard: [rank for rank in range(ranks) if shard in plan.shards(rank)] for shard in range(shards)}
        for chapter in range(first, spec.chapters):
            holding = holders[spec.shard_of(chapter)]
            assert plan.rank_of(chapter) in holding and len(holding) == (1 if shards > 1 else ranks)


@pytest.mark.parametrize(("head", "stages", "named"), [(True, 4, " and the softmax head"), (False, 3, "")])
def test_more_ranks_than_stages(head: bool, stages: int, named: str) -> None:
    expected = (
        f"5 ranks for 3 layers{named}: schedule 'single-layer' can use at most {stages}; start {stages} ranks or fewer"
    )
    with pytest.raises(UserError) as caught:
        schedule_of("single-layer", spec_of(3, head=head, ranks=5))
    assert str(caught.value) == expected
    plan = schedule_of("single-layer", spec_of(3, head=head, ranks=stages))
    assert [plan.trained(rank) for rank in range(stages)] == [[stage] for stage in range(stages)]


@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [
        (
            "sequential",
            spec_of(3, ranks=2),
            "schedule.name = 'sequential' with 2 ranks: expected one rank, or another schedule: 'all-layers' gives the "
            "same bits on several",
        ),
        (
            "all-layers",
            spec_of(3, ranks=5, chapters=8),
            "5 ranks for 8 chapters of 4 layers and classifiers: this schedule can use at most 4; "
            "start 4 ranks or fewer",
        ),
        (
            "all-layers",
            spec_of(3, ranks=3, chapters=2),
            "3 ranks for 2 chapters of 4 layers and classifiers: this schedule can use at most 2; "
            "start 2 ranks or fewer, or raise train.chapters",
        ),
        (
            "federated",
            spec_of(3, ranks=2, chapters=6, batches=(1, 1, 1)),
            "2 ranks for 3 shards: expected as many, or a number that divides them",
        ),
    ],
)
def test_ranks_that_a_schedule_cannot_use(name: str, spec: ScheduleSpec, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        schedule_of(name, spec)
    assert str(caught.value) == expected


LAG = "for negatives, since negatives.lag = "


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("pipeline", {}, ""),
        ("pipeline", {"adaptive": Adaptive("softmax", 2), "resample": "batch"}, LAG + "2"),
        ("pipeline", {"adaptive": Adaptive("softmax", 4), "resample": "batch"}, ""),
        ("pipeline", {"adaptive": Adaptive("softmax", 2), "resample": "batch", "ranks": 5}, LAG + "2 is less than 4"),
        ("pipeline", {"adaptive": Adaptive("softmax", 4), "resample": "batch", "ranks": 5}, ""),
        ("pipeline", {"adaptive": Adaptive("softmax", 1)}, ""),  # only after a chapter
        ("all-layers", {"adaptive": Adaptive("softmax", 2)}, LAG + "2"),
        ("all-layers", {"adaptive": Adaptive("softmax", 3)}, ""),
        ("single-layer", {"chapters": 40}, ""),
        ("single-layer", {"chapters": 3}, "for their first chapter and after their last, since there are only 3"),
        ("single-layer", {"chapters": 40, "adaptive": Adaptive("goodness", 1)}, LAG + "1"),
    ],
)  # fmt: skip
def test_why_ranks_wait(name: str, more: dict, expected: str) -> None:
    plan = schedule_of(name, spec_of(4, **({"ranks": 3, "chapters": 6, "batches": (9,)} | more)))
    assert plan.delay.startswith(expected) and bool(plan.delay) == bool(expected)
