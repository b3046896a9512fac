"""The run directory: all that a run leaves."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from . import __version__
from .config import dump
from .errors import UserError
from .tables import Config


def environment() -> dict[str, Any]:
    """Return what the run ran on: machine, versions, launcher; nothing here starts MPI."""
    packages = ("numpy", "numba", "mpi4py", "h5py")
    names = ("SLURM_JOB_ID", "SLURM_JOB_NODELIST", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {
        "ffmpi": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "host": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "command": sys.argv,
        "variables": {name: os.environ[name] for name in names if name in os.environ},
    }


def _commit() -> str | None:
    """Return the commit this code is at, if it runs from a Git working copy."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    inside = (here.parent / ".git").exists() and done.returncode == 0
    return done.stdout.strip() if inside else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


class RunDirectory:
    """A directory with config.toml, environment.json, metrics.jsonl and checkpoint.h5, written by rank 0."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.h5"
        self.metrics = path / "metrics.jsonl"
        self._lock: IO[str] | None = None

    @classmethod
    def default(cls, config_path: str) -> RunDirectory:
        """Return results/NAME-DATE-TIME for a configuration file NAME.toml."""
        return cls(Path("results") / f"{Path(config_path).stem}-{time.strftime('%Y%m%d-%H%M%S')}")

    def create(self, config: Config, facts: dict[str, Any]) -> None:
        """Make the directory for a new run; raises UserError if it holds a run already."""
        if self.checkpoint.exists():
            raise UserError(
                f"{self.path}: holds a run already; continue it with 'ffmpi resume {self.path}' or choose another --run"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock()
            (self.path / "config.toml").write_text(dump(config), encoding="utf-8")
            (self.path / "environment.json").write_text(json.dumps(environment() | facts, indent=2), encoding="utf-8")
            self.metrics.write_text("", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be made a run directory ({error})") from None

    def lock(self) -> None:
        """Make sure that nobody else writes here; held until the process ends."""
        try:
            self._lock = open(self.path / "lock", "w", encoding="utf-8")  # noqa: SIM115
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.path}: another ffmpi is writing here; wait for it to end, or end it") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be locked ({error}); expected a run directory") from None

    def append(self, record: dict[str, Any]) -> None:
        """Add one JSON line to the metrics."""
        with open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def go_on(self, config: Config, facts: dict[str, Any]) -> None:
        """Note that a run goes on, perhaps elsewhere and with other settings."""
        before = self.facts()
        entry = environment() | facts
        try:
            (self.path / "config.toml").write_text(dump(config), encoding="utf-8")
            whole = before | {"continued": [*before.get("continued", []), entry]}
            (self.path / "environment.json").write_text(json.dumps(whole, indent=2), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written to ({error})") from None

    def facts(self) -> dict[str, Any]:
        """Return what environment.json says; UserError if it is damaged."""
        path = self.path / "environment.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); expected what a run leaves there") from None
        if not isinstance(found, dict) or not isinstance(found.get("continued", []), list):
            raise UserError(f"{path}: expected a JSON object as a run leaves it there")
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return the metrics up to the first line that a kill has cut off, or that is none."""
        if not self.metrics.exists():
            return []
        records: list[dict[str, Any]] = []
        for line in self.metrics.read_bytes().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                break
            if not isinstance(record, dict) or not {"epoch", "seconds", "accuracy"} <= record.keys():
                break
            records.append(record)
        return records

    def rewind(self, epoch: int) -> None:
        """Forget the metrics after `epoch`, which a resumed run measures again."""
        kept = [record for record in self.records() if record["epoch"] <= epoch]
        self.metrics.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
