"""What the steps of a rank add up to: seconds of computing, and what must be in memory at once.

Runs have millions of steps that are like each other. So an excerpt is walked through: the same run with few batches,
epochs and chapters, each step standing for as many as there are of its kind.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from . import Schedule, ScheduleSpec
from . import steps as s
from .cost import StepCosts

#: Batches of an epoch and chapters, or rounds of them, that an excerpt has.
_BATCHES, _CHAPTERS = 4, 4
#: For how many batches one of a split and stream stands.
_Weights = dict[tuple[s.Split, s.Stream], float]


def _like(schedule: Schedule, spec: ScheduleSpec, first: int) -> Schedule:
    return type(schedule)(spec, first)  # type: ignore[call-arg]


def _excerpt(schedule: Schedule, epochs: int) -> tuple[Schedule, _Weights]:
    """Return a schedule like this one, but with few batches in `epochs` epochs of few chapters, and their weights."""
    spec = schedule.spec
    few = max(_BATCHES if len(spec.batches) == 1 else 4 * _BATCHES, 10 * spec.ahead)
    share = min(1.0, few / max(spec.batches))
    lag = spec.adaptive.lag if spec.adaptive else 0
    together = len(schedule.round)
    rounds = -(-(max(_CHAPTERS * together, len(spec.batches)) + lag) // together)
    chapters = min(spec.chapters, rounds * together)
    batches, candidates = (
        tuple(max(1, round(share * count)) for count in counts) for counts in (spec.batches, spec.candidate_batches)
    )
    learnt = sum(spec.batches) / sum(batches)
    weights: _Weights = {("train", stream): learnt for stream in ("train", "joint", "neutral")}
    if spec.ahead:
        weights["train", "neutral"] = 1.0  # the few that run ahead of each epoch
    if chapters > lag:  # candidates are scored after all chapters but the last ones
        often, here = ((number - lag) / number for number in (spec.chapters, chapters))
        weights["train", "candidates"] = often / here * sum(spec.candidate_batches) / sum(candidates)
    for split, scored in spec.scored:
        for stream, (count, every) in scored.items():
            often, here = (_passes(number, every) / number for number in (spec.chapters, chapters))
            weights[split, stream] = often / here * count / max(1, min(count, few))
    short = dataclasses.replace(
        _shortened(spec, few), epochs=epochs * chapters, chapters=chapters, batches=batches,
        candidate_batches=candidates,
    )  # fmt: skip
    left = min(spec.chapters - schedule.first, chapters) or 1
    return _like(schedule, short, chapters - left), weights


def _shortened(spec: ScheduleSpec, few: int) -> ScheduleSpec:
    """Return a spec with at most `few` batches of each stream."""

    def fewer(scored: Mapping[s.Stream, tuple[int, int]]) -> dict[s.Stream, tuple[int, int]]:
        return {stream: (min(count, few), every) for stream, (count, every) in scored.items()}

    return dataclasses.replace(
        spec,
        batches=tuple(min(count, few) for count in spec.batches),
        candidate_batches=tuple(min(count, few) for count in spec.candidate_batches),
        test_batches=fewer(spec.test_batches),
        validation_batches=fewer(spec.validation_batches),
    )


def _passes(chapters: int, every: int) -> int:
    """Return after how many of `chapters` chapters something is due, every so many and after the last."""
    return chapters // every + (chapters % every > 0) if every else 1


#: Seconds of each rank for each stage, or for none.
_Loads = dict[tuple[int, int | None], float]


def _loads(schedule: Schedule, costs: StepCosts, ranks: int) -> _Loads:
    """Return the seconds that each of `ranks` ranks computes for each stage, or None, in an excerpt of the run."""

    def excerpt(epochs: int) -> _Loads:
        short, weights = _excerpt(schedule, epochs)
        plan = _like(schedule, dataclasses.replace(short.spec, ranks=ranks), short.first)
        alike: dict[Hashable, dict[int | None, float]] = {}
        found: _Loads = {}
        for rank in range(ranks):
            if (kind := plan.kind_of(rank)) not in alike:
                alike[kind] = _load(plan, rank, plan.costs_on(rank, costs), weights)
            found |= {(rank, stage): seconds for stage, seconds in alike[kind].items()}
        return found

    found, more = excerpt(1), schedule.spec.epochs_per_chapter - 1
    if more:  # every epoch of a chapter costs as much as its second
        for key, seconds in excerpt(2).items():
            found[key] = found.get(key, 0.0) + more * (seconds - found.get(key, 0.0))
    return found


def _load(plan: Schedule, rank: int, costs: StepCosts, weights: _Weights) -> dict[int | None, float]:
    """Return the seconds that a rank computes for each stage, or None."""
    found: dict[int | None, float] = defaultdict(float)
    for step in plan.computing(rank):
        batch = getattr(step, "batch", None)
        if isinstance(batch, s.Batch) and (seconds := costs.of(step).seconds):
            found[plan.stage_of(step)] += seconds * weights[batch.split, batch.stream]
    return found


@dataclass(frozen=True)
class Balance:
    """How the work is shared out.

    Attributes
    ----------
    each : seconds of computing of each rank in an excerpt of the run, on `core.CORE`
    alone : those of one rank that does everything; less than the sum where ranks do things twice
    """

    each: tuple[float, ...]
    alone: float

    @property
    def ideal(self) -> float:
        """How many times as fast as one rank the run would be if no rank ever waited."""
        return self.alone / max(self.each)

    def measured(self, computing: Sequence[float]) -> float:
        """Return the same by the seconds that each rank has computed."""
        return self.alone / sum(self.each) * sum(computing) / max(computing)


def balance_of(schedule: Schedule, costs: StepCosts) -> Balance:
    """Return how `schedule` shares out the work."""
    each = [0.0] * schedule.spec.ranks
    for (rank, _), seconds in _loads(schedule, costs, schedule.spec.ranks).items():
        each[rank] += seconds
    return Balance(tuple(each), sum(_loads(schedule, costs, 1).values()))


def stage_loads(schedule: Schedule, costs: StepCosts) -> tuple[tuple[float, ...], float]:
    """Return the seconds that one rank computes for each stage, and those that are for none."""
    found = _loads(schedule, costs, 1)
    return tuple(found.get((0, stage), 0.0) for stage in range(schedule.spec.stages)), found.get((0, None), 0.0)


#: Batches that memory is counted over: a batch keeps as much as another. Chapters: so does a chapter.
_STASHED_BATCHES, _STASHED_CHAPTERS = 40, 5


def most_stashed(
    schedule: Schedule, rank: int, units: Sequence[int], state_bytes: Callable[[int], float]
) -> tuple[dict[int, float], float]:  # fmt: skip
    """Return what `rank` must have in memory at once beside its stages.

    Parameters
    ----------
    units : of each layer; layers of as many units use each other's memory
    state_bytes : the bytes of a stage's state

    Returns
    -------
    most : by number of units, how many batches of activations are stashed at the same time
    snapshots : the most bytes of snapshots at the same time
    """
    spec = schedule.spec
    few = max(_STASHED_BATCHES, spec.ahead + 1)
    weight = max(spec.batches) / min(max(spec.batches), few)
    weight *= spec.epochs_per_chapter if spec.resample == "batch" else 1
    short = dataclasses.replace(_shortened(spec, few), epochs=spec.chapters)
    now: Counter[int] = Counter()
    most: dict[int, int] = defaultdict(int)
    snapshots: dict[tuple[int, int], float] = {}
    largest, chapters = 0.0, 0
    for step in _like(schedule, short, 0).computing(rank):
        match step:
            case s.StashActivations(layer):
                now[units[layer]] += 1
                most[units[layer]] = max(most[units[layer]], now[units[layer]])
            case s.FreeActivations(layer):
                now[units[layer]] -= 1
            case s.TakeSnapshot(stage, chapter):
                snapshots[stage, chapter] = state_bytes(stage)
                largest = max(largest, sum(snapshots.values()))
            case s.FreeSnapshot(stage, chapter):
                del snapshots[stage, chapter]
            case s.Report():
                chapters += 1
                if chapters == _STASHED_CHAPTERS:
                    break
    return {width: weight * count for width, count in most.items()}, largest
