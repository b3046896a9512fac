"""Who started this process, known from its environment before MPI starts."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

Environment = Mapping[str, str]

#: Without a file descriptor for it, MPICH's kin reach their launcher in other ways: through a port, or on a Cray.
_PMI = ("PMI_PORT", "PMI_CONTROL_PORT", "PALS_RANKID", "ALPS_APP_PE")


def has_any(environment: Environment, *prefixes: str) -> bool:
    """Whether a variable has one of these beginnings."""
    return any(name.startswith(prefixes) for name in environment)


def speaks_pmi(environment: Environment) -> bool:
    """Whether a launcher of MPICH's kind is at the other end: its variables outlive it in whatever a rank starts."""
    try:
        kind = os.fstat(int(environment["PMI_FD"])).st_mode
        return stat.S_ISSOCK(kind) or stat.S_ISFIFO(kind)
    except KeyError:
        return has_any(environment, *_PMI)
    except (OSError, ValueError, OverflowError):
        return False


def _srun(environment: Environment) -> bool:
    """Whether this process is the task that srun has started, or descends from it."""
    task, pid = environment.get("SLURM_TASK_PID", ""), os.getpid()
    while pid > 1 and str(pid) != task:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return pid > 1


#: The variables in which a launcher says rank and size, and whether that is true of this process.
_LAUNCHERS: tuple[tuple[str, str, Callable[[Environment], bool]], ...] = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", lambda env: has_any(env, "PMIX_SERVER_URI", "OMPI_MCA_orte_")),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS", lambda env: has_any(env, "PMIX_SERVER_URI")),
    ("PMI_RANK", "PMI_SIZE", speaks_pmi),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", _srun),
)


def number_in(environment: Environment, name: str) -> int:
    """Return the whole number that the variable `name` holds, or -1."""
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else -1


def rank_in(environment: Environment) -> int | None:
    """Return the rank that a launcher gave this process, or None without one.

    A variable that was left behind by another job, or set by hand, is no launcher.
    """
    for rank, size, there in _LAUNCHERS:
        if 0 <= number_in(environment, rank) < number_in(environment, size) and there(environment):
            return number_in(environment, rank)
    return None


@cache
def launched() -> bool:
    """Whether a launcher started this process."""
    return rank_in(os.environ) is not None


@cache
def launched_rank() -> int:
    """Return the rank that the launcher gave this process; 0 without a launcher."""
    return rank_in(os.environ) or 0


#: How the names of the processes begin that users start, which print what ranks print.
_STARTED = ("mpiexec", "mpirun", "prterun", "orterun", "orted")


def terminal() -> str:
    """Return the terminal that the launcher which started this process prints on, such as /dev/pts/3; empty: none.

    It may give the process a pipe, and print there what comes through it. One that is on another host has none.
    """
    pid = os.getppid()
    try:
        while pid > 1:
            process = Path(f"/proc/{pid}")
            if (process / "comm").read_text().startswith(_STARTED):
                place = os.readlink(process / "fd" / "1")
                return place if place.startswith(("/dev/pts/", "/dev/tty")) else ""
            pid = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return ""
