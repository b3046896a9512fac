"""The batch scripts on a real Slurm of two nodes: signalled, put back into the queue, done, with the same bits."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OTHER_PYTHON
from tests.helpers import DIGITS, ROOT, assert_same_bits, lines, sets

from .cluster import Cluster, missing

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(missing()), reason=missing())]

SCRIPTS = ROOT / "runs" / "slurm"
SMALL = sets("network.layers=[64,64]", "train.batch_size=20")
EPOCHS = 60

#: What Open MPI wants of root, and where ranks outnumber cores.
VARIABLES = {
    "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_hwloc_default_binding_policy": "none", "OMPI_MCA_hwloc_base_binding_policy": "none",
}  # fmt: skip

Submit = Callable[..., str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("slurm"))
    yield running
    running.stop()
    assert not running.left(), "processes of Slurm's are left"


@pytest.fixture
def submit(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submit:
    """Return ``submit(script, options, *args)``, which submits a script of ours, as it is, and returns the job.

    The environment that it finds as .venv is that of `python`.
    """
    monkeypatch.chdir(tmp_path)
    environment = tmp_path / ".venv" / "bin"
    environment.mkdir(parents=True)
    variables = ["ALL", *(f"{name}={value}" for name, value in VARIABLES.items())]

    def sbatch(script: str, options: list[str], *args: object, python: str = sys.executable) -> str:
        (environment / "activate").write_text(f"export PATH={Path(python).parent}:$PATH\n")
        command = ["sbatch", "--parsable", f"--export={','.join(variables)}", *options, SCRIPTS / script, *args]
        return cluster.run(*command).strip()

    return sbatch


def log(folder: Path, job: str) -> str:
    """Return what a job has written."""
    return "".join(path.read_text() for path in folder.glob(f"*-{job}.log"))


def done(cluster: Cluster, job: str) -> bool:
    return cluster.state(job) in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


@pytest.mark.parametrize(
    ("script", "python"),
    [
        ("one-node.sh", sys.executable),
        ("nodes-mpiexec.sh", sys.executable),
        ("nodes-srun.sh", sys.executable),
        pytest.param(
            "nodes-mpiexec.sh", OTHER_PYTHON, marks=pytest.mark.skipif(not OTHER_PYTHON, reason="no other MPI")
        ),
    ],
)
def test_a_run_goes_through_the_queue_twice_to_the_same_bits(
    script: str, python: str, cluster: Cluster, submit: Submit, tmp_path: Path
) -> None:
    undisturbed = submit("one-node.sh", ["--ntasks=1"], DIGITS, "undisturbed", *SMALL, *sets(f"train.epochs={EPOCHS}"))
    cluster.until(lambda: done(cluster, undisturbed), 60)
    job = submit(script, [], DIGITS, "run", *SMALL, *sets(f"train.epochs={EPOCHS}"), python=python)
    cluster.until(lambda: (tmp_path / "run" / "checkpoint.h5").exists(), 90)
    cluster.run("scancel", "--batch", "--signal=USR1", job)  # as Slurm does before the time limit
    cluster.until(lambda: done(cluster, job), 120)
    output = log(tmp_path, job)
    print(output[-2000:])
    assert cluster.state(job) == "COMPLETED", output
    assert output.count("ffmpi: stopped by SIGUSR1; run/checkpoint.h5 holds epoch") == 1, output
    assert output.count("continuing after epoch") == 1 and "Traceback" not in output
    facts = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert facts["ranks"] == 2 and len(facts["continued"]) == 1 and len(lines(tmp_path / "run")) == EPOCHS
    assert_same_bits(tmp_path / "undisturbed", tmp_path / "run")


def test_a_suspended_job_goes_on(cluster: Cluster, submit: Submit, tmp_path: Path) -> None:
    """Suspended for longer than schedule.timeout, which must be longer than one node is suspended before the other."""
    epochs = 10 * EPOCHS  # a quick machine must not be done before it is suspended
    job = submit("nodes-mpiexec.sh", [], DIGITS, "run", *SMALL, *sets(f"train.epochs={epochs}", "schedule.timeout=5"))
    cluster.until(lambda: (tmp_path / "run" / "checkpoint.h5").exists(), 90)
    cluster.run("scontrol", "suspend", job)
    time.sleep(3)
    before = len(lines(tmp_path / "run"))
    time.sleep(6)
    assert len(lines(tmp_path / "run")) == before < epochs
    cluster.run("scontrol", "resume", job)
    cluster.until(lambda: done(cluster, job), 200)
    assert cluster.state(job) == "COMPLETED", log(tmp_path, job)
    assert len(lines(tmp_path / "run")) == epochs


def test_a_killed_rank_ends_its_job(cluster: Cluster, submit: Submit, tmp_path: Path) -> None:
    jobs = [
        submit(script, [], DIGITS, script, *SMALL, *sets("train.epochs=100000"))
        for script in ("nodes-srun.sh", "nodes-mpiexec.sh")
    ]
    for script in ("nodes-srun.sh", "nodes-mpiexec.sh"):
        cluster.until(lambda run=tmp_path / script: (run / "checkpoint.h5").exists(), 90)
        os.kill(cluster.left("ffmpi", f"--run\0{script}\0")[-1], signal.SIGKILL)
    for job in jobs:
        cluster.until(lambda job=job: done(cluster, job), 30)
        assert cluster.state(job) == "FAILED"


def test_a_job_that_saves_nothing_is_not_repeated(cluster: Cluster, submit: Submit, tmp_path: Path) -> None:
    endless = sets("train.epochs=100000", "checkpoint.every=100000")
    job = submit("one-node.sh", [], DIGITS, "run", *SMALL, *endless)
    cluster.until(lambda: "epoch 2/" in log(tmp_path, job), 90)
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    cluster.until(lambda: done(cluster, job), 60)
    assert cluster.state(job) == "FAILED" and "ExitCode=75:0" in cluster.run("scontrol", "show", "job", job)
    output = log(tmp_path, job)
    assert "stopped by SIGUSR1 before anything was saved" in output and "not put back into the queue" in output


def test_a_sweep_is_a_job_array(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task goes through the queue twice; what is finished is not submitted again."""
    monkeypatch.chdir(tmp_path)
    for name, value in VARIABLES.items():
        monkeypatch.setitem(cluster.env, name, value)
    grid = [DIGITS, *SMALL, *sets(f"train.epochs={EPOCHS}"), "--dir", "all runs 100%", "-n", 2, "--slurm", "--submit"]

    def sweep(seeds: int, *options: str) -> dict[str, Any]:
        more = ["--seeds", seeds, "--json", "--", *options]
        answer = cluster.run(sys.executable, "-m", "ffmpi", "sweep", *grid, *more)
        return dict(json.loads(answer))

    job, runs = sweep(2, "--time=00:10:00", "-J", "short name")["job"], tmp_path / "all runs 100%"
    cluster.until(lambda: (runs / "seed=1" / "checkpoint.h5").exists(), 90)
    cluster.run("scancel", "--batch", "--signal=USR1", f"{job}_1")
    for task in (0, 1):
        cluster.until(lambda task=task: done(cluster, f"{job}_{task}"), 120)
        output = (runs / f"seed={task}" / "output.log").read_text()
        facts = json.loads((runs / f"seed={task}" / "environment.json").read_text())
        assert cluster.state(f"{job}_{task}") == "COMPLETED", output
        assert len(facts.get("continued", [])) == output.count("continuing after epoch") == task, output
        assert facts["ranks"] == 2 and len(lines(runs / f"seed={task}")) == EPOCHS
    told = cluster.run("scontrol", "show", "job", f"{job}_0")
    assert "JobName=short name" in told and "TimeLimit=00:10:00" in told
    assert sorted(path.name for path in (runs / "slurm").iterdir()) == [f"{job}_0.log", f"{job}_1.log"]
    again = sweep(3)
    cluster.until(lambda: done(cluster, f"{again['job']}_2"), 90)
    assert again["tasks"] == [2] and len(lines(runs / "seed=2")) == EPOCHS
    assert sweep(3) == {"runs": 3, "tasks": [], "script": None, "job": None}
    with pytest.raises(AssertionError, match=r"ffmpi: sbatch .*invalid partition"):
        sweep(4, "-p", "nowhere")
