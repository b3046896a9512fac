"""What ranks tell rank 0 while they train, and how it is shown: as a table on a terminal, as lines in a log."""

from __future__ import annotations

import io
import math
from types import SimpleNamespace

import pytest
from rich.console import Console

from ffmpi import config
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.run import live, progress
from ffmpi.run.live import EVALUATES, LEARNS, PASSES_ON, WAITS, Live, Now
from ffmpi.run.ranks import Ranks
from ffmpi.runtime.pulse import Pulse
from ffmpi.runtime.sizes import spec_of
from ffmpi.schedule import schedule_of
from ffmpi.schedule.steps import Batch, Evaluate, Forward, Update

DATASET = DatasetInfo((8, 8), ("a", "b"), 300, 100)


def shown(count: int, hosts: list[str], schedule: str = "pipeline") -> Live:
    """Return the view of so many ranks at work on a network of 3 x 160 units and a head."""
    settings = config.parse("", "test", [f"schedule.name={schedule}", "network.layers=[160,160,160]", "train.epochs=9"])
    return Live(Ranks(settings, schedule_of(schedule, spec_of(settings, DATASET, count)), hosts))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return what `time.monotonic` reads, as `now`."""
    made = SimpleNamespace(now=100.0)
    made.monotonic = lambda: made.now
    for module in (live, progress):
        monkeypatch.setattr(module, "time", made)
    return made


def test_each_rank_has_a_row(clock: SimpleNamespace) -> None:
    view = shown(3, ["a", "a", "b"], "single-layer")
    view.hear(0, Now(LEARNS, 0, 4, 9, 30, seconds=2.0, computing=1.0, flop=3e9))
    view.hear(1, Now(WAITS, 1, 3, 29, 30, seconds=2.0, computing=0.5, flop=5e9))
    view.measure()
    view.hear(0, Now(EVALUATES, 0, 4, seconds=4.0, computing=2.5, flop=6e9))
    view.measure()
    assert view.table(80, 20) == [
        "rank  host  owns                    epoch  layer       batch  busy  GFLOP/s",
        "   0  a     layer 1                     5      1  evaluating  75 %        2",
        "   1  a     layer 2                     4      2     waiting  25 %       10",
        "   2  b     layer 3 + softmax head",
    ]
    clock.now += 20
    view.hear(1, Now(PASSES_ON, 1, 3, seconds=24.0, computing=0.5, flop=5e9))
    view.measure()
    assert view.table(70, 20)[1:] == [
        "   0  a     layer 1               5      1  silent 20 s  75 %        2",
        "   1  a     layer 2               4      2   passing on   0 %        0",
        "   2  b     layer 3 + softm…                silent 20 s",
    ]
    assert view.line() == "epoch 5 4, layer 1 2, batch silent 20 s passing on, busy 75 % 0 %, GFLOP/s 2 0"
    assert view.slowest() is None  # nobody learns


def test_hosts_have_rows_where_ranks_are_many() -> None:
    view = shown(20, ["a"] * 12 + ["b"] * 8)
    for rank in range(20):
        view.hear(rank, Now(LEARNS, 0, 2, rank, 50, seconds=1.0, computing=0.5, flop=1e9))
    view.measure()
    titles, first, second = view.table(100, 20)
    assert titles.split() == ["host", "ranks", "owns", "epoch", "batch", "busy", "GFLOP/s"]
    assert first.startswith("a      0 to 11  layers 1, 2 + units ") and first.endswith("3   1 to 12/50  50 %       24")
    assert second.endswith("13 to 20/50  50 %       16")
    assert view.line() == "batch 1 to 12/50 13 to 20/50, busy 50 %, GFLOP/s 24 16"
    assert view.slowest() == view._ranks[0].now


def test_many_hosts_are_one_in_a_line_and_cut_in_a_table() -> None:
    view = shown(20, [f"n{rank}" for rank in range(20)])
    for rank in range(19):
        view.hear(rank, Now(LEARNS, 0, rank % 2, rank, 50, seconds=1.0, computing=0.5, flop=1e9))
    view.measure()
    lines = view.table(100, 8)
    assert len(lines) == 8 and lines[-1] == "and 14 more hosts" and lines[1].startswith("n0 ")
    assert view.line() == "epoch 1 to 2, batch 1 to 19/50, busy 50 %, GFLOP/s 38" or view.line().startswith(
        "batch 1 to"
    )


def told(output: progress.Output, ranks: int = 2) -> progress.Progress:
    settings = resolved(config.parse("", "test", ["network.layers=[160,160,160]", "train.epochs=9"]), DATASET)
    schedule = schedule_of("pipeline", spec_of(settings, DATASET, ranks))
    return progress.Progress(settings, DATASET, schedule, ["host"] * ranks, output)


def record(epoch: int) -> dict[str, object]:
    rank = {"seconds": 1.0, "computing": 1.0, "waiting": 0.5, "gflops": 4.0, "waiting_share": 0.5, "peak_bytes": 1e6}
    return {
        "epoch": epoch, "seconds": 1.0, "samples_per_second": 10.0, "layers": [{"loss": 0.5}],
        "accuracy": {"softmax": 90}, "ranks": [rank | {"priced_bytes": 2e6}] * 2,
    }  # fmt: skip


def test_a_log_says_what_ranks_do_when_nothing_else_was_said(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    display = told(progress.Output(log_every=60.0))
    assert display.every == 6.0 and told(progress.Output(log_every=0)).every == math.inf
    for seconds in range(0, 150, 6):
        clock.now = 100.0 + seconds
        for rank in (1, 0):
            now = Now(LEARNS, rank, 2, 5 + rank, 10, 1.0 + seconds, 0.9 * seconds, 1e10 * seconds)
            display.heard(rank, now)
        if seconds == 66:
            display.chapter(record(2))
    first, chapter, last = capsys.readouterr().out.splitlines()
    assert first == "epoch 3/9, batch 6/10 7/10, busy 89 %, GFLOP/s 11, 2:28 left"
    assert chapter.startswith("epoch 2/9, loss 0.500,")
    assert last == "epoch 3/9, batch 6/10 7/10, busy 90 %, GFLOP/s 11, 2:51 left"


def test_what_was_planned_is_left_until_it_is_known_better(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    display = told(progress.Output(log_every=10.0))
    display.start(None, 0, planned=100.0)
    for seconds in (11.0, 33.0):
        clock.now = 100.0 + seconds
        display.heard(0, Now(LEARNS, 0, 0, 5, 10, seconds, 0.5 * seconds, 1e9))
        if seconds == 11.0:
            clock.now = 120.0
            display.chapter(record(1))
    *_, start, first, _, last = capsys.readouterr().out.splitlines()
    assert start == "starting: 9 epochs, schedule pipeline, planned to take 1:40"
    assert first.endswith("1:29 left") and last.endswith("2:27 left")


def test_quiet_prints_the_result_only(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        display = told(progress.Output(quiet=True, as_json=as_json))
        display.start(None, 0, ["about"])
        assert display.every == math.inf
        for epoch in (8, 9):
            display.chapter(record(epoch))
        display.finish(None)
    result, last = capsys.readouterr().out.splitlines()
    assert result == "test accuracy 90.00 % by softmax; 2.0 s of training" and last.startswith('{"epoch": 9')


def test_a_terminal_has_the_view_below_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    display = told(progress.Output())
    file = io.StringIO()
    display.console = display.terminal.console = Console(
        highlight=False, file=file, force_terminal=True, width=72, height=10
    )
    assert display.every == 1.0
    display.start(None, 0)
    display.heard(1, Now(LEARNS, 1, 0, 3, 10, 1.0, 0.5, 1e9))
    before = file.tell()
    display.heard(0, Now(LEARNS, 0, 0, 4, 10, 1.0, 0.8, 1e9))
    display.chapter(record(1))
    display.stop()
    drawn = file.getvalue()[before:]
    assert "epoch 1/9, " in drawn and "rank  host  owns" in drawn and "5/10  80 %" in drawn and "4/10  50 %" in drawn
    assert (
        drawn.index("epoch 1/9, loss 0.500") > drawn.index("rank  host") and "\x1b[?25h" in drawn
    )  # the cursor is back


class Control:
    """One rank's end of messages that nobody takes."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.sent = rank, size, list[Now]()

    def tell(self, numbers: Now) -> None:
        self.sent.append(numbers)


def test_a_rank_tells_where_it_is_and_that_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control(3, 1024)
    pulse = Pulse(control, 1.0)
    assert pulse.due == math.inf
    pulse.begin(10.0, lambda: (1.5, 2e9))
    assert pulse.due == 14.0  # since so many ranks tell rank 0
    pulse.tell(Update(1, Batch("train", 25), 4), 14.5, 10)
    pulse.tell(Forward(2, Batch("train", 3)), 19.0, 10)
    pulse.tell(Evaluate(Batch("softmax", 3, "test")), 24.0, 10)
    monkeypatch.setattr("ffmpi.runtime.pulse.time", SimpleNamespace(perf_counter=lambda: 27.0))
    pulse.wait()
    monkeypatch.setattr("ffmpi.runtime.pulse.time", SimpleNamespace(perf_counter=lambda: 28.5))
    pulse.wait()
    assert control.sent == [
        Now(LEARNS, 1, 4, 5, 10, 4.5, 1.5, 2e9), Now(PASSES_ON, 2, 4, -1, 0, 9.0, 1.5, 2e9),
        Now(EVALUATES, -1, 4, -1, 0, 14.0, 1.5, 2e9), Now(WAITS, -1, 4, -1, 0, 18.5, 1.5, 2e9),
    ]  # fmt: skip
    assert pulse.due == 32.5
