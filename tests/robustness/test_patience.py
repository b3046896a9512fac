"""Waiting counts only while a rank is awake and the one it waits for does nothing."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from pathlib import Path

import pytest

from tests.conftest import Run, Start
from tests.helpers import DIGITS, lines, sets, until

pytestmark = pytest.mark.mpi


def test_neither_a_long_chapter_nor_a_suspended_job_is_fatal(start: Start, tmp_path: Path) -> None:
    """Rank 2 waits for rank 1, which waits for rank 0: for three times schedule.timeout, then all sleep as long."""
    (tmp_path / "job.py").write_text(
        textwrap.dedent(
            """
            import pathlib, time
            from ffmpi.__main__ import main
            from ffmpi.runtime.worker import Worker
            update = Worker._update
            def slow(self, step):
                if self.comm.rank == 0 and step.epoch == 1:
                    pathlib.Path("slow").touch()
                    time.sleep(0.1)
                update(self, step)
            Worker._update = slow
            main()
            """
        )
    )
    settings = sets(
        "schedule.name=single-layer", "train.epochs=2", "network.layers=[16,16,16]", "train.batch_size=48",
        'classify.methods=["goodness"]', "schedule.timeout=1",
    )  # fmt: skip
    job = start(3, "job.py", "train", DIGITS, "--run", "run", *settings)
    until((tmp_path / "slow").exists, job)
    ranks = [job.rank_pid(rank) for rank in range(3)]
    time.sleep(1)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in ranks:
            os.kill(pid, number)
        time.sleep(2.5 if number == signal.SIGSTOP else 0)
    done = job.wait()
    assert done.returncode == 0, done.stderr
    assert len(lines(tmp_path / "run")) == 2


def test_ranks_that_wait_for_one_another_find_out(run: Run, tmp_path: Path) -> None:
    """All of them answer, but none has anything to tell of progress."""
    (tmp_path / "job.py").write_text(
        textwrap.dedent(
            """
            import numpy as np
            from ffmpi.runtime import mpi
            def main(comm):
                peer = (comm.rank + 1) % comm.size
                mpi.wait(comm.Irecv(np.empty(1), peer), 1.0, f"rank {peer}", peer)
            mpi.run(main)
            """
        )
    )
    began = time.monotonic()
    done = run(3, "job.py", seconds=30)
    assert done.returncode == 2 and "ffmpi: " in done.stderr and "waited 1 s for rank" in done.stderr
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(("kind", "bug"), [("ERR_OTHER", False), ("ERR_TRUNCATE", True)])
def test_what_mpi_says_of_a_killed_rank_is_a_sentence(kind: str, bug: bool, run: Run, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        textwrap.dedent(
            f"""
            import numpy as np
            from mpi4py import MPI
            from ffmpi.runtime import mpi
            def main(comm):
                if comm.rank == 1:
                    raise MPI.Exception(MPI.{kind})
                mpi.wait(comm.Irecv(np.empty(1), 1))
            mpi.run(main)
            """
        )
    )
    done = run(2, "job.py", seconds=30)
    assert ("Traceback" in done.stderr) == bug
    assert (done.returncode, "rank 1 on" in done.stderr, "is gone" in done.stderr) == (
        (1, False, False) if bug else (2, True, True)
    )
