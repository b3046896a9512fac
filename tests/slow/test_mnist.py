"""Real MNIST, minutes: FFMPI_MNIST names the directory with the four IDX files (ffmpi data mnist DIR --download)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run, assert_same_bits

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
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert max(last["accuracy"].values()) >= 97.0
    for rank in last["ranks"]:
        assert rank["peak_bytes"] <= rank["owned_bytes"] + 200 * 2**20


def test_mnist_has_the_same_bits_on_one_to_four_ranks(mnist: str, ffmpi: Run, tmp_path: Path) -> None:
    for ranks in (1, 2, 3, 4):
        ffmpi(ranks, "train", RECIPE, "--run", f"run{ranks}", "--set", mnist, "--set", "train.epochs=2", seconds=900)
    for ranks in (2, 3, 4):
        assert_same_bits(tmp_path / "run1", tmp_path / f"run{ranks}")


OUTSIDE = """
import sys, time
from ffmpi import kernels, mpi, train
from ffmpi.worker import Worker
inside = [0.0]
def timed(function):
    def call(*args, **options):
        began = time.perf_counter()
        function(*args, **options)
        inside[0] += time.perf_counter() - began
    return call
for name in ("compose", "forward", "forward_labelled", "update"):
    setattr(kernels, name, timed(getattr(kernels, name)))
report = Worker._report
def tell(self, step):
    print("outside", 1 - inside[0] / (time.perf_counter() - self._began))
    report(self, step)
Worker._report = tell
settings = [sys.argv[2], "train.epochs=1", 'classify.methods=["softmax"]']
mpi.run(lambda comm: train.train(comm, sys.argv[1], "run", settings, True))
"""


def test_an_epoch_is_spent_in_kernels(mnist: str, run: Run, tmp_path: Path) -> None:
    """On one core at most 5 % of an epoch's wall time is spent outside the kernels."""
    (tmp_path / "job.py").write_text(OUTSIDE)
    done = run(0, "job.py", RECIPE, mnist, seconds=300)
    assert done.returncode == 0, done.stderr
    outside = float(next(line for line in done.stdout.splitlines() if line.startswith("outside")).split()[1])
    assert outside <= 0.05
