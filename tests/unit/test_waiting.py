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
from ffmpi.schedule import Pipeline, ScheduleSpec
from ffmpi.schedule import steps as s
from ffmpi.schedule.spec import Adaptive

FORWARD = 0.75  # of a layer's arithmetic; then its activations are on their way, while it learns
BATCHES = 60  # so many that the filling and draining of the pipeline hardly counts
RECIPE = Path(__file__).parents[2] / "runs" / "paper" / "mnist-hinton.toml"


def waiting(spec: ScheduleSpec, plan: Pipeline, programs: Programs) -> float:
    """Return the share of the ranks' time that they wait, if messages take none and the stages' arithmetic their cost.

    A message arrives when it has been sent and a buffer for it has been posted.
    """
    shares = [
        {layer: len(piece) / spec.panels[layer] for layer, piece in plan.pieces(rank).items()}
        for rank in range(spec.ranks)
    ]
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
                    share *= shares[rank][step.layer]
                    clocks[rank] += share * spec.costs[step.layer] * (step.batch.stream == "joint")
                elif isinstance(step, s.UpdateHead):
                    read = sum(shares[rank].get(layer, 0) for layer in spec.head_layers)
                    clocks[rank] += spec.costs[-1] * read / len(spec.head_layers)
                places[rank] += 1
                moved = True
    assert places == [len(program) for program in programs]
    # At the end all wait for the last one.
    waited += sum(max(clocks) - clock for clock in clocks)
    return waited / (spec.ranks * max(clocks))


def waiting_of(spec: ScheduleSpec) -> float:
    """Return the same of a run of the pipeline."""
    plan = Pipeline(spec)
    return waiting(spec, plan, programs_of(plan))


def adaptive(lag: int | None, ranks: int, costs: list[float], panels: tuple[int, ...] = ()) -> ScheduleSpec:
    """Return a pipeline in which each batch's negatives are chosen `lag` batches before it, or none is chosen."""
    chosen, layers = Adaptive("softmax", lag) if lag else None, len(costs) - 1
    return spec_of(
        layers, ranks=ranks, depth=3, batches=(BATCHES,), chapters=1, costs=costs, panels=panels or (24,) * layers,
        adaptive=chosen, resample="batch",
    )  # fmt: skip


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_the_least_lag_at_which_nobody_waits(ranks: int) -> None:
    """It is how many batches are under way, with less than the number of ranks all wait for each other all the time.

    In between layers are left whole, and ranks wait as far as these cannot be shared out evenly.
    """
    costs = [1.0] * 12
    plan = Pipeline(adaptive(None, ranks, costs))
    least, without = plan.delays[-2] + 1, waiting_of(plan.spec)
    filled = plan.delays[-1] / BATCHES  # the last layer begins so much later
    assert without < 0.02 + filled and (least > ranks or ranks == 1)
    for lag in (1, ranks - 1, ranks, least - 1, least, least + 1):
        spec = adaptive(lag, ranks, costs)
        share, told = waiting_of(spec), Pipeline(spec).delay
        assert bool(told) == (0 < lag < least and ranks > 1)
        if lag >= least or ranks == 1:
            assert share == pytest.approx(without, abs=0.005)
        elif lag >= ranks:
            assert without + 0.03 < share < without + 0.08
        else:
            assert share > without + 0.3


def test_the_lag_of_the_recipe_after_hinton() -> None:
    """On two ranks it leaves layers whole, of which there are three; with one more these can be cut."""
    settled = config.read(str(RECIPE))
    dataset = DatasetInfo((28, 28), tuple("0123456789"), FORMATS["mnist"].train, FORMATS["mnist"].test)
    priced = priced_spec(settled, dataset, 1)
    shares = {}
    for lag in (None, 1, 2, 3):
        spec = adaptive(lag, 2, list(priced.costs), priced.panels)
        shares[lag] = waiting_of(spec)
    assert settled.negatives.lag == 2
    assert shares[None] < 0.03 and shares[3] == pytest.approx(shares[None], abs=0.003)
    assert 0.25 < shares[2] < 0.35 and 0.25 < shares[1] < 0.35
