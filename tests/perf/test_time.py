"""What a clock says. They measure: nothing else may run on the machine."""

from __future__ import annotations

import os
import statistics
import textwrap
import time
from pathlib import Path

import pytest

from ffmpi import config
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.plan.machine import read_machine
from ffmpi.plan.planner import plan_of
from tests.conftest import Run
from tests.helpers import ROOT

pytestmark = [pytest.mark.perf, pytest.mark.mpi]
MNIST = os.environ.get("FFMPI_MNIST", "")

#: Trains with a clock around every kernel; prints each epoch's share of time outside them, saving included.
CLOCK = """
import pathlib, sys, time
from ffmpi.run.writer import Writer
from ffmpi import config, kernels
from ffmpi.runtime import mpi, setup

comm = mpi.start()
settled = config.read(sys.argv[1], ["train.epochs=4", *sys.argv[2:]])
worker = setup.training_worker(comm, settled)
inside, began = 0.0, time.perf_counter()

def clocked(kernel):
    def call(*args, **options):
        global inside
        start = time.perf_counter()
        result = kernel(*args, **options)
        inside += time.perf_counter() - start
        return result
    return call

def report(chapter, measurements):
    global inside, began
    now = time.perf_counter()
    print(1 - inside / (now - began))
    inside, began = 0.0, now

for name in ("backward", "compose", "copy_rows", "forward", "forward_labelled", "goodness_loss", "row_scale",
             "row_scale_labelled", "softmax", "update"):
    setattr(kernels, name, clocked(getattr(kernels, name)))
def save(chapter):
    global before
    writer = Writer(pathlib.Path("checkpoint.h5"), settled, worker.dataset, chapter + 1, before)
    before = writer.id
    return writer

before = ""
worker.on_report, worker.on_save = report, save
worker.execute(worker.schedule.steps(0))
"""


@pytest.mark.skipif(not MNIST, reason="set FFMPI_MNIST to the directory with the four MNIST files")
def test_little_time_is_spent_outside_kernels(run: Run, tmp_path: Path) -> None:
    """At most 5 % of an epoch on one core; the first epoch has no save in it."""
    script = tmp_path / "clock.py"
    script.write_text(textwrap.dedent(CLOCK))
    done = run(0, script, ROOT / "runs" / "mnist.toml", f"data.path={MNIST}", seconds=300)
    assert done.returncode == 0, done.stderr
    shares = [float(line) for line in done.stdout.split()][1:]
    print(shares)
    assert statistics.median(shares) <= 0.05


#: Trains with and without a recorder, in turn; prints how many times as much processor time it took, and which share of
#: it the same records take by themselves: the former varies by more than what is to be seen.
TRACED = """
import statistics, sys, time
from ffmpi import config
from ffmpi.runtime import setup
from ffmpi.runtime.joined import Alone
from ffmpi.runtime.recorder import Recorder

settled = config.read(sys.argv[1], ["train.epochs=10"])

def seconds(recorder):
    worker = setup.training_worker(Alone(), settled)
    worker.recorder = recorder
    start = time.process_time()
    worker.execute(worker.schedule.steps(0))
    return time.process_time() - start

def again(records):
    record = Recorder("here", "all", 0, 1, 1).record
    start = time.process_time()
    for step, _, begin, end, _ in records:
        record(step, begin, end)
    return time.process_time() - start

seconds(None)
ratios, shares = [], []
for _ in range(9):
    alone, recorder = seconds(None), Recorder("here", "all", 0, 1, 1)
    ratios.append(seconds(recorder) / alone)
    assert len(recorder._spans.first) > 4000 and not recorder._spans.last
    shares.append(again(recorder._spans.first) / alone)
print(statistics.median(ratios), statistics.median(shares))
"""


def test_recording_takes_little_time(run: Run, tmp_path: Path) -> None:
    """At most 1 % of an epoch, also of a network so small that a step takes less than a tenth of a millisecond."""
    script = tmp_path / "traced.py"
    script.write_text(TRACED)
    done = run(0, script, ROOT / "runs" / "digits.toml", seconds=300)
    assert done.returncode == 0, done.stderr
    ratio, share = map(float, done.stdout.split())
    print(ratio, share)
    assert share <= 0.01 and ratio <= 1.1


def test_planning_thousands_of_ranks_takes_seconds() -> None:
    """100 epochs of 32 layers of 16384 units on 4096 ranks of 64 hosts: at most 10 s of one core."""
    settings = [f"network.layers={[16384] * 32}", "train.batch_size=4096", "train.epochs=100"]
    dataset = DatasetInfo((3, 32, 32), tuple("0123456789"), 50_000, 10_000)
    settled = resolved(config.parse("", "here", settings), dataset)
    began = time.process_time()
    plan = plan_of(settled, dataset, 4096, read_machine("epyc-avx512"), 64)
    took = time.process_time() - began
    print(f"{took:.1f} s, {plan.seconds / 3600:.1f} h")
    assert plan.ranks == 4096 and took < 10
