"""The program and the scripts in `runs/` from any folder, also from the one that holds the clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ffmpi import __version__
from tests.helpers import ROOT

SCRIPTS = sorted(script.name for script in (ROOT / "runs").glob("*.py"))


@pytest.fixture
def holder(tmp_path: Path) -> Path:
    """Return a folder that holds the clone, under the project's name."""
    (tmp_path / "ffmpi").symlink_to(ROOT)
    return tmp_path


def python(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)


def test_the_program_beside_its_clone(holder: Path) -> None:
    done = python(holder, "-m", "ffmpi", "--version")
    assert (done.returncode, done.stderr) == (0, "") and __version__ in done.stdout
    done = python(holder, "-m", "ffmpi", "data", "digits")
    assert done.returncode == 0 and "10 classes" in done.stdout, done.stderr
    done = python(holder, "-m", "ffmpi", "nonsense")
    assert done.returncode == 2 and done.stderr.startswith("ffmpi: No such command")


def test_scripts_start_the_program_that_is_installed(holder: Path) -> None:
    """A child with -P does not look into the working directory; without it there is no module to run."""
    for script in SCRIPTS:
        text = " ".join((ROOT / "runs" / script).read_text().split())
        assert text.count('"-m", "ffmpi"') == text.count('sys.executable, "-P", "-m", "ffmpi"') > 0, script
    assert python(holder, "-P", "-m", "ffmpi", "--version").returncode == 0
    for script in SCRIPTS[-1:]:
        assert python(holder, f"ffmpi/runs/{script}", "--help").returncode == 0


def test_speedup_does_not_crowd_the_cores(holder: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    recipe = ROOT / "runs" / "mnist.toml"
    done = python(holder, "ffmpi/runs/speedup.py", recipe, "--ranks", 2, "--set", f"schedule.threads={cores}")
    assert done.returncode == 2 and f"2 ranks of {cores} threads need {2 * cores} cores" in done.stderr
    done = python(holder, "ffmpi/runs/speedup.py", recipe, "--set", "train.epoch=1")
    assert done.returncode == 2 and done.stderr.startswith("ffmpi: --set train.epoch=1: unknown key")
