"""How long ranks wait for each other: the steps of a schedule, each with the time that its arithmetic takes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from simulate import Programs, programs_of, spec_of

from ffmpi import config
from ffmpi.data import FORMATS
from ffmpi.data.info import DatasetInfo
from ffmpi.runtime.sizes import spec_of as priced_spec
from ffmpi.schedule import ScheduleSpec, schedule_of
from ffmpi.schedule import steps as s
from ffmpi.schedule.spec import Adaptive

FORWARD = 0.75  # of a layer's arithmetic; then its activations are on their way, while it learns
BATCHES = 60  # so many that the filling and draining of the pipeline hardly counts
RECIPE = Path(__file__).parents[2] / "runs" / "paper" / "mnist-hinton.toml"


def waiting(spec: ScheduleSpec, programs: Programs) -> float:
    """Return the share of the ranks' time that they wait, if messages take none and the stages' arithmetic their cost.

    A message arrives when it has been sent and a buffer for it has been posted.
    """
    clocks, places = [0.0] * spec.ranks, [0] * spec.ranks
    sent: dict[s.LinkId, list[float]] = defaultdict(list)
    posted: dict[s.LinkId, list[float]] = defaultdict(list)
    received: dict[s.LinkId, int] = defaultdict(int)
    last: dict[tuple[s.LinkId, int], int] = {}  # the message that last left a buffer
    waited, moved = 0.0, True
    while moved:
        moved = False
        for rank, program in enumerate(programs):
            while places[rank] < len(program):
                step = program[places[rank]]
                if isinstance(step, s.Receive | s.Reserve):
                    # A buffer that has sent nothing yet need not be waited for.
                    nth = received[step.link] if isinstance(step, s.Receive) else last.get((step.link, step.buffer), -1)
                    if nth >= min(len(sent[step.link]), len(posted[step.link])):
                        break
                    arrival = max(sent[step.link][nth], posted[step.link][nth]) if nth >= 0 else 0.0
                    waited += max(0.0, arrival - clocks[rank])
                    clocks[rank] = max(clocks[rank], arrival)
                    received[step.link] += isinstance(step, s.Receive)
                elif isinstance(step, s.Send):
                    last[step.link, step.buffer] = len(sent[step.link])
                    sent[step.link].append(clocks[rank])
                elif isinstance(step, s.Post):
                    posted[step.link].append(clocks[rank])
                elif isinstance(step, s.Forward | s.Update):
                    share = FORWARD if isinstance(step, s.Forward) else 1 - FORWARD
                    clocks[rank] += share * spec.costs[step.layer] * (step.batch.stream == "joint")
                elif isinstance(step, s.UpdateHead):
                    clocks[rank] += spec.costs[-1]
                places[rank] += 1
                moved = True
    assert places == [len(program) for program in programs]
    # At the end all wait for the last one.
    waited += sum(max(clocks) - clock for clock in clocks)
    return waited / (spec.ranks * max(clocks))


def waiting_of(spec: ScheduleSpec) -> float:
    """Return the same of a run of the pipeline."""
    return waiting(spec, programs_of(schedule_of("pipeline", spec, 0)))


def adaptive(lag: int | None, ranks: int, costs: list[float]) -> ScheduleSpec:
    """Return a pipeline in which each batch's negatives are chosen `lag` batches before it, or none is chosen."""
    chosen = Adaptive("softmax", lag) if lag else None
    return spec_of(
        len(costs) - 1, ranks=ranks, depth=3, batches=(BATCHES,), chapters=1, costs=costs, adaptive=chosen,
        resample="batch",
    )  # fmt: skip


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_the_least_lag_at_which_nobody_waits_is_the_number_of_ranks(ranks: int) -> None:
    """With less, the rank of the first layer waits for the head's negatives, and all others wait for that rank."""
    costs = [1.0] * 12  # that any of these numbers of ranks divides
    without = waiting_of(adaptive(None, ranks, costs))
    assert without < 0.05
    for lag in range(1, 6):
        share = waiting_of(adaptive(lag, ranks, costs))
        assert share == pytest.approx(without, abs=0.001) if lag >= ranks else share > without + 0.15, lag


def test_the_recipe_after_hinton_has_the_least_lag_at_which_two_ranks_do_not_wait() -> None:
    """But for what they wait because three layers and the head do not divide evenly."""
    settled = config.read(str(RECIPE))
    dataset = DatasetInfo((28, 28), tuple("0123456789"), FORMATS["mnist"].train, FORMATS["mnist"].test)
    costs = list(priced_spec(settled, dataset, 1).costs)
    without = waiting_of(adaptive(None, 2, costs))
    shares = {lag: waiting_of(adaptive(lag, 2, costs)) for lag in (1, 2)}
    assert shares[1] > without + 0.1 and shares[2] == pytest.approx(without, abs=0.001)
    assert settled.negatives.lag == 2
