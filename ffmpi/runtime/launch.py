"""The start of MPI, by the launcher that belongs to it."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..launcher import Environment, has_any, number_in, speaks_pmi

#: Slurm's is that of srun: SLURM_NTASKS also stands in the environment of a batch script, which is one process.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


def _beside() -> str | None:
    """Return the launcher that was installed beside this interpreter, with its MPI."""
    here = Path(sys.executable).parent / "mpiexec"
    return str(here) if here.exists() else None


def mpiexec() -> str:
    """Return the launcher of a job with several ranks: the one beside this interpreter, or else the first in PATH."""
    found = _beside() or shutil.which("mpiexec")
    if found is None:
        raise UserError(
            "no mpiexec beside Python or in PATH; load your cluster's MPI module, or pip install 'ffmpi[mpi]'"
        )
    return found


def _own(kind: str) -> str:
    """Say which launcher belongs to the MPI library of this `kind`."""
    own = _beside() or "that MPI's own mpiexec"
    return own + {"MPICH": " (in Slurm: srun --mpi=pmi2)", "Open MPI": " (in Slurm: srun --mpi=pmix)"}.get(kind, "")


def _first_line(library: str) -> str:
    """Return the name and version in what MPI_Get_library_version says, which may be long."""
    return " ".join(library.split("\n")[0].partition(", package")[0].strip("\0 ").split())


def mismatch(library: str, environment: Environment, alone: bool = False) -> str | None:
    """Return what is wrong if another MPI's launcher has started this process, in a sentence, or None.

    `library` is what MPI_Get_library_version says. `alone` says that MPI has started, with one rank; before it has,
    only what is certain counts.
    """
    kind = next((kind for kind in ("Open MPI", "MPICH") if kind in library), "")
    name = next((name for name in ("PMIX_NAMESPACE", "PMIX_RANK") if name in environment), None)
    # A process that a rank has started has its variables, but neither the launcher nor a place in its world.
    orphan = None
    if kind == "MPICH" and "PMI_FD" in environment and not speaks_pmi(environment):
        orphan = "PMI_FD"
    if kind == "Open MPI" and name == "PMIX_NAMESPACE" and not has_any(environment, "PMIX_SERVER_URI"):
        orphan = name
    if orphan:
        return (
            f"{orphan}={environment[orphan]}: left by a launcher that this process cannot reach; start ffmpi itself "
            f"with {_own(kind)}, or unset the variables PMI_* and PMIX_*"
        )
    # Other members of MPICH's family speak PMIx, as does MPICH if it was configured to.
    if name and library.startswith("MPICH") and "pmix" not in library.lower():
        return (
            f"{name}={environment[name]}: the launcher is Open MPI's, or srun --mpi=pmix, with which "
            f"{_first_line(library)} does not start; use {_own(kind)}, outside of the other's jobs"
        )
    if not alone:
        old = library.startswith(tuple(f"Open MPI v{major}." for major in range(5)))  # knows Slurm's older protocols
        own = {
            "MPICH": has_any(environment, "PMI_", "PMIX_", "PALS_", "ALPS_", "MV2_"),
            "Open MPI": has_any(environment, "OMPI_COMM_WORLD_", "PMIX_", *(["SLURM_STEP"] if old else [])),
        }
        if own.get(kind, True):
            return None
    size = next((size for size in _SIZES if number_in(environment, size) > 1), None)
    if size is None:
        return None
    return (
        f"the launcher started {environment[size]} processes ({size}={environment[size]}) but each is alone in its "
        f"world: it belongs to another MPI than {_first_line(library)}; use {_own(kind)}"
    )


def library_name() -> str:
    """Return the name and version of the MPI library, which is loaded but not started."""
    import mpi4py

    mpi4py.rc.initialize = False
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return "none; load your cluster's MPI module, or pip install 'ffmpi[mpi]'"
    return _first_line(MPI.Get_library_version())


def start() -> Any:
    """Start MPI and return COMM_WORLD; only the main thread of a rank calls MPI.

    Raises UserError without an MPI library, or if a launcher of another MPI started this process: some would end in
    MPI_Init, others would start as many worlds of one rank.
    """
    import mpi4py

    mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # mpi4py's, of the same
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"no MPI library could be loaded ({error}); load your cluster's MPI module, or pip install 'ffmpi[mpi]'"
        ) from None
    library = MPI.Get_library_version()
    wrong = mismatch(library, os.environ)
    if wrong is None:
        if not MPI.Is_initialized():
            MPI.Init_thread(MPI.THREAD_FUNNELED)
        wrong = mismatch(library, os.environ, alone=True) if MPI.COMM_WORLD.size == 1 else None
    if wrong is not None:
        raise UserError(wrong)
    return MPI.COMM_WORLD
