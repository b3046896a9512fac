"""Who started a process is told from its environment, and what a job has left there is no launcher."""

from __future__ import annotations

import os
import socket

import pytest

from ffmpi.launcher import rank_in
from ffmpi.runtime.launch import mismatch

MPICH = "MPICH Version:      5.0.2\nMPICH configure:    --with-device=ch4:ucx,ofi --with-pm=hydra:gforker\n"
MPICH_PMIX = MPICH.replace("--with-pm=", "--with-pmix=/usr --with-pm=")
OPEN_MPI = "Open MPI v5.0.11, package: Open MPI user@localhost Distribution, ident: 5.0.11"
INTEL = "Intel(R) MPI Library 2021.11 for Linux* OS"

OPEN_MPI_JOB = {
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_RANK": "1", "PMIX_NAMESPACE": "prterun-1@1",
    "PMIX_SERVER_URI4": "prterun-1@0.0;tcp4://127.0.0.1:51627",
}  # fmt: skip
SRUN = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEPID": "0"}
SRUN_PMIX = SRUN | {"PMIX_RANK": "2", "PMIX_NAMESPACE": "slurm.pmix.1.0", "PMIX_SERVER_URI2": "pmix-server"}


OURS, THEIRS = socket.socketpair()


def hydra(descriptor: int | str = OURS.fileno()) -> dict[str, str]:
    return {"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_FD": str(descriptor), "HYDI_CONTROL_FD": "7"}


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, None),
        (OPEN_MPI_JOB, 1),
        (SRUN_PMIX, 2),
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_PORT": "node1:4711"}, 3),
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "PALS_RANKID": "3"}, 3),
        (SRUN | {"SLURM_TASK_PID": str(os.getpid())}, 2),
        pytest.param(
            SRUN | {"SLURM_TASK_PID": str(os.getppid())}, 2,
            marks=pytest.mark.skipif(os.getppid() == 1, reason="init is nobody's task"),
        ),
        # Left behind, or set by hand.
        ({"PMI_RANK": "3"}, None),
        ({"PMI_RANK": "3", "PMI_SIZE": "4"}, None),
        (hydra("none"), None),
        (hydra(99999), None),
        ({"OMPI_COMM_WORLD_RANK": "1"}, None),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"}, None),
        ({"PMIX_RANK": "1"}, None),
        ({"SLURM_PROCID": "1"}, None),
        (SRUN, None),
        (SRUN | {"SLURM_TASK_PID": "1"}, None),
        (SRUN | {"SLURM_TASK_PID": "no number"}, None),
        ({"SLURM_PROCID": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_TASK_PID": str(os.getpid())}, None),
        ({"PMI_RANK": "\u00b2", "PMI_SIZE": "4", "PMI_PORT": "node1:4711"}, None),
    ],
)  # fmt: skip
def test_rank_of_a_launcher(environment: dict[str, str], rank: int | None) -> None:
    assert rank_in(environment) == rank


def test_a_launcher_at_the_other_end_of_a_socket(tmp_path) -> None:
    assert rank_in(hydra()) == 3
    with open(tmp_path / "file", "w") as file:
        assert rank_in(hydra(file.fileno())) is None  # another file that has got the number since


@pytest.mark.parametrize(
    ("library", "environment"),
    [
        (MPICH, OPEN_MPI_JOB),
        (MPICH, OPEN_MPI_JOB | {"OMPI_COMM_WORLD_SIZE": "1"}),  # ends in MPI_Init, too
        (MPICH, SRUN_PMIX),
        (MPICH, OPEN_MPI_JOB | hydra()),  # its own mpiexec inside of the other's job
        (MPICH, {"OMPI_COMM_WORLD_SIZE": "4"}),
        (MPICH, SRUN),
        (OPEN_MPI, hydra()),
        (OPEN_MPI, SRUN),
        (OPEN_MPI, SRUN | hydra()),
        # Started by a rank.
        (MPICH, hydra(99999)),
        (OPEN_MPI, {"PMIX_NAMESPACE": "prterun-1@1", "PMIX_RANK": "0"}),
    ],
)
def test_another_launcher_is_known_before_mpi_starts(library: str, environment: dict[str, str]) -> None:
    told = mismatch(library, environment)
    assert told is not None and "mpiexec" in told and "\n" not in told


@pytest.mark.parametrize(
    ("library", "environment"),
    [
        (MPICH, {}),
        (MPICH, hydra()),
        (MPICH, SRUN | hydra()),  # srun --mpi=pmi2
        (MPICH, {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}),
        (MPICH_PMIX, SRUN_PMIX),
        (INTEL, SRUN_PMIX),
        (INTEL, OPEN_MPI_JOB),
        (OPEN_MPI, OPEN_MPI_JOB),
        (OPEN_MPI, SRUN_PMIX),
        (OPEN_MPI.replace("v5.0.11", "v4.1.4"), SRUN | hydra()),  # srun --mpi=pmi2
        (OPEN_MPI, OPEN_MPI_JOB | hydra()),
        (OPEN_MPI, {}),
    ],
)
def test_what_may_start_is_started(library: str, environment: dict[str, str]) -> None:
    assert mismatch(library, environment) is None


@pytest.mark.parametrize("library", [MPICH, MPICH_PMIX, OPEN_MPI, INTEL])
@pytest.mark.parametrize("size", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_one_of_many_that_is_alone(library: str, size: str) -> None:
    told = mismatch(library, {size: "4"}, alone=True)
    assert told is not None and f"started 4 processes ({size}=4)" in told
    assert mismatch(library, {size: "1"}, alone=True) is None
