"""Starting mpiexec jobs from tests: a hard time limit from outside, and no process left behind."""

from __future__ import annotations

import compileall
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from ffmpi import kernels
from tests import ready
from tests.helpers import DIGITS, PACKAGE

#: The interpreter of a second environment with another vendor's MPI, if there is one.
OTHER_PYTHON = os.environ.get("FFMPI_TEST_OTHER_PYTHON", "")
_MARK = "FFMPI_TEST_JOB"
os.environ["OMP_WAIT_POLICY"] = "passive"
# Python files are compiled once, and not by each worker.
sys.dont_write_bytecode = False
#: The environment of every job. Threads that wait are to sleep, since other tests want the cores.
OURS = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


@cache
def mpiexec_of(python: str) -> list[str]:
    """Return the launcher that belongs to an interpreter's environment, with what it needs on a small machine."""
    own = Path(python).parent / "mpiexec"
    launcher = str(own) if own.exists() else shutil.which("mpiexec")
    if launcher is None:
        pytest.fail("no mpiexec: install the extra 'mpi', or load your cluster's MPI")
    version = subprocess.run([launcher, "--version"], capture_output=True, text=True, timeout=30).stdout
    open_mpi = "Open MPI" in version or "OpenRTE" in version or "prte" in version.lower()
    return [launcher, *(["--oversubscribe", "--bind-to", "none"] if open_mpi else [])]


class Job:
    """A running job: every process of it carries a mark in its environment."""

    def __init__(self, command: list[str], cwd: Path, seconds: float, env: dict[str, str]) -> None:
        self._mark, self._seconds = uuid.uuid4().hex, seconds
        self.process = subprocess.Popen(
            ["timeout", "--kill-after=5", str(seconds), *command],
            cwd=cwd,
            env=os.environ | OURS | env | {_MARK: self._mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def pids(self) -> list[int]:
        """Return the processes of the job that are still there."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self._mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def rank_pid(self, rank: int) -> int:
        """Return the process of a rank."""
        for pid in self.pids():
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            for name in (b"PMI_RANK", b"OMPI_COMM_WORLD_RANK"):
                if name + b"=" + str(rank).encode() in environ:
                    return pid
        raise AssertionError(f"rank {rank} is not running")

    def command_pid(self) -> int:
        """Return the process that was started: the launcher, or without one the only rank."""
        for pid in self.pids():
            if f"PPid:\t{self.process.pid}\n" in Path(f"/proc/{pid}/status").read_text():
                return pid
        raise AssertionError("it has ended")

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for the end; 124 or 137 is the time limit's doing."""
        try:
            out, err = self.process.communicate(timeout=self._seconds + 20)
        except subprocess.TimeoutExpired:  # a rank that outlives its launcher has the pipes
            self.end()
            out, err = self.process.communicate()
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, out, err)

    def end(self) -> list[int]:
        """Kill what is left, and return what that was; ranks may take a moment to follow their launcher."""
        deadline = time.monotonic() + 3
        while (left := self.pids()) and self.process.poll() is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.kill()
        self.process.wait()
        return left


Start = Callable[..., Job]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", autouse=True)
def warm_kernels(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile all before the first job, Python, too: it takes time and memory that no test means to measure.

    One of the workers does, the others load what it has compiled.
    """
    own = tmp_path_factory.getbasetemp()
    with open((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "compiling", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for folder in (PACKAGE, PACKAGE / "kernels"):  # which may be a link
            compileall.compile_dir(folder, quiet=2)
        kernels.compile_all()


@pytest.fixture
def start(tmp_path: Path):
    """Return ``start(ranks, *args)``, which starts ``mpiexec -n ranks python args`` (0 ranks: without mpiexec).

    With the socket `place` of an interpreter that is `ready`, the ranks are copies of that.
    """
    jobs: list[Job] = []

    def begin(
        ranks: int, *args: object, seconds: float = 90, python: str = sys.executable, place: str = "", **env: str
    ) -> Job:
        launcher = [*mpiexec_of(python), "-n", str(ranks)] if ranks else []
        copied = ["-I", "-S", ready.__file__, place] if place else []
        job = Job([*launcher, python, *copied, *map(str, args)], tmp_path, seconds, env)
        jobs.append(job)
        return job

    yield begin
    left = {pid for job in jobs for pid in job.end()}
    assert not left, f"processes left behind: {sorted(left)}"


@pytest.fixture(scope="session")
def interpreter(warm_kernels: None) -> Iterator[str]:
    """Return the socket of an interpreter that is `ready`."""
    with tempfile.TemporaryDirectory(prefix="ffmpi-") as folder:
        place = f"{folder}/ready"
        command = [sys.executable, ready.__file__, place]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd=folder, env=os.environ | OURS, **pipes) as process:
            assert process.stdout.readline() == b"ready\n"
            yield place
            process.stdin.close()


@pytest.fixture
def run(start: Start, interpreter: str) -> Run:
    """Return ``run(ranks, *args)``: like `start`, but waits for the end.

    The ranks are copies of a ready interpreter, unless they are to be `fresh`, or to have another one, or to tell Numba
    something when it is imported.
    """

    def go(ranks: int, *args: object, fresh: bool = False, seconds: float = 90, **options: str):
        fresh = fresh or any(name == "python" or name.startswith("NUMBA_") for name in options)
        copied = {} if fresh else {"place": interpreter}
        return start(ranks, *args, seconds=seconds, **copied, **options).wait()

    return go


@pytest.fixture
def ffmpi(run: Run) -> Run:
    """Return ``ffmpi(ranks, *args)``: runs the command line and expects success."""

    def command(ranks: int, *args: object, **options: object) -> subprocess.CompletedProcess[str]:
        done = run(ranks, "-m", "ffmpi", *args, **options)
        assert done.returncode == 0, done.stderr + done.stdout
        return done

    return command


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def train_once(_trained: Path, ffmpi: Run) -> Callable[..., Path]:
    """Return ``train_once(name, ranks, *options)``: the run directory of a training on digits, done once a module."""

    def train(name: str, ranks: int, *options: str) -> Path:
        if not (_trained / name).exists():
            ffmpi(ranks, "train", DIGITS, "--run", _trained / name, *options)
        return _trained / name

    return train


#: Trains on digits for each run directory and its settings, one after another.
SEVERAL = """
import json, sys
from ffmpi.run.progress import Output
from ffmpi.runtime import mpi
from ffmpi.commands import train

def main(comm):
    for run, settings in json.loads(sys.argv[2]).items():
        train.train(comm, sys.argv[1], run, settings, Output(as_json=True))

mpi.run(main)
"""


@pytest.fixture
def train_all(_trained: Path, run: Run) -> Callable[..., Callable[[str], Path]]:
    """Return ``train_all(ranks, runs)``, which trains on digits with each of the settings in `runs`, by name.

    All in one job, since most of a short run is the interpreter's start, and once a module. Returns where a run is.
    """

    def train(ranks: int, runs: dict[str, list[str]], **env: str) -> Callable[[str], Path]:
        group = _trained / "-".join([str(ranks), *env.values()]).replace("/", "_")
        missing = {str(group / name): settings for name, settings in runs.items() if not (group / name).exists()}
        if missing:
            done = run(ranks, "-c", SEVERAL, DIGITS, json.dumps(missing), seconds=300, **env)
            assert done.returncode == 0, done.stderr
        return lambda name: group / name

    return train
