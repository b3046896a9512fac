"""The ranks' clocks compared: `time.perf_counter` is one clock on a host, and another one on each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .mpi import allgather, wait

#: Messages there and back by which two clocks are compared, and their tag, beyond those of all links.
_ROUNDS, _TAG = 40, 32_002


def identity() -> str:
    """Return what ranks have in common that read the same clock: the system that was started, and its view of time."""
    try:
        booted = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return f"process {os.getpid()} of {os.uname().nodename}"
    try:
        return f"{booted} {os.readlink('/proc/self/ns/time')}"
    except OSError:  # a system in which all have the same
        return booted


def compare(
    comm: Any, clock: Callable[[], float] = time.perf_counter, own: str | None = None
) -> tuple[float, float, float]:  # fmt: skip
    """Return a time of this rank's clock, by how much it was behind rank 0's then, and how wrong that may be; for all.

    One rank for each clock asks rank 0; `own` is this rank's `identity`.
    """
    own = identity() if own is None else own
    every = allgather(comm, own)
    first = {name: rank for rank, name in reversed(list(enumerate(every)))}  # which rank asks for each clock
    found = {every[0]: (clock(), 0.0, 0.0)}
    asking = {name: rank for name, rank in first.items() if rank > 0}
    if comm.rank == 0:
        found |= {name: nearest(_ask(comm, rank, clock)) for name, rank in asking.items()}
    elif asking.get(own) == comm.rank:
        _answer(comm, clock)
    return allgather(comm, found if comm.rank == 0 else None)[0][own]


def nearest(rounds: np.ndarray) -> tuple[float, float, float]:
    """Return the reading of the quickest of `rounds`, (n, 3) float64: asked, answered by the other clock, heard.

    The answer was given between the two times here: half of what lies between is how wrong it may be.
    """
    asked, answered, heard = rounds[np.argmin(rounds[:, 2] - rounds[:, 0])].tolist()
    return answered, (asked + heard) / 2 - answered, (heard - asked) / 2


def _ask(comm: Any, rank: int, clock: Callable[[], float]) -> np.ndarray:
    rounds, question, answer = np.empty((_ROUNDS, 3)), np.zeros(1), np.empty(1)
    for one in rounds:
        one[0] = clock()
        sent, coming = comm.Isend(question, rank, _TAG), comm.Irecv(answer, rank, _TAG)
        wait(coming)
        one[2] = clock()
        wait(sent)
        one[1] = answer[0]
    return rounds


def _answer(comm: Any, clock: Callable[[], float]) -> None:
    question, answer = np.empty(1), np.empty(1)
    for _ in range(_ROUNDS):
        wait(comm.Irecv(question, 0, _TAG))
        answer[0] = clock()
        wait(comm.Isend(answer, 0, _TAG))
