"""What simulate.py proves is worth something only if wrong steps fail: each step dropped, swapped or changed."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from simulate import Fault, programs_of, simulate, work_of

from ffmpi.schedule import Work
from ffmpi.schedule import steps as s

MUTATED = [
    work_of(4, ranks=3, depth=depth, batches=4, epochs=1, chapters=1, costs=[1, 1, 1, 1, 3]) for depth in (1, 2)
] + [work_of(2, ranks=2, depth=3, batches=5, epochs=2, held_out=(1, 2))]


def places(work: Work, kind: type) -> list[tuple[int, int]]:
    programs = programs_of("pipeline", work)
    return [(r, i) for r, steps in enumerate(programs) for i, step in enumerate(steps) if isinstance(step, kind)]


def of_slot(steps: list[s.Step], wanted: s.Reserve) -> list[s.Step]:
    """Return the steps that use the link and the slot of `wanted`."""
    return [x for x in steps if isinstance(x, s.Reserve | s.Send) and (x.link, x.slot) == (wanted.link, wanted.slot)]


@pytest.mark.parametrize("work", MUTATED)
@pytest.mark.parametrize(
    "kind",
    [s.Send, s.Post, s.Reserve, s.Receive, s.Compose, s.Forward, s.Update, s.Collect, s.Learn, s.Score, s.Report],
)
def test_a_missing_step_is_caught(work: Work, kind: type) -> None:
    caught, right = 0, simulate(work, programs_of("pipeline", work))
    for rank, index in places(work, kind):
        programs = programs_of("pipeline", work)
        step = programs[rank].pop(index)
        if isinstance(step, s.Reserve):
            uses = of_slot(programs[rank][:index], step)[-1:] + of_slot(programs[rank][index:], step)[:1]
            if any(isinstance(use, s.Reserve) for use in uses):
                continue  # one sweep ends, and the next begins, with reserving the same buffer: once would do
        with pytest.raises((Fault, KeyError, AssertionError)):
            assert simulate(work, programs) == right
        caught += 1
    assert caught


@pytest.mark.parametrize("work", MUTATED)
@pytest.mark.parametrize("kind", [s.Send, s.Post, s.Receive, s.Forward, s.Update, s.Learn])
def test_swapped_steps_are_caught(work: Work, kind: type) -> None:
    """Each step in the place of the next one of its kind on the same link or layer."""
    series: dict[object, list[int]] = {}
    for rank, index in places(work, kind):
        step = programs_of("pipeline", work)[rank][index]
        series.setdefault((rank, getattr(step, "link", None), getattr(step, "layer", None)), []).append(index)
    swapped = 0
    for (rank, *_), indices in series.items():  # type: ignore[misc]
        for i, j in itertools.pairwise(indices):
            programs = programs_of("pipeline", work)
            steps = programs[rank]
            steps[i], steps[j] = steps[j], steps[i]
            with pytest.raises(Fault):
                simulate(work, programs)
            swapped += 1
    assert swapped


@pytest.mark.parametrize("work", MUTATED)
def test_a_buffer_posted_too_early_is_caught(work: Work) -> None:
    """A received batch is read until its layer's Update, or the head's Learn: only then may its slot be posted."""
    moved = 0
    for rank, index in places(work, s.Post):
        programs = programs_of("pipeline", work)
        steps = programs[rank]
        reader, post = steps[index - 1], steps[index]
        assert isinstance(post, s.Post)
        received = [x.slot for x in steps[:index] if isinstance(x, s.Receive) and x.link == post.link]
        reads = isinstance(reader, s.Learn | s.Score) if post.link.neutral else isinstance(reader, s.Update | s.Forward)
        if reads and received[-1:] == [post.slot]:
            steps[index - 1], steps[index] = post, reader
            with pytest.raises(Fault):
                simulate(work, programs)
            moved += 1
    assert moved


@pytest.mark.parametrize("work", MUTATED)
def test_a_wrong_batch_or_slot_is_caught(work: Work) -> None:
    for kind in (s.Send, s.Post, s.Receive):
        for rank, index in places(work, kind):
            for change in ({"batch": s.Batch("train", 99)}, {"slot": 7}):
                programs = programs_of("pipeline", work)
                step = programs[rank][index]
                programs[rank][index] = dataclasses.replace(step, **change)  # type: ignore[arg-type]
                with pytest.raises(Fault):
                    simulate(work, programs)


def test_a_deadlock_is_caught() -> None:
    """Two ranks that each wait for the other's buffer before they post their own."""
    work = work_of(2, head=False, ranks=2)
    there, back = s.LinkId(0, 1, 0, False, 1), s.LinkId(1, 0, 0, False, 1)
    batch = s.Batch("train", 0)
    programs: list[list[s.Step]] = [
        [s.Post(back, 0, batch), s.Receive(back, 0, batch)],
        [s.Post(there, 0, batch), s.Receive(there, 0, batch)],
    ]
    with pytest.raises(Fault, match="deadlock"):
        simulate(work, programs)
