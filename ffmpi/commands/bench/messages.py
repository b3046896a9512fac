"""What messages of some sizes take between two ranks, and for how long they keep both busy, for `bench machine`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ...plan.machine import Messages
from ...runtime.mpi import wait

#: Bytes, from a few numbers to a layer of a large batch.
SIZES = (8, 1024, 8192, 32768, 131072, 524288, 2097152, 8388608)
_TAG = 0
#: Which of many times, the shortest first, is taken: other programs make some longer.
_UNDISTURBED = 0.25
#: Seconds after which what was sent is there, if it can come while its receiver does nothing.
_ARRIVED = 2e-4


def measure(comm: Any, first: int, second: int, seconds: float) -> Messages | None:
    """Return what messages take between two ranks of `comm`, on the first of them; for these two."""
    rank, found = comm.rank, []
    for size in SIZES:
        peer, buffer, other = second if rank == first else first, np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        end = time.perf_counter() + seconds / len(SIZES)
        times, busy = [], []
        rounds, go = 0, np.ones(1, np.uint8)
        while go[0]:
            _there_and_back(comm, rank == first, peer, buffer, other)  # both are awake then
            began = time.perf_counter()
            _there_and_back(comm, rank == first, peer, buffer, other)
            times.append((time.perf_counter() - began) / 2)
            busy.append(_busy(comm, rank == first, peer, buffer))
            rounds += 1
            go[0] = rounds < 5 or (time.perf_counter() < end and rounds < 2000)
            _agree(comm, rank == first, peer, go)
        both = np.empty(1)
        _exchange(comm, peer, np.array([_usual(busy)]), both)
        found.append((_usual(times), (_usual(busy) + float(both[0])) / 2))
    if rank != first:
        return None
    # A larger message takes no less, whatever the clock said.
    taken, overhead = (np.maximum.accumulate([each[place] for each in found]).tolist() for place in (0, 1))
    return Messages(bytes=list(SIZES), seconds=taken, overhead=overhead)


def _usual(times: list[float]) -> float:
    """Return what a message takes that nothing else delays."""
    return float(np.quantile(times[1:], _UNDISTURBED))


def _there_and_back(comm: Any, first: bool, peer: int, buffer: np.ndarray, other: np.ndarray) -> None:
    """Send a message and receive it back, as the worker does: nonblocking, and asked for again and again."""
    coming = comm.Irecv(other, peer, _TAG)
    if not first:
        _spin(coming)
    leaving = comm.Isend(buffer, peer, _TAG)
    _spin(leaving)
    if first:
        _spin(coming)


def _busy(comm: Any, first: bool, peer: int, buffer: np.ndarray) -> float:
    """Return for how long this end is busy with a message for which nobody has to wait."""
    if first:
        _agree(comm, False, peer, np.zeros(1, np.uint8))  # the receive is posted
        began = time.perf_counter()
        leaving = comm.Isend(buffer, peer, _TAG)
        took = time.perf_counter() - began
        _spin(leaving)
        return took
    coming = comm.Irecv(buffer, peer, _TAG)
    _agree(comm, True, peer, np.zeros(1, np.uint8))
    time.sleep(_ARRIVED)
    began = time.perf_counter()
    _spin(coming)
    return time.perf_counter() - began


def _agree(comm: Any, tells: bool, peer: int, value: np.ndarray) -> None:
    """Let one of the two tell the other a number."""
    wait(comm.Isend(value, peer, _TAG) if tells else comm.Irecv(value, peer, _TAG))


def _exchange(comm: Any, peer: int, own: np.ndarray, other: np.ndarray) -> None:
    requests = comm.Irecv(other, peer, _TAG), comm.Isend(own, peer, _TAG)
    for request in requests:
        wait(request)


def _spin(request: Any) -> None:
    while not request.Test():
        pass
