"""Signals: all ranks end soon, with a status that says whether to start them again, and the run continues."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from pathlib import Path

import pytest

from tests.conftest import OTHER_PYTHON, Run, Start
from tests.helpers import DIGITS, assert_same_bits, chapters_saved, sets, until

pytestmark = pytest.mark.mpi

LONG = ["--run", "run", "--set", "train.epochs=100000"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_to_the_launcher_ends_all(
    number: int, status: int, start: Start, interpreter: str, tmp_path: Path
) -> None:
    job = start(3, "-m", "ffmpi", "train", DIGITS, *LONG, place=interpreter)
    until((tmp_path / "run" / "checkpoint.h5").exists, job)
    began = time.monotonic()
    os.kill(job.command_pid(), number)
    done = job.wait()
    assert time.monotonic() - began < 10
    assert done.returncode == status and "Traceback" not in done.stderr
    messages = [line for line in done.stderr.splitlines() if line.startswith("ffmpi: ") and ": warning: " not in line]
    how = "interrupted by Ctrl-C" if number == signal.SIGINT else "stopped by SIGTERM"
    where = f"run/checkpoint.h5 holds epoch {chapters_saved(tmp_path / 'run')} of 100000"
    assert messages == [f"ffmpi: {how}; {where}, continue with 'ffmpi resume run'"]


def test_a_run_that_is_stopped_on_one_rank_continues_to_the_same_bits(
    start: Start, ffmpi: Run, interpreter: str, tmp_path: Path
) -> None:
    """One command line for the first and for later legs, each on another number of ranks."""
    settings = sets("train.epochs=12", "network.layers=[64,64]", "train.batch_size=20")
    command = ["train", DIGITS, "--run", "run", "--resume", *settings]
    job = start(3, "-m", "ffmpi", *command, place=interpreter)
    until((tmp_path / "run" / "checkpoint.h5").exists, job)
    os.kill(job.rank_pid(1), signal.SIGUSR1)
    done = job.wait()
    assert done.returncode == 75 and "stopped by SIGUSR1" in done.stderr, done.stderr
    assert "starting: 12 epochs" in done.stdout
    saved = chapters_saved(tmp_path / "run")
    assert 0 < saved < 12
    continued = ffmpi(2, *command, "--set", "schedule.depth=2")
    assert f"continuing after epoch {saved}: epochs {saved + 1} to 12" in continued.stdout
    ffmpi(1, "train", DIGITS, "--run", "undisturbed", *settings)
    assert_same_bits(tmp_path / "undisturbed", tmp_path / "run")


#: The disk takes its time with the first checkpoint, while a signal comes to the rank that is asked for.
SLOW = """
import os, signal, sys, time
from ffmpi.launcher import launched_rank
from ffmpi.run import durable
from ffmpi.runtime import saving
from ffmpi.__main__ import main

close, sync = saving.Saving._close, durable.sync

def signalled(self):
    if launched_rank() == 0 and not os.path.exists("run/checkpoint.h5"):
        os.kill(os.getpid(), signal.SIGTERM)
    close(self)

def slow(descriptor):
    time.sleep(0.7)
    sync(descriptor)

saving.Saving._close, durable.sync = signalled, slow
main()
"""


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_save_under_way_is_brought_to_its_end(ranks: int, run: Run, tmp_path: Path) -> None:
    done = run(ranks, "-c", SLOW, "train", DIGITS, *LONG)
    assert done.returncode == 75, done.stderr
    assert "stopped by SIGTERM; run/checkpoint.h5 holds epoch 1 of 100000" in done.stderr
    assert chapters_saved(tmp_path / "run") == 1


@pytest.mark.parametrize("phase", ["reading.load", "kernels.forward"])
def test_a_signal_in_any_phase_of_one_rank_ends_all(phase: str, run: Run, tmp_path: Path) -> None:
    """While data are loaded, or kernels, where an exception from a handler would be lost, too."""
    (tmp_path / "job.py").write_text(
        textwrap.dedent(
            f"""
            import os, signal
            from ffmpi import kernels
            from ffmpi import launcher
            from ffmpi.runtime import reading, worker
            from ffmpi.__main__ import main
            real = {phase}
            def signalled(*args, **options):
                if launcher.launched_rank() == 0:
                    try:
                        os.kill(os.getpid(), signal.SIGUSR1)
                        [0 for _ in range(100)]
                    except BaseException as error:
                        if "load" in "{phase}":
                            raise
                        raise SystemError("a result with an exception set")
                return real(*args, **options)
            {phase} = signalled
            main()
            """
        )
    )
    done = run(2, "job.py", "train", DIGITS, "--set", "train.epochs=100000", fresh=True)
    assert done.returncode == 75, done.stderr
    assert "ffmpi: stopped by SIGUSR1 before anything was saved" in done.stderr and "Traceback" not in done.stderr


def test_a_second_interrupt_ends_at_once(start: Start, tmp_path: Path) -> None:
    """Also in the middle of a kernel, where no handler of Python's runs."""
    (tmp_path / "job.py").write_text(
        textwrap.dedent(
            """
            import ctypes, pathlib
            from ffmpi.runtime import worker
            from ffmpi.__main__ import main
            def endless(self, step):
                pathlib.Path("in").touch()
                for _ in range(60):
                    ctypes.CDLL(None).usleep(999_999)  # as a kernel does, it lets go of the interpreter
            worker.Worker._update = endless
            main()
            """
        )
    )
    job = start(0, "job.py", "train", DIGITS, "--run", "run")
    until((tmp_path / "in").exists, job)
    os.kill(job.command_pid(), signal.SIGINT)
    time.sleep(0.6)
    assert job.process.poll() is None
    os.kill(job.command_pid(), signal.SIGINT)
    began = time.monotonic()
    done = job.wait()
    assert time.monotonic() - began < 5
    assert (done.returncode, done.stderr) == (130, "ffmpi: interrupted twice\n")


def test_a_signal_while_mpi_waits_for_other_ranks_to_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        textwrap.dedent(
            """
            import ctypes, pathlib
            from ffmpi.runtime import mpi, stop
            from ffmpi.__main__ import main
            stop.GRACE = 0.3
            def hang():
                pathlib.Path("in").touch()
                for _ in range(60):
                    ctypes.CDLL(None).usleep(999_999)
            mpi.start = hang
            main()
            """
        )
    )
    job = start(0, "job.py", "train", DIGITS)
    until((tmp_path / "in").exists, job)
    os.kill(job.command_pid(), signal.SIGTERM)
    done = job.wait()
    assert (done.returncode, done.stderr) == (75, "ffmpi: stopped by SIGTERM before MPI had started\n")


@pytest.mark.parametrize("status", [0, 2])
def test_a_signal_after_the_end_changes_nothing(status: int, run: Run, tmp_path: Path) -> None:
    """A finished run must not look like one that failed: the system ignores signals, Python's handlers go first."""
    (tmp_path / "job.py").write_text(
        textwrap.dedent(
            f"""
            import atexit, sys
            from ffmpi.runtime import mpi
            atexit.register(lambda: print(*[line for line in open("/proc/self/status") if line.startswith("SigIgn")]))
            mpi.run(lambda comm: sys.exit({status}) if {status} else None)
            """
        )
    )
    done = run(0, "job.py")
    ignored = int(done.stdout.split()[1], 16)
    assert all(ignored >> (number - 1) & 1 for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT))
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.skipif(not OTHER_PYTHON, reason="no other MPI: set FFMPI_TEST_OTHER_PYTHON")
def test_another_mpis_launcher_hands_the_status_on(start: Start, tmp_path: Path) -> None:
    job = start(3, "-m", "ffmpi", "train", DIGITS, *LONG, python=OTHER_PYTHON)
    until((tmp_path / "run" / "checkpoint.h5").exists, job)
    os.kill(job.command_pid(), signal.SIGUSR1)
    done = job.wait()
    assert done.returncode == 75 and "continue with 'ffmpi resume run'" in done.stderr


def test_an_interrupt_gives_the_terminal_its_cursor_back(start: Start, tmp_path: Path) -> None:
    settings = ["--run", "run", "--set", "train.epochs=100000"]
    job = start(0, "-m", "ffmpi", "train", DIGITS, *settings, FORCE_COLOR="1")  # as on a terminal
    until((tmp_path / "run" / "checkpoint.h5").exists, job)
    job.process.send_signal(signal.SIGINT)
    done = job.wait()
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert done.returncode == 130 and "ffmpi: interrupted by Ctrl-C; run/checkpoint.h5 holds epoch" in done.stderr
    assert 0 <= done.stdout.rfind(hide) < done.stdout.rfind(show)
