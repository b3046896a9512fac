"""Plans: simulated time by hand, excerpts against whole runs, equal ranks as one against each by itself."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from ffmpi import config
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.plan.events import Simulation
from ffmpi.plan.groups import Groups
from ffmpi.plan.machine import Machine, read_machine
from ffmpi.plan.planner import plan_of
from ffmpi.plan.simulation import Plan, simulate
from ffmpi.plan.stashed import StashMemory
from ffmpi.runtime.sizes import message_sizes, spec_of, step_costs
from ffmpi.schedule import LinkId
from ffmpi.schedule import steps as s
from ffmpi.schedule.core import CORE, Cost
from tests.helpers import ROOT

DIGITS = DatasetInfo((8, 8), tuple("0123456789"), 1437, 360, nonzero=0.5)
MACHINE = read_machine("epyc-avx2")
WHOLE = 1e12  # steps: more than any run here has


def settled(*settings: str) -> config.Config:
    return resolved(config.parse("", "here", ["network.layers=[96,64,80]", "train.epochs=4", *settings]), DIGITS)


def planned(ranks: int, *settings: str, steps: float = WHOLE, per_host: int = 64, merge: bool = True) -> Plan:
    run = settled(*settings)
    spec = spec_of(run, DIGITS, ranks)
    costs, sizes = step_costs(run, DIGITS, spec), message_sizes(run, DIGITS, spec)
    return simulate(run.schedule.plan(spec), costs, sizes, MACHINE, per_host, steps, merge=merge)


def test_ranks_that_take_turns_have_the_host_to_themselves() -> None:
    """Then cores are less slowed down by each other than where all are busy."""
    slow = structs.replace(
        MACHINE.core, forward=structs.replace(MACHINE.core.forward, rate=MACHINE.core.forward.rate / 2)
    )
    run = settled("schedule.name=single-layer", "train.chapters=4")
    spec = spec_of(run, DIGITS, 2)
    arguments = run.schedule.plan(spec), step_costs(run, DIGITS, spec), message_sizes(run, DIGITS, spec)
    fast, mixed, all_slow = (
        simulate(*arguments, structs.replace(MACHINE, alone=alone, core=core), 2, WHOLE).seconds
        for alone, core in ((MACHINE.core, MACHINE.core), (MACHINE.core, slow), (slow, slow))
    )
    assert fast < mixed < all_slow


# By hand --------------------------------------------------------------------------------------------------------------

LINK = LinkId(0, 1, "activations", 0, 1, 1)
BATCH = s.Batch("train", 0)


@dataclass
class Script:
    """A schedule of given steps."""

    programs: list[list[s.Step]]
    found: list[LinkId] = field(default_factory=lambda: [LINK])

    @property
    def spec(self) -> Any:
        return SimpleNamespace(ranks=len(self.programs), layers=1, panels=(1,), chapters=1)

    def kind_of(self, rank: int) -> int:
        return rank

    def links_of(self, rank: int) -> list[LinkId]:
        return [link for link in self.found if rank in (link.source, link.target)]

    def steps_with(self, rank: int, links: list[LinkId]) -> Any:
        return iter(self.programs[rank])

    def trained(self, rank: int) -> list[int]:
        return [0]

    def costs_on(self, rank: int, costs: Any) -> Any:
        return costs


class Costs:
    """A forward takes 1 s, an update 2 s, offering a buffer 0.25 s."""

    core = CORE

    def of(self, step: s.Step) -> Cost:
        return Cost(seconds={s.Forward: 1.0, s.Update: 2.0, s.Post: 0.25}.get(type(step), 0.0))


def machine_of(**more: Any) -> Machine:
    """Messages take half a second and a second for each 1000 bytes, of which their ends are busy for 0.125 s."""
    line = structs.replace(MACHINE.inside, bytes=[0, 1000], seconds=[0.5, 1.5], overhead=[0.125, 0.125])
    return structs.replace(MACHINE, inside=line, between=line, card=1e12, **more)


def run(programs: list[list[s.Step]], per_host: int = 2, size: float = 1000.0, machine: Machine | None = None) -> Any:
    script: Any = Script(programs)
    sizes: Any = SimpleNamespace(of=lambda *_: size, saved=4000.0, states=[800.0], outputs=(8,))
    messages: list[tuple[float, float]] = []
    simulation = Simulation(
        script, Costs(), sizes, machine or machine_of(), Groups(script, per_host),  # type: ignore[arg-type]
        watch_message=lambda link, bytes_, sent, arrived: messages.append((sent, arrived)),
    )  # fmt: skip
    return simulation.run(), messages


FORWARD, UPDATE = s.Forward(0, BATCH), s.Update(0, BATCH, 0)
POST, RECEIVE = s.Post(LINK, 0, BATCH), s.Receive(LINK, 0, BATCH)
RESERVE, SEND = s.Reserve(LINK, 0), s.Send(LINK, 0, BATCH)


def test_a_rank_waits_for_a_message_and_not_longer() -> None:
    outcome, messages = run([[FORWARD, RESERVE, SEND, UPDATE], [POST, RECEIVE, UPDATE]])
    assert messages == [(1.0, 2.5)]  # sent after the forward, 1.5 s under way
    first, second = outcome.usage
    assert outcome.seconds == 4.5
    assert (first.busy, first.waiting, first.messages, first.sent) == (3.125, 0.0, 1.0, 1000.0)
    # Offered 0.25, taken over 0.125, waited for until 2.5, and then learnt from.
    assert (second.busy, second.waiting, second.received) == (2.375, 2.125, 1000.0)


def test_a_message_waits_for_its_buffer_and_a_buffer_for_its_message() -> None:
    outcome, messages = run([[SEND, RESERVE, SEND, RESERVE], [UPDATE, POST, RECEIVE, POST, RECEIVE]], size=50_000.0)
    (sent, arrived), (again, at_last) = messages
    took = 0.5 + 50.0
    assert (sent, arrived) == (0.0, 2.25 + took)  # offered after the update
    assert again == arrived and at_last == pytest.approx(arrived + 0.25 + took)
    assert outcome.seconds == at_last and outcome.usage[0].waiting == pytest.approx(at_last - 0.25)


def test_what_is_small_leaves_its_buffer_at_once() -> None:
    outcome, _ = run([[SEND, RESERVE], [UPDATE, POST, RECEIVE]], size=10.0)
    assert outcome.usage[0].waiting == 0.0


def test_the_cards_of_hosts_carry_one_message_after_the_other() -> None:
    links = [LinkId(0, 2, "activations", 0, 1, 1), LinkId(1, 2, "activations", 0, 1, 1)]
    batches = [[s.Send(link, 0, BATCH)] for link in links]
    taken = [step for link in links for step in (s.Post(link, 0, BATCH), s.Receive(link, 0, BATCH))]
    machine = structs.replace(machine_of(), card=100.0)  # 10 s for a message

    def seconds(per_host: int) -> float:
        script: Any = Script([*batches, taken, []], links)
        sizes: Any = SimpleNamespace(of=lambda *_: 1000.0, outputs=(8,))
        return Simulation(script, Costs(), sizes, machine, Groups(script, per_host)).run().seconds  # type: ignore[arg-type]

    assert seconds(per_host=4) < 4.0
    assert seconds(per_host=2) == pytest.approx(0.25 + 10.0 + 0.5 + 0.25 + 10.0 + 0.5, abs=0.3)


def test_reports_and_a_save_hold_up_whom_they_concern() -> None:
    save = s.Save(0, ((s.Piece(1, 0, 1),),))
    programs: list[list[s.Step]] = [[s.Report(0), s.Record(0, (0, 1)), save], [UPDATE, s.Report(0), save]]
    outcome, _ = run(programs, machine=machine_of(disk=1000.0))
    assert outcome.usage[0].waiting == 2.0  # for the report
    assert outcome.usage[0].busy == pytest.approx(4.125)  # 4000 bytes
    assert outcome.seconds == pytest.approx(6.125) and outcome.usage[1].waiting == pytest.approx(4.125)


# Of runs --------------------------------------------------------------------------------------------------------------

PAPER = ("schedule.name=all-layers", "schedule.name=single-layer", "schedule.exchange=weights")
RUNS = [
    (1, ()), (2, ()), (4, ()), (1, PAPER[:1]), (2, PAPER[:1]), (2, PAPER[1:2]), (3, PAPER[1:]), (9, ()),
    (3, ("negatives.name=adaptive", "classify.methods=['softmax']")),
    (3, ("negatives.name=adaptive", *PAPER[1:2])), (4, ("rule.name=local-softmax",)),
]  # fmt: skip


@pytest.mark.parametrize(("ranks", "settings"), RUNS)
def test_ranks_are_busy_or_wait_and_every_message_arrives(ranks: int, settings: tuple[str, ...]) -> None:
    run = settled(*settings)
    spec = spec_of(run, DIGITS, ranks)
    schedule = run.schedule.plan(spec)
    spans: dict[int, list[tuple[float, float]]] = {rank: [] for rank in range(ranks)}
    sent: Counter[Any] = Counter()
    simulation = Simulation(
        schedule, step_costs(run, DIGITS, spec), message_sizes(run, DIGITS, spec), MACHINE,
        Groups(schedule, ranks, merge=False), watch=lambda rank, step, start, stop: spans[rank].append((start, stop)),
        watch_message=lambda link, size, start, stop: sent.update({link: 1}),
    )  # fmt: skip
    outcome = simulation.run()
    steps = [step for rank in range(ranks) for step in schedule.steps(rank)]
    assert sent == Counter(step.link for step in steps if isinstance(step, s.Send))
    for rank, usage in enumerate(outcome.usage):
        ends = [0.0, *(stop for _, stop in spans[rank])]
        assert [start for start, _ in spans[rank]] == pytest.approx(ends[:-1])  # nothing between, nothing twice
        assert usage.busy + usage.waiting == pytest.approx(ends[-1]) and ends[-1] <= outcome.seconds
    assert sum(usage.sent for usage in outcome.usage) == pytest.approx(sum(one.received for one in outcome.usage))


LONG = ("train.epochs=30", "train.batch_size=24")


@pytest.mark.parametrize(("ranks", "settings"), [
    (1, ()), (2, ()), (3, ("checkpoint.every=5", "classify.goodness_every=4")), (2, ("train.chapters=6",)),
    (4, PAPER[:1]), (3, PAPER[1:2]), (3, PAPER[1:]), (1, ("schedule.name=sequential", "train.chapters=5")),
    (3, ("negatives.name=adaptive", *PAPER[1:2], "train.epochs=24", "train.chapters=24")),
    (1, ("negatives.name=adaptive", "negatives.lag=2")),
])  # fmt: skip
def test_excerpts_say_what_the_whole_run_does(ranks: int, settings: tuple[str, ...]) -> None:
    whole = planned(ranks, *LONG, *settings)
    short = planned(ranks, *LONG, *settings, steps=6e3)
    assert short.seconds == pytest.approx(whole.seconds, rel=0.015)
    for one, other in zip(short.usage, whole.usage, strict=True):
        assert one.busy == pytest.approx(other.busy, rel=0.015)
        assert one.flop == pytest.approx(other.flop, rel=1e-3)
        assert one.sent == pytest.approx(other.sent, rel=5e-3)


def test_one_rank_stands_for_all_that_are_equal() -> None:
    wide = ("network.layers=[512,512,512]", "train.epochs=1", "train.batch_size=256", "classify.methods=['softmax']")
    for per_host in (64, 4):
        whole, merged = (planned(24, *wide, per_host=per_host, merge=merge) for merge in (False, True))
        assert len(whole.groups) == 24 > len(merged.groups)
        assert merged.seconds == pytest.approx(whole.seconds, rel=1e-6 if per_host == 64 else 0.03)
        for rank in range(24):
            assert merged.of(rank).busy == pytest.approx(whole.of(rank).busy)
            assert merged.of(rank).sent == pytest.approx(whole.of(rank).sent)
            assert merged.of(rank).messages == whole.of(rank).messages


def test_more_ranks_are_faster_and_idle_more() -> None:
    run = settled("network.layers=[512,512,512]", "train.epochs=2")
    plans = [plan_of(run, DIGITS, ranks, MACHINE, 64, 1e4) for ranks in (1, 2, 4)]
    assert [plan.seconds for plan in plans] == sorted((plan.seconds for plan in plans), reverse=True)
    assert plans[0].idle == pytest.approx(0.0, abs=1e-9) and plans[2].idle > plans[1].idle > 0.0


# The paper ------------------------------------------------------------------------------------------------------------


def test_the_paper_s_speed_ups_follow_from_its_steps() -> None:
    spec = importlib.util.spec_from_file_location("planned", ROOT / "runs" / "paper" / "planned.py")
    assert spec and spec.loader
    planned = importlib.util.module_from_spec(spec)
    sys.modules["planned"] = planned
    spec.loader.exec_module(planned)
    rows = {(row.model, row.implementation): row for row in planned.rows()}
    assert len(rows) == 10 and rows["RandomNEG-Softmax", "All-Layers"].paper == pytest.approx(4.54, abs=0.005)
    machine = planned.paper_machine(MACHINE)
    for name in (("RandomNEG-Softmax", "All-Layers"), ("AdaptiveNEG-Goodness", "All-Layers")):
        assert planned.speedup(rows[name], machine) == pytest.approx(rows[name].paper, rel=0.08)
    # What one rank takes is what the steps were found from.
    assert planned.alone(rows["RandomNEG-Goodness", "All-Layers"], machine) == pytest.approx(7178.71, rel=0.02)


def test_memory_of_stashed_activations_is_new_once() -> None:
    memory, batches = StashMemory([100, 200, 100]), [s.Batch("train", index) for index in range(2)]
    first = [memory.new(s.StashActivations(layer, batch)) for layer in (0, 1) for batch in batches]
    assert first == [100, 100, 200, 200]
    assert [memory.new(s.FreeActivations(0, batch)) for batch in batches] == [0, 0]
    # A layer of the same size has what the other has freed.
    again = [memory.new(s.StashActivations(layer, batches[0])) for layer in (2, 1, 2, 2)]
    assert again == [0, 200, 0, 100]


def test_activations_that_ranks_of_a_host_share_are_not_sent() -> None:
    sent = {
        (shared, per_host): sum(
            usage.sent for usage in planned(2, f"schedule.shared_memory={shared}", per_host=per_host).usage
        )
        for shared in ("true", "false") for per_host in (1, 2)
    }  # fmt: skip
    assert 0 < sent["true", 2] < sent["false", 2] == sent["false", 1] == sent["true", 1]
