"""Runs of few batches, epochs and chapters, simulated step by step, and what follows from them for a whole one.

Once a run has settled, each batch, each epoch and each chapter takes as long as the one before. So how long it takes,
and whatever else is counted, is linear in the number of each where the others are fixed: the same run is simulated with
two small numbers of each, and the rest is a straight line. Numbers that are small already are left as they are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from ..schedule import Pipeline, Schedule
from ..schedule import steps as s
from ..schedule.spec import ScheduleSpec

#: Batches of an epoch that an excerpt has at least, beside those that are under way at once.
_BATCHES = 8
#: Epochs of a chapter, and rounds of chapters.
_EPOCHS, _ROUNDS = 2, 2


@dataclass(frozen=True)
class Numbers:
    """How many batches of an epoch, epochs of a chapter, and chapters there are."""

    batches: int
    epochs: int
    chapters: int

    @classmethod
    def of(cls, schedule: Schedule) -> Numbers:
        """Return those of a run; batches are those of the largest shard."""
        spec = schedule.spec
        return cls(max(spec.batches), spec.epochs_per_chapter, spec.chapters - schedule.first)


@dataclass(frozen=True)
class Excerpt:
    """A run with fewer of all.

    Attributes
    ----------
    schedule : its schedule
    weights : by split and stream, for how many batches one stands, about one
    others : for how many one stands of what is done once an epoch or a chapter, such as handing on weights
    saves : for how many saves one stands
    share : of the whole run in this one; of all excerpts that is the whole
    repeats : how many more chapters there are, each like the `typical` one, counted from the end
    """

    schedule: Schedule
    weights: Mapping[tuple[s.Split, s.Stream], float]
    others: float
    saves: float
    share: float
    repeats: int = 0
    typical: int = 2


def excerpts(schedule: Schedule, steps: float, budget: float) -> list[Excerpt]:
    """Return excerpts of which a sum, each multiplied by its `share`, is the whole run.

    `steps` are simulated for a batch; of about `budget` in all there may be more than is necessary, the whole run if
    that is possible.
    """
    whole = Numbers.of(schedule)
    found: list[Excerpt] = []
    for corner in product(*_lines(schedule, budget / steps)):
        numbers = Numbers(*(count for count, _ in corner))
        found.append(_excerpt(schedule, numbers, whole, math.prod(share for _, share in corner)))
    return found


#: Numbers that are simulated, and the share of each in the whole.
_Line = list[tuple[int, float]]


def _lines(schedule: Schedule, budget: float) -> tuple[_Line, _Line, _Line]:
    """Return those of batches, epochs and chapters, for about `budget` batches in all."""
    spec, whole, under_way = schedule.spec, Numbers.of(schedule), _under_way(schedule)
    others = [count for _, streams in spec.scored for count, _ in streams.values()]
    if _chooses_by_goodness(spec):
        others += spec.candidate_batches
    least = under_way + _BATCHES + 10 * spec.ahead
    # So many of an epoch that there are enough of what is scored, too, unless this is much shorter.
    batches = math.ceil(max([least, *(least * whole.batches / count for count in others if 4 * count > whole.batches)]))
    entries = whole.batches * whole.epochs + sum(others)
    filling = math.ceil(under_way / entries)
    if isinstance(schedule, Pipeline):  # all ranks are in the same chapter, so that the difference of two can be seen
        line_of_chapters = _all(min(whole.chapters, max(2, filling) + _typical(spec)))
    else:
        step = _round(schedule)
        line_of_chapters = _line(whole.chapters, _ROUNDS * max(step, spec.ranks) + filling, step)
    line_of_epochs = _line(whole.epochs, _EPOCHS, 1)
    if budget >= entries * whole.chapters:
        return _all(whole.batches), _all(whole.epochs), _all(whole.chapters)
    # Ranks with a little less to do than others get ahead until all buffers are full: the longer the better.
    at_once = sum(n for n, _ in line_of_epochs) * sum(n for n, _ in line_of_chapters) * (1 + sum(others) / entries)
    batches = max(batches, int(budget / at_once / (2 + 1 / 3)))
    return _line(whole.batches, batches, max(4, batches // 3)), line_of_epochs, line_of_chapters


def _all(whole: int) -> _Line:
    return [(whole, 1.0)]


def _line(whole: int, least: int, step: int) -> _Line:
    """Return two numbers, `step` apart and not less than `least`, and how the whole is made up of them."""
    least += (whole - least) % step
    if whole <= least + 2 * step:
        return _all(whole)
    times = (whole - least) / step
    return [(least, 1.0 - times), (least + step, times)]


def _under_way(schedule: Schedule) -> int:
    """Return how many batches may be under way at once."""
    if isinstance(schedule, Pipeline):
        return max(schedule.delays) + schedule.spec.depth
    return schedule.spec.depth


def _round(schedule: Schedule) -> int:
    """Return after how many chapters everything repeats itself, but for what is done every so many only."""
    spec = schedule.spec
    lag = spec.adaptive.lag if spec.adaptive and not spec.ahead and not isinstance(schedule, Pipeline) else 1
    return math.lcm(len(schedule.round), len(spec.batches), min(lag, spec.chapters))


def _chooses_by_goodness(spec: ScheduleSpec) -> bool:
    return spec.adaptive is not None and spec.adaptive.scores == "goodness"


def _typical(spec: ScheduleSpec) -> int:
    """Return which chapter, counted from the end, does all that most do: the last ones choose no more negatives."""
    return 2 + (spec.adaptive.lag if spec.adaptive and not spec.ahead else 0)


def _excerpt(schedule: Schedule, numbers: Numbers, whole: Numbers, share: float) -> Excerpt:
    """Return an excerpt in which all is in the same proportion as in the whole, so that ranks wait for the same.

    What is done once a chapter is as much less as there are fewer batches.
    """
    spec, part, epochs = schedule.spec, numbers.batches / whole.batches, numbers.epochs / whole.epochs
    weights: dict[tuple[s.Split, s.Stream], float] = {}

    def fewer(count: int, *streams: tuple[s.Split, s.Stream], often: float = 1.0) -> int:
        made = max(1, round(part * count)) if part < 1.0 else count
        weights.update(dict.fromkeys(streams, often * part * count / made if count else 1.0))
        return made if count else 0

    learnt: list[tuple[s.Split, s.Stream]] = [("train", "train"), ("train", "joint"), ("train", "neutral")]
    batches = tuple(fewer(count, *learnt) for count in spec.batches)
    candidates = tuple(fewer(count, ("train", "candidates"), often=epochs) for count in spec.candidate_batches)
    scored: dict[s.Split, dict[s.Stream, tuple[int, int]]] = {}
    for split, streams in spec.scored:
        scored[split] = {}
        for stream, (count, every) in streams.items():
            # What is scored every so many chapters is scored after each here, but less of it.
            often = _times(spec.chapters, every) / spec.chapters if every else 1.0
            scored[split][stream] = fewer(count, (split, stream), often=epochs * often), min(every, 1)
    saves = _times(spec.chapters, spec.save_every) / spec.chapters if spec.save_every else 1.0
    chapters = schedule.first + numbers.chapters
    short = dataclasses.replace(
        spec, batches=batches, candidate_batches=candidates, chapters=chapters, epochs=numbers.epochs * chapters,
        test_batches=scored.get("test", {}), validation_batches=scored.get("validation", {}),
        save_every=min(spec.save_every, 1),
    )  # fmt: skip
    repeats = whole.chapters - numbers.chapters if isinstance(schedule, Pipeline) else 0
    made = type(schedule)(short, schedule.first)  # type: ignore[call-arg]
    return Excerpt(made, weights, part * epochs, saves * part * epochs, share, repeats, _typical(spec))


def _times(chapters: int, every: int) -> int:
    """Return after how many of `chapters` chapters something is due, every so many and after the last."""
    return -(-chapters // every)
