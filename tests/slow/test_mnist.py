"""Real MNIST, minutes: FFMPI_MNIST names the directory with the four IDX files (ffmpi data mnist DIR --download)."""

from __future__ import annotations

import os
import statistics
import textwrap
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.helpers import ROOT, assert_same_bits, records

pytestmark = [pytest.mark.slow, pytest.mark.mpi]
RECIPE = ROOT / "runs" / "mnist.toml"


@pytest.fixture
def mnist() -> str:
    """Return the setting that names the data."""
    directory = os.environ.get("FFMPI_MNIST")
    assert directory, "set FFMPI_MNIST to the directory with the four MNIST files"
    return f"data.path={Path(directory).resolve()}"


def test_mnist_reaches_its_accuracy_within_its_memory(mnist: str, ffmpi: Run, tmp_path: Path) -> None:
    ffmpi(2, "train", RECIPE, "--run", "run", "--set", mnist, seconds=900)
    last = records(tmp_path / "run")[-1]
    assert min(last["accuracy"].values()) >= 97.0
    for rank in last["ranks"]:
        assert rank["peak_bytes"] <= rank["owned_bytes"] + 200 * 2**20


def test_mnist_has_the_same_bits_on_one_to_four_ranks(mnist: str, ffmpi: Run, tmp_path: Path) -> None:
    for ranks in (1, 2, 3, 4):
        ffmpi(ranks, "train", RECIPE, "--run", f"run{ranks}", "--set", mnist, "--set", "train.epochs=2", seconds=900)
    for ranks in (2, 3, 4):
        assert_same_bits(tmp_path / "run1", tmp_path / f"run{ranks}")


def test_local_softmax_reaches_its_accuracy(mnist: str, ffmpi: Run, tmp_path: Path) -> None:
    ffmpi(1, "train", ROOT / "runs" / "mnist-local-softmax.toml", "--run", "run", "--set", mnist, seconds=900)
    last = records(tmp_path / "run")[-1]
    assert last["accuracy"]["all-layers"] >= 98.5


#: Trains with a clock around every kernel; prints each epoch's share of time outside them, saving included.
CLOCK = """
import pathlib, sys, time
from ffmpi import checkpoint, config, kernels, mpi, session

comm = mpi.start()
settled = config.read(sys.argv[1], ["train.epochs=4", *sys.argv[2:]])
worker = session.training_worker(comm, settled)
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

for name in ("backward", "compose", "copy_rows", "forward", "forward_labelled", "judge", "row_scale",
             "row_scale_labelled", "softmax", "update"):
    setattr(kernels, name, clocked(getattr(kernels, name)))
worker.on_report = report
worker.on_save = lambda chapter: checkpoint.Writer(pathlib.Path("checkpoint.h5"), settled, worker.problem, chapter + 1)
worker.execute(worker.schedule.steps(0))
"""


def test_little_time_is_spent_outside_kernels(mnist: str, run: Run, tmp_path: Path) -> None:
    """At most 5 % of an epoch on one core; the first epoch has no save in it."""
    script = tmp_path / "clock.py"
    script.write_text(textwrap.dedent(CLOCK))
    done = run(0, script, RECIPE, mnist, seconds=300)
    assert done.returncode == 0, done.stderr
    shares = [float(line) for line in done.stdout.split()][1:]
    print(shares)
    assert statistics.median(shares) <= 0.05
