"""A sweep of digits as a user starts it: a run that fails, the same command again, signals."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run, Start
from tests.helpers import DIGITS, chapters_saved, lines, sets, until

pytestmark = pytest.mark.mpi

SMALL = ["network.layers=[16,16]", "train.epochs=1", "data.validation=0.2", 'classify.methods=["softmax"]']
GRID = [DIGITS, *sets(*SMALL, "train.batch_size=20,50"), "--seeds", "2", "--dir", "sweep"]
NAMES = [f"train.batch_size={size},seed={seed}" for size in (20, 50) for seed in (0, 1)]


def sweep(run: Run, *options: object) -> subprocess.CompletedProcess[str]:
    return run(0, "-m", "ffmpi", "sweep", *GRID, *options, seconds=200)


def test_a_sweep_and_its_table(run: Run, ffmpi: Run, tmp_path: Path) -> None:
    """One run fails at first, since another program holds its directory; then it alone is left to do, on two ranks."""
    held = tmp_path / "sweep" / NAMES[1]
    held.mkdir(parents=True)
    with open(held / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = sweep(run)
    told = done.stdout.splitlines()
    assert done.returncode == 2, done.stderr
    assert f"1 of 4 runs failed ({NAMES[1]}); each has said why in its output.log" in done.stderr
    reason = f"exit status 2, sweep/{NAMES[1]}: another ffmpi is writing here; wait for it to end, or end it"
    assert told[1] == f"2/4 {NAMES[1]}: {reason}"
    for number in (0, 2, 3):
        pattern = r"validation softmax [\d.]+ %; test softmax [\d.]+ %; [\d.]+ s of training"
        assert re.fullmatch(re.escape(f"{number + 1}/4 {NAMES[number]}: ") + pattern, told[number])
        assert "epoch 1/1, loss" in (tmp_path / "sweep" / NAMES[number] / "output.log").read_text()

    again = sweep(run, "--json", "-n", 2)
    assert again.returncode == 0, again.stderr
    *runs, end = [json.loads(line) for line in again.stdout.splitlines()]
    assert [(one["run"], one["status"]) for one in runs] == [(f"sweep/{name}", 0) for name in NAMES]
    assert [one["reason"] for one in runs] == ["finished before", "", "finished before", "finished before"]
    ranks = [json.loads((tmp_path / "sweep" / name / "environment.json").read_text())["ranks"] for name in NAMES]
    assert ranks == [1, 2, 1, 1]
    assert [(row["settings"], row["seeds"]) for row in end["table"]] == [
        ({"train.batch_size": 20}, [0, 1]), ({"train.batch_size": 50}, [0, 1]),
    ]  # fmt: skip
    for split in ("validation", "test"):
        each = [one["accuracy"][split]["softmax"] for one in runs]
        assert [value for row in end["table"] for value in row[split]["values"]] == each and len({*each}) > 2
    means = [row["validation"]["mean"] for row in end["table"]]
    assert [row["best"] for row in end["table"]] == [mean == max(means) for mean in means]
    assert json.loads(ffmpi(0, "table", "sweep", "--json").stdout) == end["table"]


@pytest.mark.parametrize(("ranks", "number", "status"), [(2, signal.SIGINT, 130), (1, signal.SIGTERM, 75)])
def test_a_signal_ends_the_run_and_the_sweep(
    ranks: int, number: int, status: int, start: Start, run: Run, tmp_path: Path
) -> None:
    """The run that was under way says so and can go on; no other has begun."""
    long = [*GRID, *sets("train.epochs=100000"), "-n", ranks]
    job = start(0, "-m", "ffmpi", "sweep", *long)
    first = tmp_path / "sweep" / NAMES[0]
    until(lambda: (first / "checkpoint.h5").exists(), job)
    os.kill(job.command_pid(), number)
    done = job.wait()
    what = "interrupted by Ctrl-C" if number == signal.SIGINT else "stopped by SIGTERM"
    assert done.returncode == status, done.stderr
    assert done.stderr.endswith(f"ffmpi: {what}; 0 of 4 runs are done, the same command continues\n")
    assert (
        f"1/4 {NAMES[0]}: exit status 75, stopped by SIGUSR1; sweep/{NAMES[0]}/checkpoint.h5 holds epoch" in done.stdout
    )
    assert 0 < chapters_saved(first) <= len(lines(first)) and not (tmp_path / "sweep" / NAMES[1]).exists()


def test_a_sweep_starts_its_own_ranks(run: Run) -> None:
    done = run(2, "-m", "ffmpi", "sweep", *GRID)
    assert done.returncode == 2 and done.stderr.count("expected 'ffmpi sweep' alone, with -n RANKS for each run") == 1
