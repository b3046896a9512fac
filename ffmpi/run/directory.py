"""The run directory: all that a run leaves."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
from msgspec import Meta

from .. import __version__
from ..config.read import differences, dump, located, read
from ..config.schema import Config
from ..errors import UserError, ranges, warn, why_missing


def environment() -> dict[str, Any]:
    """Return what the run ran on: machine, versions, launcher; nothing here starts MPI."""
    packages = ("numpy", "numba", "mpi4py", "h5py")
    names = (
        "SLURM_JOB_ID",
        "SLURM_ARRAY_JOB_ID",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_RESTART_COUNT",
        "SLURM_JOB_NODELIST",
        "OMP_NUM_THREADS",
        "NUMBA_NUM_THREADS",
    )
    return {
        "ffmpi": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "host": platform.node(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "command": sys.argv,
        "variables": {name: os.environ[name] for name in names if name in os.environ},
    }


def _commit() -> str | None:
    """Return the commit this code is at, if it runs from a Git working copy."""
    here = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    inside = (here.parent / ".git").exists() and done.returncode == 0
    return done.stdout.strip() if inside else None


def processor() -> str:
    """Return the name of this host's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


class RankRow(msgspec.Struct):
    """What a rank has measured in a chapter or, beyond 16 ranks, all those of a host, so many `ranks`."""

    host: str = ""
    ranks: Annotated[int, Meta(ge=1)] = 1
    seconds: float = 0.0
    computing: float = 0.0
    waiting: float = 0.0
    least_computing: float = 0.0
    most_computing: float = 0.0
    flop: float = 0.0
    peak_bytes: float = 0.0
    priced_bytes: float = 0.0


class _Line(msgspec.Struct):
    """What every line of the metrics has, among more."""

    epoch: int
    seconds: float
    accuracy: dict[str, float]
    ranks: list[RankRow]


class _Leg(msgspec.Struct):
    """What is relied on of each leg of a run in environment.json."""

    ranks: int | None = None


class _Environment(_Leg):
    """The same of the first leg, and those after it."""

    continued: list[_Leg] = []


def put(path: Path, text: str) -> None:
    """Write a file in one step: it holds what it held before, or `text`."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def reserve(config_path: str) -> Path:
    """Make and return results/NAME-DATE-TIME for a configuration file NAME.toml, and for nobody else.

    In Slurm the job's number stands in the name, too, with that of the task of a job array.
    """
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    parts = [Path(config_path).stem, time.strftime("%Y%m%d-%H%M%S"), *([f"job{job}"] if job else [])]
    if task := os.environ.get("SLURM_ARRAY_TASK_ID"):
        parts.append(task)
    for number in itertools.count(1):
        path = Path("results") / "-".join(parts if number == 1 else [*parts, str(number)])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError:
            if path.parent.is_dir():
                continue
            raise UserError(f"{path.parent}: is no directory; expected one, or --run DIR") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be made a run directory ({error}); choose another with --run") from None
        return path
    raise AssertionError("unreachable")


#: What file systems without locks answer, such as Lustre mounted without `flock`.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class RunDirectory:
    """A directory with config.toml, environment.json, metrics.jsonl and checkpoint.h5, written by rank 0.

    There may be checkpoint-best.h5, too: see `best.Best`; event files in tensorboard/; and plan.json, what the run was
    expected to take.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.h5"
        self.best = path / "checkpoint-best.h5"
        self.metrics = path / "metrics.jsonl"
        self.plan = path / "plan.json"
        self.tensorboard = path / "tensorboard"
        self._lock: IO[str] | None = None

    def create(self, config: Config, facts: dict[str, Any]) -> None:
        """Make the directory for a new run; UserError if it holds a run already, or a recipe that would be lost."""
        if os.path.exists(self.checkpoint):  # Path.exists raises where the directory may not be read
            raise UserError(
                f"{self.path}: holds a run already; continue it with 'ffmpi resume {self.path}' or choose another --run"
            )
        recipe, description = self.path / "config.toml", self.path / "environment.json"
        if os.path.exists(recipe) and not os.path.exists(description):
            raise UserError(f"{recipe}: was not left by a run and would be lost; choose another --run")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock()
            self.best.unlink(missing_ok=True)  # of a run whose checkpoint was deleted
            put(description, json.dumps(environment() | facts, indent=2))
            put(recipe, dump(located(config)))
            put(self.metrics, "")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be made a run directory ({error})") from None

    def lock(self) -> None:
        """Make sure, where the file system has locks, that nobody else writes here; held until the process ends."""
        try:
            self._lock = open(self.path / "lock", "w", encoding="utf-8")  # noqa: SIM115
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.path}: another ffmpi is writing here; wait for it to end, or end it") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise UserError(f"{self.path}: cannot be locked ({error}); expected a run directory") from None

    def expect_checkpoint(self) -> None:
        """Raise UserError if there is no run here that could be continued."""
        recipe = self.path / "config.toml"
        if why := why_missing(self.path):
            raise UserError(f"{self.path}: no such run directory ({why})")
        if why_missing(self.checkpoint) != "no such file":
            return
        if why_missing(recipe):
            raise UserError(f"{self.path}: no run directory: neither checkpoint.h5 nor config.toml is there")
        raise UserError(
            f"{self.path}: the run was stopped before it saved anything, so there is nothing to continue; start it "
            f"again with 'ffmpi train {recipe} --run {self.path}'"
        )

    def compare(self, saved: Config) -> None:
        """Warn if config.toml is not the configuration `saved` in the checkpoint: it has been edited, and in vain."""
        recipe = self.path / "config.toml"
        try:
            found = read(str(recipe))
        except UserError as error:
            warn(f"{error}; the run continues with the configuration in its checkpoint")
            return
        different = differences(saved, found)
        if different:
            named = ", ".join(f"{key} = {new!r} ({old!r})" for key, (old, new) in list(different.items())[:3])
            warn(
                f"{recipe}: not the configuration in the checkpoint, which is in brackets: {named}"
                f"{' and more' if len(different) > 3 else ''}; the run continues with the checkpoint's; "
                "what may change can be set with --set"
            )

    def append(self, record: dict[str, Any]) -> None:
        """Add one JSON line to the metrics."""
        try:
            with open(self.metrics, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> UserError:
        if not self.path.is_dir():
            return UserError(f"{self.path}: was deleted or moved away while the run wrote there, so the run ends")
        return UserError(
            f"{self.path}: cannot be written to ({error}); free some space, then use 'ffmpi resume {self.path}'"
        )

    def resume(self, epoch: int, config: Config, facts: dict[str, Any]) -> None:
        """Note that a run is resumed after `epoch`, perhaps elsewhere and with other settings.

        The metrics after it are forgotten: they will be measured again.
        """
        try:
            before = self.facts()
        except UserError:
            before = {}  # a run is worth more than the description of where it was
        whole = before | {"continued": [*before.get("continued", []), environment() | facts]}
        kept = [record for record in self.records() if record["epoch"] <= epoch]
        try:
            put(self.path / "config.toml", dump(located(config)))
            put(self.path / "environment.json", json.dumps(whole, indent=2))
            put(self.metrics, "".join(json.dumps(record) + "\n" for record in kept))
        except OSError as error:
            raise self._unwritable(error) from None

    def facts(self) -> dict[str, Any]:
        """Return what environment.json says; UserError if it is damaged."""
        path = self.path / "environment.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read ({error}); expected what a run leaves there") from None
        try:
            msgspec.convert(found, _Environment)
        except msgspec.ValidationError:
            raise UserError(f"{path}: expected a JSON object as a run leaves it there") from None
        return dict(found)

    def records(self) -> list[dict[str, Any]]:
        """Return the metrics without a last line that a kill has cut off; a warning names other damaged ones."""
        try:
            lines = self.metrics.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{self.metrics}: cannot be read ({error.strerror}); expected what a run leaves") from None
        records: list[dict[str, Any]] = []
        damaged = []
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                msgspec.convert(record, _Line)
            except (ValueError, RecursionError):
                damaged.append(number)
                continue
            if records and record["epoch"] <= records[-1]["epoch"]:
                damaged.append(number)
                continue
            records.append(record)
        if damaged := [number for number in damaged if number < len(lines)]:
            numbers = ranges(damaged)
            warn(f"{self.metrics}: line{'s' * (len(damaged) > 1)} {numbers} cannot be read and will be left out")
        return records


def checkpoint_path(path: str) -> Path:
    """Return the checkpoint at `path`, or the one in the run directory `path`."""
    return RunDirectory(Path(path)).checkpoint if os.path.isdir(path) else Path(path)
