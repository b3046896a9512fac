"""What steps cost: small cases by hand, the excerpt of a run against the whole of it, FLOP against a run's own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs
from simulate import spec_of

from ffmpi import config
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.run import progress
from ffmpi.runtime.sizes import expected_balance, long_scoring, step_costs
from ffmpi.runtime.sizes import spec_of as priced_spec
from ffmpi.schedule import Pipeline, Schedule, ScheduleSpec, schedule_of
from ffmpi.schedule import steps as s
from ffmpi.schedule.core import CORE, Core, Cost, traffic
from ffmpi.schedule.cost import Rows, RuleCost, StepCosts
from ffmpi.schedule.spec import Adaptive
from ffmpi.schedule.totals import Balance, balance_of, most_stashed, stage_loads
from tests.helpers import records

MNIST = DatasetInfo((28, 28), tuple("0123456789"), 60_000, 10_000, nonzero=0.19)
ROOT = Path(__file__).parents[2]


# One step -------------------------------------------------------------------------------------------------------------


def test_a_product_by_hand() -> None:
    cost = CORE.product(10, 300, 96)
    assert cost.flop == 2 * 10 * 300 * 96
    assert cost.bytes == 4 * (10 * 300 + 10 * 96 + 300 * 96)
    assert cost.seconds == pytest.approx(cost.flop / CORE.forward.rate)
    # Few units take as long as one pass computes; units come in sixteens.
    assert CORE.product(10, 300, 10).seconds == CORE.product(10, 300, 48).seconds
    assert CORE.product(10, 300, 97).seconds == CORE.product(10, 300, 112).seconds > cost.seconds


def test_zeros_are_skipped_where_there_are_many() -> None:
    dense, many, few = (CORE.product(10, 300, 96, density) for density in (1.0, 0.1, 0.3))
    assert many.flop == few.flop == dense.flop
    assert few.seconds == dense.seconds and many.seconds == pytest.approx(0.1 * 10 * 300 * 96 * CORE.forward.nonzero)
    # A gradient of few rows skips earlier, one of many rows later.
    assert CORE.update(30, 300, 960, 0, 0.3).seconds < CORE.update(30, 300, 960, 0, 1.0).seconds
    assert CORE.update(1000, 300, 960, 0, 0.15).seconds == CORE.update(1000, 300, 960, 0, 1.0).seconds


def test_threads_share_out_units() -> None:
    two, wide = CORE.with_threads(2), (10, 300, 960)
    for density in (1.0, 0.1):
        assert two.product(*wide, density).seconds == pytest.approx(CORE.product(*wide, density).seconds / 2)
        assert two.update(*wide, 2, density).seconds == pytest.approx(CORE.update(*wide, 2, density).seconds / 2)
    assert two.begin("Forward") == CORE.begin("Forward") and two.copied(99) == CORE.copied(99)
    assert CORE.with_threads(1) == CORE


def test_an_optimiser_moves_parameters_and_moments() -> None:
    assert [CORE.optimiser(1000, moments).bytes for moments in (1, 2)] == [16_000, 24_000]
    assert CORE.optimiser(1000, 2).seconds == pytest.approx(1000 * CORE.two_moments)
    step = CORE.update(50, 300, 96, 2)
    assert step.flop == 2 * 50 * 300 * 96 and step.bytes == traffic(50, 300, 96, 1) + 24 * 300 * 96


def costs_of(**more: object) -> StepCosts:
    """Return the costs of two layers, 20 - 30 - 40, whose batches have 5 samples in 10 rows."""
    settings = {
        "widths": (20, 30, 40), "classes": 10, "head_layers": (1,), "moments": 1, "head_moments": 1, "shared": True,
        "density": 1.0, "rules": (RuleCost(0.5, 1.0), RuleCost(0.5, 1.0)),
        "batches": {("train", "joint"): Rows(5, 15, 10), ("test", "plain"): Rows(5, 5)},
    }  # fmt: skip
    return StepCosts(**(settings | more))  # type: ignore[arg-type]


def test_the_steps_of_a_batch_by_hand() -> None:
    costs, batch = costs_of(), s.Batch("joint", 0)
    flop = {step: costs.of(step).flop for step in (
        s.BuildInput(batch), s.Forward(0, batch), s.Update(0, batch, 0), s.Forward(1, batch), s.Update(1, batch, 0),
        s.GatherHeadInput(1, batch), s.Logits(1, batch), s.UpdateHead(batch, 0, False), s.Report(0),
    )}  # fmt: skip
    images = 5 * (1 - 0.5**2)  # that take part, if half of all rows do
    assert list(flop.values()) == pytest.approx([
        0, 2 * 5 * 20 * 30, 2 * images * 20 * 30, 2 * 15 * 30 * 40, 2 * 5 * 30 * 40, 0,
        2 * 5 * 40 * 10, 2 * 5 * 40 * 10, 0,
    ])  # fmt: skip
    assert costs.of(s.Report(0)) == costs.of(s.SetEpoch(0, 0)) == Cost()
    # Without labels each row has products of its own.
    assert costs_of(shared=False).of(s.Forward(0, batch)).flop == 2 * 15 * 20 * 30


def test_a_piece_costs_its_share() -> None:
    """Of 200 units, in 13 panels, the last of which has 8; what all pieces do is what the whole layer does."""
    costs, batch = costs_of(widths=(20, 30, 200), head_layers=(1,)), s.Batch("joint", 0)
    pieces = [{1: range(6)}, {0: range(2), 1: range(6, 13)}]
    for step in (s.Forward(1, batch), s.Update(1, batch, 0), s.Logits(1, batch), s.UpdateHead(batch, 0, False)):
        each = [costs.on(piece).of(step).flop for piece in pieces]
        assert sum(each) == pytest.approx(costs.of(step).flop)
        assert each[0] / each[1] == pytest.approx(96 / 104)
    half, whole = (each.of(s.Forward(1, batch)).seconds - CORE.step for each in (costs.on(pieces[0]), costs))
    assert half / whole == pytest.approx(6 / 13)
    assert costs.on(pieces[1]).of(s.Forward(0, batch)) == costs.of(s.Forward(0, batch))


def test_what_a_rule_adds() -> None:
    def extra(core: Core, rows: float, units: int) -> Cost:
        return Cost(rows * units, 1.0, 1.0)

    rule, plain = RuleCost(scores=extra, update=extra), RuleCost()
    more, less = (costs_of(shared=False, rules=(each, each)) for each in (rule, plain))
    joint, tested = s.Batch("joint", 0), s.Batch("plain", 0, "test")
    for step, added in ((s.Forward(1, joint), 0), (s.Update(1, joint, 0), 10 * 40), (s.Forward(1, tested), 5 * 40)):
        assert more.of(step).flop - less.of(step).flop == added


# All steps ------------------------------------------------------------------------------------------------------------


def whole(plan: Schedule, costs: StepCosts) -> list[float]:
    """Return the seconds of each rank, step after step."""
    each = [plan.costs_on(rank, costs) for rank in range(plan.spec.ranks)]
    return [sum(each[rank].of(step).seconds for step in plan.steps(rank)) for rank in range(plan.spec.ranks)]


def costs_for(spec: ScheduleSpec) -> StepCosts:
    """Return costs in which layers and streams differ."""
    streams = {**dict.fromkeys(s.LEARNT, Rows(50, 100, 100)), "neutral": Rows(50, 50), "candidates": Rows(20, 180)}
    batches = {("train", stream): rows for stream, rows in streams.items()}
    batches |= {("test", stream): Rows(40, 40 + 100 * number) for number, stream in enumerate(s.SCORED)}
    widths = (100, *(200 + 300 * (layer % 2) for layer in range(spec.layers)))
    rules = (RuleCost(0.3, 0.4),) * spec.layers
    return costs_of(widths=widths, batches=batches, head_layers=spec.head_layers, rules=rules)


@pytest.mark.parametrize("name", ["pipeline", "single-layer", "single-layer by weights", "all-layers", "federated"])
@pytest.mark.parametrize(("epochs", "adaptive"), [(1, None), (5, None), (3, Adaptive("goodness", 4))])
def test_an_excerpt_is_like_the_whole_run(name: str, epochs: int, adaptive: Adaptive | None) -> None:
    federated = name == "federated"
    spec = spec_of(
        3, ranks=3, batches=(20, 15, 25) if federated else (24,), chapters=15, per_chapter=epochs,
        test={"softmax": (7, 1), "goodness": (9, 5)}, adaptive=None if federated else adaptive,
        exchange="weights" if name.endswith("weights") else "activations", costs=[1, 2, 3, 1], panels=(13, 32, 13),
    )  # fmt: skip
    plan, costs = schedule_of(name.removesuffix(" by weights"), spec), costs_for(spec)
    alone = schedule_of(name.removesuffix(" by weights"), dataclasses.replace(spec, ranks=1))
    found, (once,) = balance_of(plan, costs), whole(alone, costs)
    assert [each / found.alone for each in found.each] == pytest.approx(
        [each / once for each in whole(plan, costs)], rel=0.03
    )
    # Narrow pieces cost more than their share, and who has a piece of the first layer builds its input.
    twice = name.endswith("weights") or name == "pipeline"
    assert sum(found.each) > 1.005 * found.alone if twice else sum(found.each) == pytest.approx(found.alone, rel=0.03)


@pytest.mark.parametrize("name", ["pipeline", "all-layers", "single-layer"])
def test_what_is_priced_is_what_is_done(name: str) -> None:
    """But for messages, which are many on many ranks; ranks of a kind do the same as often."""
    scored: dict[s.Stream, tuple[int, int]] = {"softmax": (1, 1), "plain": (2, 1)}
    spec = spec_of(3, ranks=3, chapters=3, panels=(7, 8, 9), test=scored, scores_training=True)
    plan, messages = schedule_of(name, spec), (s.Post, s.Receive, s.Reuse, s.Reserve, s.Send)
    kinds: dict[object, list[str]] = {}
    for rank in range(3):
        priced = [step for step in plan.computing(rank) if not isinstance(step, messages)]
        assert priced == [step for step in plan.steps(rank) if not isinstance(step, messages)]
        done = sorted(f"{type(step).__name__} {getattr(step, 'batch', '')}" for step in priced)
        assert kinds.setdefault(plan.kind_of(rank), done) == done


def test_negatives_of_each_batch_run_ahead() -> None:
    spec = spec_of(
        3, ranks=2, panels=(13, 32, 13), batches=(60,), chapters=3, adaptive=Adaptive("softmax", 2), resample="batch"
    )
    costs = costs_for(spec)
    plan = schedule_of("pipeline", spec)
    found = balance_of(plan, costs)
    one, other = whole(plan, costs)
    assert found.each[0] / found.each[1] == pytest.approx(one / other, rel=0.02)


def test_every_stage_has_its_share() -> None:
    """All of the pipeline is some stage's; of chapters in turn what follows the last layer's learning is no one's."""
    spec = spec_of(3, batches=(10,), chapters=2, test={"softmax": (4, 1)})
    costs, shares = costs_for(spec), {}
    for name in ("pipeline", "all-layers"):
        stages, after = stage_loads(schedule_of(name, spec), costs)
        assert len(stages) == 4 and min(stages) > 0
        assert sum(stages) + after == pytest.approx(sum(whole(schedule_of(name, spec), costs)), rel=0.05)
        shares[name] = after
    assert shares["pipeline"] == 0 < shares["all-layers"]


def test_a_balance() -> None:
    balance = Balance((3.0, 2.0, 1.0), 6.0)
    assert balance.ideal == 2.0 and balance.measured([4.0, 2.0, 2.0]) == 2.0
    again = Balance((3.0, 3.0), 4.5)  # a fourth of the work is done twice
    assert again.ideal == 1.5 and again.measured([2.0, 2.0]) == 1.5


def test_what_lies_in_memory() -> None:
    """A layer's chapter is stashed until the next layer has learnt from it; a stage that is ahead leaves a snapshot."""
    spec = spec_of(3, batches=(400,), chapters=6)
    most, snapshots = most_stashed(schedule_of("all-layers", spec), 0, [7, 8, 8], lambda stage: 10.0)
    assert most == {7: pytest.approx(400), 8: pytest.approx(400)} and snapshots == 0
    ahead = schedule_of("single-layer", spec_of(3, ranks=3, chapters=6))
    assert most_stashed(ahead, 0, [7, 8, 8], lambda stage: 10.0)[1] == 40.0  # two layers, two chapters
    assert most_stashed(schedule_of("pipeline", spec), 0, [7, 8, 8], lambda stage: 10.0) == ({}, 0)
    # The pipeline's layers go on while the head comes to the end of a chapter, or of two or three short ones.
    for batches, counts in ((400, (1, 1)), (2, (3, 2))):
        cut = schedule_of("pipeline", spec_of(3, ranks=4, panels=(8, 8, 8), batches=(batches,), chapters=6))
        taken = [most_stashed(cut, rank, [7, 8, 8], lambda stage: 10.0)[1] for rank in (0, 3)]
        assert taken == [10.0 * count for count in counts]


# Runs -----------------------------------------------------------------------------------------------------------------


def plan_of(recipe: str, ranks: int, *settings: str, dataset: DatasetInfo = MNIST) -> tuple[Schedule, Balance]:
    settled = resolved(config.read(str(ROOT / "runs" / recipe), list(settings)), dataset)
    plan = settled.schedule.plan(priced_spec(settled, dataset, ranks))
    return plan, expected_balance(settled, dataset, plan)


@pytest.mark.parametrize(
    ("recipe", "ranks", "ideal"),
    [
        ("mnist.toml", 2, 1.96), ("mnist.toml", 3, 2.92), ("mnist.toml", 8, 7.2), ("mnist-local-softmax.toml", 2, 1.93),
        ("mnist-local-softmax.toml", 3, 2.8),
    ],
)  # fmt: skip
def test_ranks_have_equal_shares(recipe: str, ranks: int, ideal: float) -> None:
    """The ribbon is cut by what its pieces cost; what several do, such as building inputs, is what is lost."""
    plan, balance = plan_of(recipe, ranks)
    mean = sum(balance.each) / ranks
    assert balance.ideal > ideal and max(balance.each) < 1.04 * mean
    assert isinstance(plan, Pipeline)
    assert [plan.ribbon.load(rank) for rank in range(ranks)] == pytest.approx(
        [each / mean for each in balance.each], rel=0.02
    )


def test_work_is_shared_out_by_the_figures_of_a_core() -> None:
    """One that skips zeros slowly gives less to who has the last layers, whose inputs are mostly zero."""
    settled = resolved(config.read(str(ROOT / "runs" / "mnist.toml")), MNIST)
    slow = structs.replace(CORE, forward=structs.replace(CORE.forward, nonzero=10 * CORE.forward.nonzero))
    plans = [settled.schedule.plan(priced_spec(settled, MNIST, 2, core)) for core in (CORE, slow)]
    usual, other = (plan.ribbon.cuts for plan in plans if isinstance(plan, Pipeline))
    assert usual[1] < other[1]
    for plan in plans:
        balance = expected_balance(settled, MNIST, plan)
        assert max(balance.each) < 1.02 * sum(balance.each) / 2


SETTINGS = ["train.epochs=3", "network.layers=[96,64,48]", "classify.goodness_every=2"]
RUNS = {
    "goodness": SETTINGS,
    "local": ["rule.name=local-softmax", "train.epochs=2", "network.layers=[96,64,48]"],
    "chapters": [*SETTINGS, "schedule.name=all-layers", "train.chapters=3"],
}


@pytest.mark.parametrize("name", RUNS)
def test_the_flop_of_a_run(name: str, train_all: Callable[..., Callable[[str], Path]]) -> None:
    """What the layers of a run were measured to do, if the share of rows that learn is the one that was measured."""
    run = train_all(1, RUNS)(name)
    settled = config.read(str(run / "config.toml"))
    facts = json.loads((run / "environment.json").read_text())["data"]["splits"]
    dataset = DatasetInfo((8, 8), tuple("0123456789"), facts["train"]["samples"], facts["test"]["samples"])
    spec = priced_spec(settled, dataset, 1)
    costs = step_costs(settled, dataset, spec)
    found: list[float] = [0.0]
    measured = records(run)
    for step in settled.schedule.plan(spec).steps(0):
        active = [layer["active"] for layer in measured[min(len(found), len(measured)) - 1]["layers"]]
        now = dataclasses.replace(costs, rules=tuple(RuleCost(active=share) for share in active), _known={})
        if isinstance(step, s.Forward | s.Update):  # a run counts only layers
            found[-1] += now.of(step).flop
        elif isinstance(step, s.Report):
            found.append(0.0)
    exactly = 1e-9 if name == "local" else 0.01  # which images the rows that learn show is not told
    assert found[:-1] == pytest.approx([record["ranks"][0]["flop"] for record in measured], rel=exactly)


def test_a_balance_that_was_not_expected_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    plan, _ = plan_of("digits.toml", 2, dataset=DatasetInfo((8, 8), tuple("0123456789"), 1437, 360))
    settled = config.read(str(ROOT / "runs" / "digits.toml"))
    dataset = DatasetInfo((8, 8), tuple("0123456789"), 1437, 360)
    layer = {"loss": 0.5, "positive_goodness": 2.0, "negative_goodness": 1.0}
    rank = {"seconds": 2.0, "waiting_share": 0.0, "gflops": 1.0}
    for computing, expected in (([3.0, 2.0], "1.67 as measured, not 2.00 as expected"), ([2.0, 1.95], "")):
        told = progress.Progress(
            settled, dataset, plan, ["host"] * 2, progress.Output(), balance=Balance((1.0, 1.0), 2.0)
        )
        for epoch in (1, 2):
            ranks = [rank | {"computing": seconds / epoch} for seconds in computing]
            told.chapter({
                "epoch": epoch, "seconds": 1.0, "samples_per_second": 1.0, "layers": [layer] * 3, "accuracy": {},
                "ranks": ranks,
            })  # fmt: skip
        lines = [line for line in capsys.readouterr().out.splitlines() if "ideal" in line]
        assert lines == ([f"ideal speed-up, by load balance: {expected}"] if expected else [])


def test_that_scoring_every_class_takes_long_is_told() -> None:
    settings = ["negatives.name=adaptive", "negatives.scores=goodness", "network.layers=[100,100]"]
    for classes, samples, settings_more, words in (
        (10, 500, [], []),
        (
            500,
            500,
            [],
            ["tell the 500 test samples by goodness", "choose negatives by goodness among 499 wrong classes"],
        ),
        (500, 1, ["classify.goodness_every=2"], ["choose negatives"]),
        (500, 500, ["classify.methods=['softmax']"], ["choose negatives"]),
        (500, 500, ["negatives.scores=softmax", "classify.goodness_every=1"], ["all 500 classes"]),
    ):
        settled = config.parse("", "test", [*settings, *settings_more, "train.epochs=4"])
        dataset = DatasetInfo((8, 8), tuple(map(str, range(classes))), 1000, samples)
        settled = resolved(settled, dataset)
        told = long_scoring(settled, dataset, priced_spec(settled, dataset, 1))
        assert len(told) == len(words) and all(word in text for word, text in zip(words, told, strict=True)), told
    assert "takes as long as about" in told[0] and "each chapter" in told[0]
