"""What a sweep leaves in its directory, and the batch script of its job array."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ffmpi.commands import job_array
from ffmpi.commands.sweep import sweep
from ffmpi.commands.table import table
from ffmpi.config.grid import grid
from ffmpi.errors import UserError
from ffmpi.run.sweep import SweepDirectory, runs_in
from tests.helpers import DIGITS, ROOT
from tests.unit.test_table import make

RATES = ["optimizer.learning_rate=0.1,0.2", "train.epochs=1"]


def write(path: Path, settings: list[str] = RATES, seeds: tuple[int, ...] = (0,)) -> SweepDirectory:
    """Return the directory of a sweep of which nothing has run."""
    found = SweepDirectory(path)
    found.write(grid(str(DIGITS), settings, list(seeds)), str(DIGITS))
    return found


def test_a_grid_may_grow(tmp_path: Path) -> None:
    write(tmp_path / "sweep")
    found = write(tmp_path / "sweep", ["optimizer.learning_rate=0.2,0.3", "train.epochs=1"])
    names = [f"optimizer.learning_rate={rate},seed=0" for rate in (0.1, 0.2, 0.3)]
    assert found.names() == names and all(found.config(name).exists() for name in names)
    assert "learning_rate = 0.3" in found.config(names[2]).read_text()


def test_another_configuration_wants_another_directory(tmp_path: Path) -> None:
    """Before anything is written; a run that has not begun has nothing to lose."""
    found = write(tmp_path / "sweep")
    write(tmp_path / "sweep", [RATES[0], "train.epochs=2"])
    begun = found.path / found.names()[1]
    begun.mkdir()
    (begun / "config.toml").write_text(found.config(begun.name).read_text())
    write(tmp_path / "sweep", [RATES[0], "train.epochs=2", "schedule.threads=2"])  # may change
    before = found.config(begun.name).read_text()
    with pytest.raises(
        UserError, match=r"seed=0 was started with \(train.epochs = 2, now 5\).* expected another --dir"
    ):
        write(tmp_path / "sweep", [RATES[0], "train.epochs=5"])
    assert found.config(begun.name).read_text() == before


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"runs": [1]}', '{"runs": ["a/b"]}', '{"runs": [".."]}', '{"runs": [""]}']
)
def test_a_damaged_list_of_runs(text: str, tmp_path: Path) -> None:
    found = write(tmp_path)
    found.grid.write_text(text)
    with pytest.raises(UserError, match=r"sweep\.json: .*expected"):
        table([str(tmp_path)], as_json=False, as_markdown=False)
    with pytest.raises(UserError, match=r"sweep\.json: .*expected"):
        write(tmp_path)


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="expected another --dir"):
        write(tmp_path / "file")


def test_a_table_of_a_sweep_is_one_of_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its directory or by all that lies in there; runs that are not finished are left out, and counted."""
    found = write(tmp_path / "sweep", seeds=(0, 1, 2, 3))
    found.script.touch()
    done = []
    for name in found.names()[2:4]:
        settings = found.config(name).read_text()
        done.append(make(found.path / name, 1, "train.epochs=1", "seed=" + name[-1]))
        assert f"seed = {name[-1]}\n" in settings
    assert runs_in(found.path.iterdir()) and {*runs_in(found.path.iterdir())} == {*done}
    assert runs_in([found.path, found.path]) == [found.path / name for name in found.names()]
    table([str(found.path)], as_json=True, as_markdown=False)
    output = capsys.readouterr()
    (row,) = json.loads(output.out)
    assert row["model"] == "sweep, softmax" and row["seeds"] == [2, 3] and row["runs"] == [str(run) for run in done]
    assert output.err.count("left out") == 6 and "left out: 1 more runs" in output.err
    table([str(path) for path in found.path.iterdir()], as_json=True, as_markdown=False)
    output = capsys.readouterr()
    assert json.loads(output.out) == [row] and output.err == ""


def script(directory: SweepDirectory, *options: str, ranks: int = 1, settings: list[str] = RATES) -> str:
    points = grid(str(DIGITS), settings, [0, 1])
    text = job_array.script(points, [0, 2, 3], directory, ranks, options)
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    return text


def test_the_script_of_a_job_array(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path / "all runs 100%")
    lines = script(directory, "--time=01:00:00", "-p", "two words", ranks=3, settings=[*RATES, "schedule.threads=4"])
    told = [line.removeprefix("#SBATCH ") for line in lines.splitlines() if line.startswith("#SBATCH ")]
    assert told == [
        "--job-name='all runs 100%'", "--nodes=1 --ntasks=3", "--cpus-per-task=4", "--signal=B:USR1@120",
        "--requeue --open-mode=append", f"--output='{tmp_path}/all runs 100%%/slurm/%A_%a.log'", "--array=0,2-3",
        "--time=01:00:00", "-p 'two words'",
    ]  # fmt: skip
    assert '/mpiexec -n "$SLURM_NTASKS" ' in lines and "mpiexec" not in script(directory)
    assert f"{sys.executable} -P -m ffmpi train" in lines and f"cd {os.getcwd()} ||" in lines
    with pytest.raises(UserError, match="debug: expected after '--' options of sbatch"):
        script(directory, "debug")


def test_the_script_handles_signals_as_those_for_single_runs_do(tmp_path: Path) -> None:
    here, there = script(SweepDirectory(tmp_path)), (ROOT / "runs" / "slurm" / "one-node.sh").read_text()
    before, after = (text.split("launcher=$! ")[1].split("    else\n") for text in (here, there))
    assert before[0] == after[0] and 'scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"' in before[1]
    assert (
        "saved() { " in here
        and here.split("saved() {")[1].split("\n\n")[0] == there.split("saved() {")[1].split("\n\n")[0]
    )


def test_a_task_of_the_script_runs_its_point(tmp_path: Path) -> None:
    """With a program that prints its arguments in the place of Python, where there is no Slurm."""
    directory = SweepDirectory(tmp_path / "a sweep")
    text = script(directory).replace(sys.executable, "printf '%s\\n'")
    done = subprocess.run(["bash", "-c", text], env=os.environ | {"SLURM_ARRAY_TASK_ID": "2"}, check=False, timeout=30)
    name = "optimizer.learning_rate=0.2,seed=0"
    assert done.returncode == 0
    assert directory.log(name).read_text().splitlines() == [
        "-P", "-m", "ffmpi", "train", str(directory.config(name)), "--run", str(directory.path / name), "--resume",
    ]  # fmt: skip


def test_a_job_array_is_written_but_not_submitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sweep(str(DIGITS), RATES, "2", 2, None, False, slurm=True) == 0
    output = capsys.readouterr()
    assert output.out.startswith("results/sweep-digits/sweep.sh: a job array for 4 of 4 runs; submit it with 'sbatch ")
    assert "note: without data.validation" in output.err
    assert "--array=0-3\n" in (tmp_path / "results" / "sweep-digits" / "sweep.sh").read_text()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="--submit: no sbatch in PATH"):
        sweep(str(DIGITS), RATES, "2", 1, None, True, slurm=True, submit=True)


@pytest.mark.parametrize("more", [{"submit": True}, {"options": ["--time=1"]}])
def test_options_of_a_job_array_want_one(more: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected --slurm"):
        sweep(str(DIGITS), RATES, "2", 1, str(tmp_path), False, **more)
