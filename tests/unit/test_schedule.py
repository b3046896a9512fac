"""Proofs about schedules, without MPI: see simulate.py for what is checked at every step."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
import sys
from typing import Literal

import pytest
from msgspec import structs
from simulate import Fault, Outcome, Programs, programs_of, simulate, spec_of, version_after
from simulate_pieces import simulate_pieces

from ffmpi.config.registries import SCHEDULES
from ffmpi.schedule import Pipeline, Schedule, ScheduleSpec, schedule_of
from ffmpi.schedule import steps as s
from ffmpi.schedule.periods import Periods
from ffmpi.schedule.spec import Adaptive

NAMES = [*SCHEDULES, "single-layer by weights"]


def schedule(name: str, spec: ScheduleSpec, first: int = 0) -> Schedule:
    return schedule_of(re.sub(" by weights|, one layer on many| in step", "", name), spec, first)


# What has to come out -------------------------------------------------------------------------------------------------


def expected_of(name: str, spec: ScheduleSpec, first: int) -> Outcome:
    """Return what comes of the chapters from `first` on, on any number of ranks."""
    out = Outcome()
    for chapter in range(first, spec.chapters):
        for nth, epoch in enumerate(spec.epochs_of(chapter)):
            for index in range(spec.batches[spec.shard_of(chapter)]):
                (of_pipeline if name == "pipeline" else of_chapter_algorithm)(out, spec, chapter, nth, epoch, index)
        of_whole_network(out, spec, chapter, by_batch=name == "pipeline")
        out.recorded.append(chapter)
    out.saved = saved_chapters(spec, first, in_turn=name in ("all-layers", "federated"))
    return out


def of_pipeline(out: Outcome, spec: ScheduleSpec, chapter: int, nth: int, epoch: int, index: int) -> None:
    """Batch i of epoch e meets every layer, and the head, after e * batches + i updates: as on one rank."""
    batch, drawn, seen = (
        s.Batch("joint", index, "train", epoch),
        s.SetEpoch(epoch, chapter),
        epoch * spec.batches[0] + index,
    )
    for layer in range(spec.layers):
        out.updates[layer].append((batch, epoch, drawn, (seen,) * (layer + 1)))
    if not spec.ahead:
        of_head(out, spec, batch, epoch, drawn, seen, seen)
        return
    # The neutral rows run ahead: the first ones alone, the others with earlier batches.
    count, start = spec.batches[0], epoch * spec.batches[0]
    alone = [s.Batch("neutral", i, "train", epoch) for i in range(min(spec.ahead, count))] if index == 0 else []
    own = start + (spec.ahead + index if index else 0)
    for riding in [*alone, *([batch] if index + spec.ahead < count else [])]:
        versions = tuple((seen,) * (layer + 1) for layer in spec.head_layers)
        out.learnt.append((riding, epoch, own + 1 == start + count, drawn, versions, own))
        out.chosen[chapter, riding, drawn, versions, own + 1] += 1
        own += 1


def of_chapter_algorithm(out: Outcome, spec: ScheduleSpec, chapter: int, nth: int, epoch: int, index: int) -> None:
    """A layer, and the head after all of them, learns when the layers before it have finished the chapter."""
    shard = spec.shard_of(chapter)
    count, before, finished = spec.batches[shard], version_after(spec, chapter - 1), version_after(spec, chapter)
    again = nth if spec.resample == "batch" else 0  # otherwise the first epoch's batches come again
    train, drawn = s.Batch("train", again * count + index), s.SetEpoch(epoch - nth + again, chapter, shard)
    own = before + nth * count + index
    for layer in range(spec.layers):
        out.updates[layer].append((train, epoch, drawn, (finished,) * layer + (own,)))
    of_head(out, spec, s.Batch("neutral", index), epoch, s.SetEpoch(epoch - nth, chapter, shard), finished, own)


def of_head(
    out: Outcome, spec: ScheduleSpec, batch: s.Batch, epoch: int, drawn: s.SetEpoch, seen: int, own: int
) -> None:
    """The head learns, and says in the last epoch of a chapter what negatives to show."""
    versions = tuple((seen,) * (layer + 1) for layer in spec.head_layers)
    if versions:
        ends = batch.index + 1 == spec.batches[drawn.shard]
        out.learnt.append((batch, epoch, ends, drawn, versions, own))
    adaptive, last = spec.adaptive, epoch == spec.epochs_of(drawn.chapter)[-1]
    if adaptive and adaptive.scores == "softmax" and last and drawn.chapter + adaptive.lag < spec.chapters:
        out.chosen[drawn.chapter + adaptive.lag, batch, drawn, versions, own + 1] += 1


def of_whole_network(out: Outcome, spec: ScheduleSpec, chapter: int, by_batch: bool) -> None:
    """Candidates for negatives and test samples see all layers, and the head, as they are after the chapter.

    Where a layer may be in several epochs at once each batch names one: what is scored the last of its chapter,
    candidates the first.
    """
    first, named = (spec.epochs_of(chapter)[place] if by_batch else -1 for place in (0, -1))
    finished, shard, adaptive = version_after(spec, chapter), spec.shard_of(chapter), spec.adaptive
    last, head = ((finished,) * spec.layers,), tuple((finished,) * (layer + 1) for layer in spec.head_layers)
    if adaptive and adaptive.scores == "goodness" and chapter + adaptive.lag < spec.chapters:
        drawn = s.SetEpoch(spec.epochs_of(chapter)[0], chapter, shard)
        for index in range(spec.candidate_batches[shard]):
            out.chosen[chapter + adaptive.lag, s.Batch("candidates", index, "train", first), drawn, last, -1] += 1
    splits: list[tuple[s.Split, dict[s.Stream, tuple[int, int]]]] = [
        ("test", spec.test_batches), ("validation", spec.validation_batches),
    ]  # fmt: skip
    for split, batches in splits:
        for stream, (count, every) in batches.items():
            for index in range(count if is_due(spec, every, chapter) else 0):
                read = (head, finished) if stream == "softmax" else (last, -1)
                out.scored[chapter, s.Batch(stream, index, split, named), *read] += 1


def is_due(spec: ScheduleSpec, every: int, chapter: int) -> bool:
    return chapter == spec.chapters - 1 or (every > 0 and (chapter + 1) % every == 0)


def saved_chapters(spec: ScheduleSpec, first: int, in_turn: bool) -> list[int]:
    """Return the chapters that are saved; where ranks take them in turn, rank 0's next, and the last."""
    saved: list[int] = []
    due = False
    for chapter in range(first, spec.chapters):
        due |= is_due(spec, spec.save_every, chapter)
        of_rank_0 = chapter % spec.ranks == 0
        if due and (not in_turn or of_rank_0 or chapter == spec.chapters - 1):
            saved.append(chapter)
            due = False
    return saved


def run(plan: Schedule, programs: Programs, first: int = 0) -> Outcome:
    """See `simulate` and `simulate_pieces`."""
    if isinstance(plan, Pipeline):
        shared = sum(len(steps) for steps in programs) % 2 == 0  # as it may be on one host, or between several
        return simulate_pieces(plan, programs, first, shared)
    return simulate(plan, programs, first)


def prove(name: str, spec: ScheduleSpec, first: int = 0) -> Outcome:
    """Every update, step of the head, selection, score, record and checkpoint is there once, made of what it should."""
    try:
        plan = schedule(name, spec, first)
        found = run(plan, programs_of(plan), first)
        assert found == expected_of(name, spec, first)
    except AssertionError as error:
        error.add_note(f"{name} from chapter {first}: {spec}")
        raise
    return found


# All schedules --------------------------------------------------------------------------------------------------------


def draw(generator: random.Random, name: str, layers: int, head: bool, chapters: int, ranks: int,
    panels: tuple[int, ...] = (),
) -> ScheduleSpec:  # fmt: skip
    """Return a run of a schedule that is as it may be in all else."""
    g, federated = generator, name == "federated"
    kinds = [None, Adaptive("goodness", g.randint(1, 4)), Adaptive("softmax", g.randint(1, 4))][: 2 + head]
    adaptive = None if federated else g.choice(kinds)
    if name == "pipeline" and head and g.random() < 0.3:
        adaptive = Adaptive("softmax", g.randint(1, 9))  # up to more than can be under way
    each_batch = adaptive is None or (name == "pipeline" and adaptive.scores == "softmax")
    return spec_of(
        layers,
        head=head,
        ranks=ranks,
        depth=g.randint(1, 3),
        batches=tuple(g.randint(1, 4) for _ in range(ranks * g.randint(1, 2) if federated else 1)),
        test={stream: (g.randint(0, 3), g.randint(0, 2)) for stream in s.SCORED if g.random() < 0.7},
        validation={stream: (g.randint(0, 2), g.randint(0, 2)) for stream in s.SCORED if g.random() < 0.2},
        per_chapter=g.randint(1, 3),
        chapters=chapters,
        panels=panels,
        scores_training=g.random() < 0.2,
        save_every=g.randint(0, 3),
        save_waits=name == "pipeline" and g.random() < 0.3,
        costs=[float(g.randint(1, 9) ** 2) for _ in range(layers + head)] if g.random() < 0.5 else None,
        adaptive=adaptive,
        exchange="weights" if name.endswith("by weights") else "activations",
        resample=g.choice(["chapter", "batch"]) if each_batch else "chapter",
        after=1000.0 if ranks > layers + head else 0.0,  # so much to read out that so many ranks have something to do
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("layers", range(1, 5))
def test_schedule(layers: int, head: bool, name: str) -> None:
    """On all numbers of ranks and chapters, from the beginning and resumed; all else is drawn.

    Of the pipeline on more ranks than there are layers, which are cut anywhere.
    """
    generator = random.Random(f"{name} {layers} {head}")
    for chapters in range(1, 6):
        stages = layers + head
        panels = tuple(generator.randint(1, 4) for _ in range(layers))
        most = {"sequential": 1, "all-layers": min(chapters, stages + 2), "federated": min(chapters, stages)}
        numbers = list(range(1, most.get(name, stages) + 1))
        if name == "pipeline":
            numbers = [1, 2, *(generator.randint(3, sum(panels)) for _ in range(3))] if sum(panels) > 2 else [1]
        for ranks in numbers:
            for first in (0, generator.randint(0, chapters)):
                prove(name, draw(generator, name, layers, head, chapters, ranks, panels), first)


@pytest.mark.parametrize("name", NAMES)
def test_resuming_from_every_chapter(name: str) -> None:
    adaptive = None if name == "federated" else Adaptive("softmax", 2)
    ranks = 1 if name == "sequential" else 3
    spec = spec_of(
        3, ranks=ranks, chapters=5, save_every=2, adaptive=adaptive, test={"softmax": (2, 1)},
        exchange="weights" if name.endswith("by weights") else "activations",
    )  # fmt: skip
    for first in range(spec.chapters):
        prove(name, spec, first)
    assert prove(name, spec, spec.chapters) == Outcome()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("resample", ["chapter", "batch"])
def test_every_layer_finishes_every_epoch(name: str, resample: Literal["chapter", "batch"]) -> None:
    """A rule that has something to do at the end of an epoch does it once, after all updates of the epoch."""
    batches, per_chapter, chapters = 3, 2, 4
    spec = spec_of(
        3, ranks=1 if name == "sequential" else 3, batches=(batches,) * (3 if name == "federated" else 1),
        per_chapter=per_chapter, chapters=chapters, finishes=True, resample=resample,
        exchange="weights" if name.endswith("by weights") else "activations",
    )  # fmt: skip
    plan = schedule(name, spec)
    finished = run(plan, programs_of(plan), 0).finished
    expected = [(epoch, (epoch + 1) * batches) for epoch in range(per_chapter * chapters)]
    assert finished == {layer: expected for layer in range(3)}


def test_links_of_a_run_of_shards() -> None:
    """Samples and what is made of them never leave their rank."""
    for ranks, shards in [(1, 4), (2, 4), (3, 3), (4, 4)]:
        spec = spec_of(3, ranks=ranks, chapters=8, batches=tuple(range(1, shards + 1)), test={"goodness": (1, 1)})
        assert set(prove("federated", spec).messages) == ({"state"} if ranks > 1 else set())
        plan = schedule("federated", spec)
        assert {link.payload for link in plan.links} == ({"state"} if ranks > 1 else set())
        assert sorted(shard for rank in range(ranks) for shard in plan.shards(rank)) == list(range(shards))


def test_only_what_is_needed_is_sent() -> None:
    """Activations go to the next layer only; what is learnt once a chapter, goodness batches never to the head."""
    scores, chapters, epochs, batches = {"softmax": (3, 1), "goodness": (2, 1)}, 3, 2, 5
    found = {}
    for name in NAMES:
        spec = spec_of(
            4,
            ranks=1 if name == "sequential" else 3,
            batches=(batches,),
            test=scores,
            per_chapter=epochs,
            chapters=chapters,
            costs=[1, 1, 1, 1, 3],
            adaptive=None if name == "federated" else Adaptive("softmax", 1),
            exchange="weights" if name.endswith("by weights") else "activations",
        )
        found[name] = dict(prove(name, spec).messages)
    through, to_head = chapters * (epochs * batches + 3 + 2), chapters * (epochs * batches + 3)
    choices = chapters - 1
    assert found == {
        # Layers 0 and 1 for one rank, 2 and 3 for one each; the first one adds up the logits and chooses.
        "pipeline": {
            "activations": 2 * through, "sums": 2 * through, "scores": 2 * chapters * 2, "logits": 2 * to_head,
            "error": 2 * chapters * epochs * batches,
        },
        "sequential": {},
        # Lessons are the same in each epoch.
        "single-layer": {
            "chapter": chapters * batches, "activations": through, "neutral": 3 * to_head, "negatives": choices
        },
        # Layers 0 and 1 for two ranks, 2 and 3 for one; selections for both ranks that build batches.
        "single-layer by weights": {"weights": chapters * (2 * 2 + 2), "negatives": 2 * choices},
        "all-layers": {"state": 5 * (chapters - 1), "negatives": 2 * choices},
        "federated": {"state": 5 * (chapters - 1)},
    }  # fmt: skip


def test_a_cut_layer_is_exchanged_with_those_that_need_it() -> None:
    """Activations go to those who have something of the next layer, sums to them and to those who share the layer."""
    spec = spec_of(2, head=False, ranks=3, panels=(3, 3), batches=(5,), chapters=1, test={"plain": (2, 1)})
    plan = schedule("pipeline", spec)
    assert [plan.pieces(rank) for rank in range(3)] == [
        {0: range(2)}, {0: range(2, 3), 1: range(1)}, {1: range(1, 3)}
    ]  # fmt: skip
    found = {(link.payload, link.stage): [] for link in plan.links}
    for link in plan.links:
        found[link.payload, link.stage].append((link.source, link.target))
    assert found == {
        ("activations", 0): [(0, 1), (0, 2), (1, 2)],
        ("sums", 0): [(0, 1), (0, 2), (1, 0), (1, 2)],
        ("sums", 1): [(1, 2), (2, 1)],
        ("scores", 0): [(0, 1)],
    }
    assert prove("pipeline", spec).messages == {"activations": 3 * 7, "sums": 6 * 7, "scores": 2}
    training = schedule("pipeline", dataclasses.replace(spec, scores_training=True))
    assert [(link.source, link.target) for link in training.links if link.payload == "scores"] == [(0, 1), (0, 2)]


def work_of(plan: Pipeline, rank: int) -> list[bool]:
    """Return of each period whether `rank` computes any activations."""
    portions = Periods(plan, rank, plan.links_of(rank)).portions()
    return [any(isinstance(step, s.Forward) for step in portion) for portion in portions][1:-1]


@pytest.mark.parametrize(
    ("adaptive", "empty"),
    [(None, 0), (Adaptive("goodness", 2), 0), (Adaptive("softmax", 2), 0), (Adaptive("softmax", 1), 3)],
)
def test_nothing_is_drained(adaptive: Adaptive | None, empty: int) -> None:
    """A rank has something to do in every period from its first entry to its last, and so many before it and after.

    But where the next chapter's negatives are chosen by the last entries of a chapter: until they come to the head.
    """
    chapters, batches = 4, 6
    spec = spec_of(
        3, ranks=4, panels=(8, 8, 8), batches=(batches,), per_chapter=2, chapters=chapters, adaptive=adaptive
    )
    plan = Pipeline(spec)
    assert plan.delays == [0, 1, 2, 3]
    candidates = (chapters - 2) * spec.candidate_batches[0] if adaptive and adaptive.scores == "goodness" else 0
    gaps = chapters - 1 if empty else 0
    for rank, (before, pieces) in enumerate([(0, 1), (1, 1), (1, 2), (2, 1)]):
        found = work_of(plan, rank)
        first, last = found.index(True), len(found) - found[::-1].index(True)
        assert first == before
        busy = found[first:last]
        # Of a rank with two pieces the second one is a period behind.
        assert busy.count(False) == (empty - pieces + 1) * gaps
        assert busy.count(True) == 2 * batches * chapters + candidates + (pieces - 1) * (gaps + 1)


# What simulate.py proves is worth something only if wrong steps fail --------------------------------------------------

MUTATED = {
    "pipeline": spec_of(
        3, ranks=4, panels=(3, 2, 3), test={"softmax": (3, 1), "goodness": (2, 1)}, adaptive=Adaptive("softmax", 1)
    ),
    "pipeline, one layer on many": spec_of(
        2, ranks=5, panels=(2, 6), test={"plain": (2, 1)}, adaptive=Adaptive("goodness", 1), scores_training=True
    ),
    "pipeline in step": spec_of(3, ranks=3, panels=(2, 3, 2), adaptive=Adaptive("softmax", 2), resample="batch"),
    "single-layer": spec_of(3, head=False, ranks=3, chapters=4, test={"goodness": (2, 1)}, save_every=2),
    "single-layer by weights": spec_of(3, ranks=2, chapters=3, exchange="weights", adaptive=Adaptive("goodness", 1)),
    "all-layers": spec_of(3, ranks=3, chapters=6, adaptive=Adaptive("softmax", 2)),
}


def series(programs: Programs, *kinds: type) -> dict[object, list[tuple[int, int]]]:
    """Return where the steps of each kind are that have the same rank, link and layer."""
    found: dict[object, list[tuple[int, int]]] = {}
    for rank, steps in enumerate(programs):
        for index, step in enumerate(steps):
            if isinstance(step, kinds):
                key = type(step), rank, getattr(step, "link", None), getattr(step, "layer", None)
                found.setdefault(key, []).append((rank, index))
    return found


def does_nothing(steps: list[s.Step], index: int, chapters: bool) -> bool:
    """Whether a step renews what is in force, or waits for what never left or another step waits for too."""
    step, before, after = steps[index], steps[:index], steps[index + 1 :]
    if isinstance(step, s.SetEpoch):
        return [x for x in before if isinstance(x, s.SetEpoch)][-1:] == [step]
    if not isinstance(step, s.Reserve):
        return False
    last, following = (
        [x for x in part if isinstance(x, s.Reserve | s.Send) and (x.link, x.buffer) == (step.link, step.buffer)]
        for part in (before, after)
    )
    if not last:
        # In chapters outputs have to be directed there.
        return step.link.payload not in ("activations", "chapter", "neutral") or not chapters
    return any(isinstance(x, s.Reserve) for x in last[-1:] + following[:1])


@pytest.mark.parametrize("name", MUTATED)
def test_a_missing_step_is_caught(name: str) -> None:
    generator, plan = random.Random(3), schedule(name, MUTATED[name])
    programs = programs_of(plan)
    right = run(plan, programs)
    for places in series(programs, object).values():
        for rank, index in generator.sample(places, min(1 if isinstance(plan, Pipeline) else 2, len(places))):
            if not does_nothing(programs[rank], index, not isinstance(plan, Pipeline)):
                changed = [list(steps) for steps in programs]
                changed[rank].pop(index)
                try:
                    caught = run(plan, changed) != right
                except AssertionError:
                    caught = True
                assert caught, programs[rank][index]


@pytest.mark.parametrize("name", MUTATED)
def test_swapped_steps_are_caught(name: str) -> None:
    """Each step in the place of the next one of its kind on the same link or layer; choices may come in any order."""
    generator, plan = random.Random(4), schedule(name, MUTATED[name])
    programs = programs_of(plan)
    for places in series(
        programs, s.Post, s.Receive, s.Send, s.Forward, s.AddSums, s.Update, s.Logits, s.UpdateHead, s.StashActivations
    ).values():
        pairs = list(itertools.pairwise(places))
        for (rank, i), (_, j) in generator.sample(pairs, min(1 if isinstance(plan, Pipeline) else 4, len(pairs))):
            changed = [list(steps) for steps in programs]
            steps = changed[rank]
            if steps[i] != steps[j] and not isinstance(getattr(steps[i], "item", None), s.Selection):
                steps[i], steps[j] = steps[j], steps[i]
                with pytest.raises(Fault):
                    run(plan, changed)


def test_a_forgotten_state_is_caught() -> None:
    """Held-out samples see layers as they were after the chapter, though these have learnt from the next."""
    plan = schedule("single-layer", MUTATED["single-layer"])
    programs = [
        [
            structs.replace(step, chapter=None) if isinstance(step, s.Forward) else step
            for step in steps
            if not isinstance(step, s.TakeSnapshot | s.FreeSnapshot | s.Save)
        ]
        for steps in programs_of(plan)
    ]
    assert simulate(plan, programs).scored != expected_of("single-layer", plan.spec, 0).scored


def test_a_deadlock_is_caught() -> None:
    plan = schedule("pipeline", MUTATED["pipeline"])
    programs = programs_of(plan)
    programs[1] = [step for step in programs[1] if not isinstance(step, s.Report)]
    with pytest.raises(Fault, match="deadlock"):
        run(plan, programs)


# What runs once a batch -----------------------------------------------------------------------------------------------


def calls(ranks: int, rank: int, batches: int) -> int:
    """Return how many Python functions are called, and generators resumed, to make the steps of an epoch."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    steps = schedule("pipeline", spec_of(3, ranks=ranks, chapters=1, batches=(batches,))).steps(rank)
    before = sys.getprofile()
    sys.setprofile(profile)
    for _ in steps:
        pass
    sys.setprofile(before)
    return count


@pytest.mark.parametrize(("ranks", "rank"), [(1, 0), (2, 0), (2, 1)])
def test_the_steps_of_a_batch_cost_few_calls(ranks: int, rank: int) -> None:
    assert calls(ranks, rank, 60) - calls(ranks, rank, 40) <= 20 * 20
