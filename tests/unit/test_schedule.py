"""Proofs about schedules, without MPI: see simulate.py for what is checked at every step."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest
from simulate import Outcome, programs_of, simulate, work_of

from ffmpi.errors import UserError
from ffmpi.schedule import Placement, Work, steps_of
from ffmpi.schedule import steps as s
from ffmpi.schedule.placement import balance


def expected_scores(work: Work, chapter: int) -> Iterator[tuple[object, ...]]:
    """All held-out batches, with the weights as they are after `chapter`."""
    done = (chapter + 1) * work.epochs_per_chapter * work.batches
    for batch in work.held_out(chapter):
        if batch.stream == "softmax":
            yield batch, tuple((done,) * (layer + 1) for layer in work.head_layers), done
        else:
            yield batch, ((done,) * work.layers,), None


def expected_meetings(work: Work, chapter: int) -> list[s.Step]:
    return [s.Report(chapter), *([s.Save(chapter)] if work.due(work.save_every, chapter) else [])]


def expect(work: Work, found: Outcome, updates: dict[int, list[object]], learnt: list[object]) -> None:
    """Every update, every lesson of the head and every score happened once, in order, with the weights it should."""
    assert found.updates == updates
    assert found.learnt == learnt
    scored: list[object] = []
    met: list[s.Step] = []
    for chapter in range(work.chapters):
        scored += expected_scores(work, chapter)
        met += expected_meetings(work, chapter)
    # The two streams may be scored on different ranks: each is in order.
    for stream in ("softmax", "goodness"):
        assert [x for x in found.scored if x[0].stream == stream] == [x for x in scored if x[0].stream == stream]  # type: ignore[index]
    assert len(found.scored) == len(scored) and found.met == met


def prove_pipeline(work: Work) -> Outcome:
    """Batch i of epoch e meets every layer, and the head, after e * batches + i updates: as on one rank."""
    found = simulate(work, programs_of("pipeline", work))
    sweeps = [
        (s.Batch("train", i), epoch, epoch * work.batches + i)
        for epoch in range(work.epochs)
        for i in range(work.batches)
    ]  # fmt: skip
    expect(
        work,
        found,
        {
            layer: [(batch, epoch, epoch, (done,) * (layer + 1)) for batch, epoch, done in sweeps]
            for layer in range(work.layers)
        },
        [
            (batch, epoch, epoch, tuple((done,) * (layer + 1) for layer in work.head_layers))
            for batch, epoch, done in sweeps
            if work.head_layers
        ],
    )
    return found


# pipeline -------------------------------------------------------------------------------------------------------------

SCENARIOS = {
    "one batch, nothing held out": {"batches": 1, "held_out": (0, 0)},
    "fewer batches than buffers": {"batches": 2, "held_out": (1, 3)},
    "many batches": {"batches": 7, "held_out": (5, 2), "epochs": 3, "chapters": 3, "every": (0, 2, 2)},
    "two epochs a chapter": {"batches": 3, "held_out": (0, 4), "epochs": 4, "chapters": 2, "every": (1, 0, 0)},
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("layers", range(1, 7))
def test_pipeline(layers: int, head: bool, scenario: str) -> None:
    for ranks, depth in itertools.product(range(1, layers + head + 1), range(1, 5)):
        found = prove_pipeline(work_of(layers, head=head, ranks=ranks, depth=depth, **SCENARIOS[scenario]))  # type: ignore[arg-type]
        assert (found.messages > 0) == (ranks > 1)


def test_pipeline_of_uneven_blocks() -> None:
    generator = random.Random(1)
    for _ in range(40):
        layers, head = generator.randint(1, 8), generator.random() < 0.7
        prove_pipeline(
            work_of(
                layers,
                head=head,
                ranks=generator.randint(1, layers + head),
                depth=generator.randint(1, 5),
                batches=generator.randint(1, 9),
                held_out=(generator.randint(0, 6), generator.randint(0, 6)),
                costs=[generator.randint(1, 9) ** 2 for _ in range(layers + head)],
            )
        )


def test_pipeline_sends_only_what_is_needed() -> None:
    """One message a batch for each link; goodness batches never go to the head."""
    work = work_of(4, ranks=3, batches=5, held_out=(3, 2), epochs=1, chapters=1, costs=[1, 1, 1, 1, 3])
    placement = Placement(work)
    assert placement.blocks == [range(0, 2), range(2, 4), range(4, 5)]
    links = [(link.source, link.target, link.layer, link.neutral, link.depth) for link in placement.links]
    # The input of layer 2, and the head's of layers 1 to 3; layer 1's skips a rank and gets a buffer more.
    assert links == [(0, 1, 1, False, 2), (0, 2, 1, True, 3), (1, 2, 2, True, 2), (1, 2, 3, True, 2)]
    assert prove_pipeline(work).messages == (5 + 3 + 2) + 3 * (5 + 3)


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize(("name", "ranks"), [("pipeline", 1), ("pipeline", 3), ("sequential", 1)])
def test_resuming_yields_the_rest(name: str, ranks: int, first: int) -> None:
    work = work_of(3, ranks=ranks, epochs=8, chapters=4, every=(2, 0, 3))
    for rank, program in enumerate(programs_of(name, work)):
        rest = list(steps_of(name, work, rank, first))
        assert rest == program[len(program) - len(rest) :]
        before = program[: len(program) - len(rest)]
        assert [step.chapter for step in before if isinstance(step, s.Report)] == list(range(first))
        assert not before or before[-1] in (s.Report(first - 1), s.Save(first - 1))
    assert list(steps_of(name, work, 0, work.chapters)) == []


# sequential -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("layers", range(1, 7))
def test_sequential(layers: int, head: bool, scenario: str) -> None:
    """A layer, and the head after all of them, learns a chapter when the layers below have finished theirs."""
    work = work_of(layers, head=head, **SCENARIOS[scenario])  # type: ignore[arg-type]
    found = simulate(work, programs_of("sequential", work))
    per_chapter = work.epochs_per_chapter
    sweeps = [
        (index, epoch, epoch // per_chapter * per_chapter, (epoch // per_chapter + 1) * per_chapter * work.batches)
        for epoch in range(work.epochs)
        for index in range(work.batches)
    ]
    expect(
        work,
        found,
        {
            layer: [
                (s.Batch("pairs", i), epoch, drawn, (finished,) * layer + (epoch * work.batches + i,))
                for i, epoch, drawn, finished in sweeps
            ]
            for layer in range(layers)
        },
        [
            (s.Batch("neutral", i), epoch, drawn, tuple((finished,) * (layer + 1) for layer in work.head_layers))
            for i, epoch, drawn, finished in sweeps
            if head
        ],
    )


def test_sequential_is_for_one_rank() -> None:
    with pytest.raises(UserError, match=r"'sequential' with 2 ranks: expected one rank, or schedule.name = 'pipeline'"):
        steps_of("sequential", work_of(3, ranks=2), 0)


# placement ------------------------------------------------------------------------------------------------------------


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


def test_balance_of_equal_costs() -> None:
    assert balance([1.0] * 5, 2) == [range(0, 3), range(3, 5)]
    assert balance([1.0] * 4, 4) == [range(i, i + 1) for i in range(4)]


@pytest.mark.parametrize(("head", "stages", "named"), [(True, 4, " and the softmax head"), (False, 3, "")])
def test_too_many_ranks(head: bool, stages: int, named: str) -> None:
    expected = (
        f"5 ranks for 3 layers{named}: schedule 'pipeline' can use at most {stages}; start {stages} ranks or fewer"
    )
    with pytest.raises(UserError) as caught:
        list(steps_of("pipeline", work_of(3, head=head, ranks=5), 4))
    assert str(caught.value) == expected
    assert len(Placement(work_of(3, head=head, ranks=stages)).blocks) == stages


def test_placement() -> None:
    placement = Placement(work_of(3, ranks=2, costs=[4, 1, 1, 2]))
    assert placement.blocks == [range(0, 1), range(1, 4)]
    assert [placement.layers(rank) for rank in range(2)] == [[0], [1, 2]]
    assert [placement.rank_of(stage) for stage in range(4)] == [0, 1, 1, 1] and placement.head == 1
    assert placement.bound == 2.0
    assert Placement(work_of(3, head=False)).head is None and Placement(work_of(3)).links == []
