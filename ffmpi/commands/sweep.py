"""The command `sweep`: the runs of a grid, one after another on this machine, or as a job array of Slurm's."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config.grid import Point, grid, seeds_of
from ..errors import UserError, note
from ..launcher import launched
from ..run.directory import RunDirectory
from ..run.progress import accuracies_of
from ..run.results import result_of
from ..run.sweep import SweepDirectory
from ..runtime import stop
from ..runtime.launch import mpiexec
from . import job_array
from .results import rows_of
from .table import show

_POLL = 0.2  # seconds after which a signal is handed on at the latest
_NAMED = 3  # runs that failed, at most


@dataclass(frozen=True)
class Plan:
    """What is to be run: the points of a grid, in `directory`, each on so many `ranks`."""

    points: list[Point]
    directory: SweepDirectory
    ranks: int

    def command(self, point: Point) -> list[str]:
        """Return what starts the run at `point`, or continues it."""
        launcher = [mpiexec(), "-n", str(self.ranks)] if self.ranks > 1 else []
        run = [str(self.directory.config(point.name)), "--run", str(self.directory.path / point.name), "--resume"]
        return [*launcher, sys.executable, "-P", "-m", "ffmpi", "train", *run]


def sweep(
    config_path: str, settings: list[str], seeds: str | None, ranks: int, directory: str | None, as_json: bool,
    slurm: bool = False, submit: bool = False, options: Sequence[str] = (),
) -> int:  # fmt: skip
    """Run what is not finished of the grid, or with `slurm` write a job array that does; return the exit status.

    `options` are sbatch's.
    """
    if launched():
        raise UserError(
            "sweep: was started by an MPI launcher; expected 'ffmpi sweep' alone, with -n RANKS for each run"
        )
    if not slurm and (submit or options):
        raise UserError(f"{'--submit' if submit else ' '.join(options)}: is for a job array; expected --slurm, too")
    points = grid(config_path, settings, seeds_of(seeds) if seeds is not None else [])
    where = SweepDirectory(Path(directory) if directory else Path("results") / f"sweep-{Path(config_path).stem}")
    plan = Plan(points, where, ranks)
    if ranks > 1 and not slurm:
        mpiexec()  # or say that there is none
    where.write(points, config_path)
    if all(point.config.data.validation == 0 for point in points) and len({_but_seed(point) for point in points}) > 1:
        note("without data.validation there is nothing to choose the best by; the test samples are not for that")
    if slurm:
        return job_array.sweep(plan.points, where, ranks, options, submit, as_json)
    return _in_turn(plan, as_json)


def _but_seed(point: Point) -> str:
    return ",".join(part for part in point.name.split(",") if not part.startswith("seed="))


def _in_turn(plan: Plan, as_json: bool) -> int:
    """Carry out the runs one after another and print what became of each, then the table; return the exit status."""
    stop.install()
    stop.started()
    failed: dict[str, int] = {}
    for number, point in enumerate(plan.points, 1):
        status, reason = (0, "finished before") if _finished(plan, point) else _run(plan, point)
        _tell(plan, point, number, status, reason, as_json)
        if stop.noted() or status in stop.STATUS.values():
            return _stopped(plan, point, status)
        if status:
            failed[point.name] = status
    paths = [plan.directory.path / point.name for point in plan.points if point.name not in failed]
    if paths:
        rows = rows_of([result_of(path) for path in paths])
        if as_json:
            print(json.dumps({"table": rows}))
        else:
            show(rows)
    if not failed:
        return 0
    named = ", ".join(list(failed)[:_NAMED]) + (f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else "")
    text = f"{len(failed)} of {len(plan.points)} runs failed ({named}); each has said why in its output.log"
    print(f"ffmpi: {text}; the same command tries them again", file=sys.stderr)
    return 2 if set(failed.values()) == {2} else 1


def _finished(plan: Plan, point: Point) -> bool:
    return plan.directory.finished(point.name, point.config)


def _run(plan: Plan, point: Point) -> tuple[int, str]:
    """Start the run at `point` or continue it, and wait; return its exit status and, unless that is 0, what it said.

    A signal to this process is handed on as SIGUSR1, which every MPI's launcher hands on in its turn; the run is in a
    process group of its own, so that Ctrl-C reaches it by this way only.
    """
    log = plan.directory.log(point.name)
    try:
        log.parent.mkdir(exist_ok=True)
        output = open(log, "ab")  # noqa: SIM115
    except OSError as error:
        return 2, f"{log}: cannot be written to ({error.strerror})"
    with output:
        start = output.tell()
        child = subprocess.Popen(
            plan.command(point), stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
        told = False
        while True:
            try:
                status = child.wait(_POLL)
                break
            except subprocess.TimeoutExpired:
                if stop.noted() and not told:
                    child.send_signal(signal.SIGUSR1)
                    told = True
    return status, _last_words(log, start) if status else ""


def _last_words(log: Path, start: int) -> str:
    """Return the last thing that ffmpi itself says in `log` after `start`, or the last line."""
    with open(log, "rb") as file:
        file.seek(start)
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    own = [line.removeprefix("ffmpi: ") for line in lines if line.startswith("ffmpi: ")]
    return (own or lines or ["nothing was said"])[-1]


def _tell(plan: Plan, point: Point, number: int, status: int, reason: str, as_json: bool) -> None:
    """Print what became of a run in a line."""
    run = RunDirectory(plan.directory.path / point.name)
    records = run.records() if status == 0 else []
    accuracies = accuracies_of(records[-1]) if records else {}
    seconds = sum(record["seconds"] for record in records)
    if as_json:
        about = {"run": str(run.path), "status": status, "reason": reason, "seconds": seconds, "accuracy": accuracies}
        print(json.dumps(about), flush=True)
        return
    if status:
        text = f"exit status {status}, {reason}"
    else:
        parts = [
            f"{split} " + ", ".join(f"{method} {value:.2f} %" for method, value in found.items())
            for split, found in accuracies.items()
        ]
        text = "; ".join([*parts, f"{seconds:.1f} s of training", *([reason] if reason else [])])
    print(f"{number}/{len(plan.points)} {point.name}: {text}", flush=True)


def _stopped(plan: Plan, point: Point, status: int) -> int:
    """Say how far a sweep came that a signal has ended, to it or to the run at `point`; return the exit status."""
    number = stop.noted()
    done = sum(_finished(plan, point) for point in plan.points)
    why = stop.describe(number) if number else f"{point.name} was stopped"
    print(f"ffmpi: {why}; {done} of {len(plan.points)} runs are done, the same command continues", file=sys.stderr)
    return stop.STATUS.get(number, status)
