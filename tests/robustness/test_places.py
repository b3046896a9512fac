"""Runs from other working directories, with data that have moved, without an output, and what evaluate may change."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ffmpi import config
from ffmpi.run.checkpoint import reading
from tests.conftest import Run
from tests.helpers import records, sets

pytestmark = pytest.mark.mpi

#: Runs the program in a working directory with its output on a full disk.
FULL = """
import os, sys
os.chdir(sys.argv.pop(1))
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
from ffmpi.__main__ import main
main()
"""


def test_a_run_finds_its_data_and_says_where_it_looked(run: Run, tmp_path: Path) -> None:
    here, there, random = tmp_path / "here", tmp_path / "there", np.random.default_rng(0)
    here.mkdir()
    there.mkdir()
    with h5py.File(here / "set.h5", "w") as file:
        for split in ("train", "test"):
            file[f"{split}/images"] = random.integers(0, 256, (40, 5, 5), dtype=np.uint8)
            file[f"{split}/labels"] = np.arange(40) % 4
    (here / "run.toml").write_text("[data]\nname = 'hdf5'\npath = 'set.h5'\n[network]\nlayers = [8]\n")
    options = sets("train.epochs=2", "optimizer.beta1=0.5")

    # Its output is on a full disk: the run continues.
    done = run(0, "-c", FULL, here, "train", "run.toml", "--run", there / "run", *options)
    assert done.returncode == 0, done.stderr
    assert "ffmpi: warning: optimizer.beta1 = 0.5: no effect, since optimizer.name = 'sgd'\n" in done.stderr
    assert done.stderr.count("the output cannot be written (No space left on device); the run continues") == 1
    assert [record["epoch"] for record in records(there / "run")] == [1, 2]
    with reading(there / "run" / "checkpoint.h5") as reader:
        assert reader.header.config == config.read(str(there / "run" / "config.toml"))
        assert reader.header.config.data.path == str(here / "set.h5")

    # Another working directory makes no difference; the output of evaluate is all there is to it, so it fails.
    done = run(0, "-c", FULL, there, "evaluate", "run")
    assert done.returncode == 2 and done.stderr == (
        "ffmpi: the output cannot be written (No space left on device); expected free space there\n"
    )
    done = run(0, "-m", "ffmpi", "evaluate", there / "run", *sets("train.batch_size=7", "head.normalise=false"))
    assert done.returncode == 2 and done.stderr.startswith("ffmpi: --set head.normalise=false: head.normalise is the")

    (here / "set.h5").rename(here / "moved.h5")
    done = run(0, "-m", "ffmpi", "resume", there / "run")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"data.path is {here}/set.h5, which is not there" in done.stderr
    assert "with --set data.path=PATH" in done.stderr
