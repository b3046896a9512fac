"""Whatever goes wrong: one sentence or one traceback, every rank ends, nothing is lost."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import OTHER_PYTHON, Job, Run, Start, mpiexec_of
from tests.helpers import DIGITS, sets, until

pytestmark = pytest.mark.mpi

RANK_1 = f"rank 1 on {platform.node()}"


def sentence(done, *words: str) -> str:
    """Return the only line of ours on the error output; `words` must be in it, and the status must be 2."""
    ours = [line for line in done.stderr.splitlines() if line.startswith("ffmpi: ")]
    lines = [line for line in ours if not line.startswith("ffmpi: warning: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]
    assert done.returncode == 2, done.returncode
    return lines[0]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--set", "train.epoch=3"], ["train.epoch", "did you mean 'epochs'"]),
        (["--set", "data.name=mnist", "--set", "data.path=nowhere"], ["nowhere"]),
        (["--frobnicate"], ["--frobnicate", "--help"]),
    ],
)
def test_bad_input_costs_one_sentence(args: list[str], words: list[str], run: Run) -> None:
    sentence(run(2, "-m", "ffmpi", "train", DIGITS, *args), *words)


def test_too_many_ranks_are_told_how_many_to_start(run: Run) -> None:
    settings = ["--set", "network.layers=[16]", "--set", 'classify.methods=["goodness"]']
    done = run(3, "-m", "ffmpi", "train", DIGITS, *settings)
    sentence(done, "3 ranks: expected at most 1", "panels of 16 units")


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_network_beyond_the_memory_is_refused(ranks: int, run: Run, tmp_path: Path) -> None:
    settings = ["--run", "run", "--set", "network.layers=[10,1000000,1000000]", "--set", "schedule.name=all-layers"]
    # Some systems promise any amount of memory.
    limited = "import resource; from ffmpi.__main__ import main"
    limited += "; resource.setrlimit(resource.RLIMIT_AS, (2**36, 2**36)); main()"
    done = run(ranks, "-c", limited, "train", DIGITS, *settings)
    sentence(done, "not enough memory", "7450.7 GB", "smaller batches")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("variable", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_a_launcher_of_another_mpi_is_recognised(variable: str, run: Run) -> None:
    sentence(run(0, "-m", "ffmpi", "train", DIGITS, **{variable: "4"}), variable, "mpiexec")


@pytest.mark.parametrize("variable", ["PMIX_NAMESPACE", "PMI_FD"])
def test_a_launcher_with_which_mpi_would_abort_is_recognised(variable: str, run: Run) -> None:
    """MPICH ends in MPI_Init with either, Open MPI with the first one."""
    mpi = run(0, "-c", "from ffmpi.commands.info import _mpi_library; print(_mpi_library())").stdout
    if "Open MPI" in mpi and variable == "PMI_FD":
        pytest.skip("harmless with Open MPI")
    sentence(run(0, "-m", "ffmpi", "train", DIGITS, fresh=True, **{variable: "99"}), f"{variable}=99: ", "mpiexec")


@pytest.mark.skipif(not OTHER_PYTHON, reason="only one MPI vendor: set FFMPI_TEST_OTHER_PYTHON for another environment")
@pytest.mark.parametrize("swapped", [False, True])
def test_the_launcher_of_another_environment(swapped: bool, start: Start, tmp_path: Path) -> None:
    launcher, python = (sys.executable, OTHER_PYTHON) if swapped else (OTHER_PYTHON, sys.executable)
    job = Job([*mpiexec_of(launcher), "-n", "2", python, "-m", "ffmpi", "train", str(DIGITS)], tmp_path, 60, {})
    try:
        sentence(job.wait(), "mpiexec", "MPI")
    finally:
        assert not job.end()


def test_a_rank_left_in_the_environment_silences_nothing(run: Run) -> None:
    left = dict.fromkeys(["PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"], "3")
    sentence(run(0, "-m", "ffmpi", "train", "nowhere.toml", "--frobnicate", **left), "--frobnicate")
    assert "digits" in run(0, "-m", "ffmpi", "data", **left).stdout


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (["ffmpi", "train", str(DIGITS), "--frobnicate"], ["command line: train", f"--frobnicate on {RANK_1}"]),
        (["env", "NUMBA_DISABLE_JIT=1", "ffmpi", "train", str(DIGITS)], [f"ffmpi: {RANK_1}: NUMBA_DISABLE_JIT"]),
    ],
)
def test_a_fault_of_one_rank_before_mpi_starts(other: list[str], words: list[str], tmp_path: Path) -> None:
    """It cannot know whether the others have found it, too."""
    ours = [sys.executable, "-m", "ffmpi", "train", str(DIGITS)]
    other = [part for word in other for part in ([sys.executable, "-m", word] if word == "ffmpi" else [word])]
    job = Job([*mpiexec_of(sys.executable), "-n", "1", *ours, ":", "-n", "1", *other], tmp_path, 60, {})
    try:
        sentence(job.wait(), *words)
    finally:
        assert not job.end()


EACH = """
import sys
from ffmpi.__main__ import main
for command in ("data", "info", "--version", "train --help"):
    sys.argv = ["ffmpi", *command.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code
"""


def test_commands_without_mpi_print_once(run: Run) -> None:
    done = run(3, "-c", EACH)
    assert done.returncode == 0, done.stderr
    assert [done.stdout.count(words) for words in ("cifar10: ", "cores: ", "ffmpi, version ", "Usage: ")] == [1] * 4


def test_one_process_in_a_batch_script_is_no_failed_launch(ffmpi: Run) -> None:
    ffmpi(0, "train", DIGITS, "--run", "run", "--set", "train.epochs=1", SLURM_NTASKS="4", SLURM_PROCID="0")


def test_an_exception_on_one_rank_ends_all(run: Run, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        textwrap.dedent(
            """
            import sys
            from ffmpi.__main__ import main
            from ffmpi.runtime.worker import Worker
            update = Worker._update
            def broken(self, step):
                if self.comm.rank == 1 and step.epoch == 1 and step.batch.index == 5:
                    raise ZeroDivisionError("a fault in the middle of a batch")
                update(self, step)
            Worker._update = broken
            main()
            """
        )
    )
    began = time.monotonic()
    done = run(3, "job.py", "train", DIGITS, "--run", "run")
    assert time.monotonic() - began < 15
    assert done.returncode not in (0, 124, 137)
    assert done.stderr.count("Traceback") == 1
    assert "rank 1 of 3" in done.stderr and "a fault in the middle" in done.stderr
    assert (tmp_path / "run" / "checkpoint.h5").exists()


def test_a_killed_rank_ends_all(start: Start, interpreter: str, tmp_path: Path) -> None:
    settings = ["--set", "train.epochs=100000"]
    job = start(3, "-m", "ffmpi", "train", DIGITS, "--run", "run", *settings, place=interpreter)
    until((tmp_path / "run" / "checkpoint.h5").exists, job)
    began = time.monotonic()
    os.kill(job.rank_pid(1), signal.SIGKILL)
    assert job.wait().returncode not in (0, 124)
    assert time.monotonic() - began < 10


def test_a_rank_that_stops_answering_ends_all(start: Start, tmp_path: Path) -> None:
    settings = ["--set", "train.epochs=100000", "--set", "schedule.timeout=2"]
    job = start(3, "-m", "ffmpi", "train", DIGITS, "--run", "run", *settings)
    until((tmp_path / "run" / "checkpoint.h5").exists, job)
    os.kill(job.rank_pid(1), signal.SIGSTOP)
    done = job.wait()
    assert done.returncode not in (0, 124, 137)
    assert "waited 2 s" in done.stderr and "Traceback" not in done.stderr


def test_a_rank_that_stops_before_training_ends_all(run: Run, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        textwrap.dedent(
            """
            import os, signal
            from ffmpi import launcher
            from ffmpi.runtime import mpi, setup
            from ffmpi.__main__ import main
            mpi.PATIENCE = 2.0
            check = setup.check
            def stop(*args):
                if launcher.launched_rank() == 1:
                    os.kill(os.getpid(), signal.SIGSTOP)
                check(*args)
            setup.check = stop
            main()
            """
        )
    )
    done = run(3, "job.py", "train", DIGITS, "--run", "run", seconds=30)
    assert done.returncode not in (0, 124, 137)
    assert "waited 2 s for the other ranks" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("settings", [[], ["rule.name=local-softmax"], ["schedule.name=single-layer"]])
def test_a_diverging_loss_names_layer_and_batch(settings: list[str], run: Run) -> None:
    """What spreads from there makes other ranks fail, too, which say nothing."""
    more = sets("optimizer.learning_rate=1e30", *settings)
    done = run(3, "-m", "ffmpi", "train", DIGITS, "--run", "run", *more)
    sentence(done, "layer 1, epoch 1, batch ", "lower optimizer.learning_rate")


def test_two_writers_are_refused(start: Start, run: Run, interpreter: str, tmp_path: Path) -> None:
    settings = ["--set", "train.epochs=100000"]
    job = start(1, "-m", "ffmpi", "train", DIGITS, "--run", "run", *settings, place=interpreter)
    until((tmp_path / "run" / "checkpoint.h5").exists, job)
    sentence(run(2, "-m", "ffmpi", "resume", "run"), "another ffmpi is writing")
    sentence(run(2, "-m", "ffmpi", "train", DIGITS, "--run", "run"), "holds a run already", "resume")
    for pid in job.pids():
        os.kill(pid, signal.SIGKILL)
    job.wait()


def test_a_damaged_checkpoint_is_refused(ffmpi: Run, run: Run, tmp_path: Path) -> None:
    ffmpi(1, "train", DIGITS, "--run", "run", "--set", "train.epochs=1")
    good = tmp_path / "run" / "checkpoint.h5"
    shutil.copytree(tmp_path / "run", tmp_path / "cut")
    (tmp_path / "cut" / "checkpoint.h5").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    for command, ranks in (("resume", 2), ("evaluate", 0)):
        sentence(run(ranks, "-m", "ffmpi", command, "cut"), "checkpoint.h5")
    sentence(run(0, "-m", "ffmpi", "resume", "nowhere"), "nowhere")
    sentence(run(0, "-m", "ffmpi", "resume", "run", "--set", "seed=1"), "seed=1", "may change only", "data.path")
    sentence(run(2, "-m", "ffmpi", "predict", "run", "missing.png"), "missing.png")


def test_other_data_is_refused_on_resume(ffmpi: Run, run: Run, tmp_path: Path) -> None:
    """The same number of images of the same shape, but one pixel differs."""
    images, labels = np.zeros((40, 4, 4), np.uint8), np.arange(40) % 2
    for name in ("one.h5", "other.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            for split in ("train", "test"):
                file[f"{split}/images"], file[f"{split}/labels"] = images, labels
        images[7, 2, 2] = 1
    settings = ["--set", "data.name=hdf5", "--set", "data.label=append", "--set", "network.layers=[20]"]
    settings += ["--set", "train.epochs=1", "--set", "data.path=one.h5"]
    ffmpi(1, "train", DIGITS, "--run", "run", *settings)
    done = run(2, "-m", "ffmpi", "resume", "run", "--set", "data.path=other.h5")
    sentence(done, "other.h5", "expected the 40")
    with h5py.File(tmp_path / "one.h5", "a") as file:
        file.attrs["class_names"] = np.array(["a", "b"], "S")
    sentence(run(2, "-m", "ffmpi", "resume", "run"), "one.h5", "the classes a, b; expected 0, 1")


def test_a_full_disk_keeps_the_previous_checkpoint(run: Run, ffmpi: Run, tmp_path: Path) -> None:
    """The limit on file size stands in for a full disk."""
    (tmp_path / "job.py").write_text(
        textwrap.dedent(
            """
            import resource, signal
            from ffmpi.__main__ import main
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            from ffmpi.run.writer import Writer
            commit = Writer.commit
            def limited(self, wait=True):
                commit(self)
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
                return True
            Writer.commit = limited
            main()
            """
        )
    )
    done = run(2, "job.py", "train", DIGITS, "--run", "full", "--set", "train.epochs=5")
    assert done.returncode == 2, done.stderr
    assert "cannot write the checkpoint" in done.stderr and "Traceback" not in done.stderr
    assert "epochs done: 1\n" in ffmpi(0, "info", "full").stdout
