"""What ranks tell each other beside the training: that the job is to stop, that they are alive, what they are doing."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import stop

_STOP, _ASK, _ALIVE, _TOLD = 1, 2, 3, 4  # tags

#: Numbers in a message, at most.
_NUMBERS = 8

#: Calls in a row; a message that is copied in pieces moves one with each.
_CALLS = 4

#: The most by which one nap counts, as a share of the limit: a process that was suspended has not waited meanwhile.
_NAP = 0.1


class Waiting:
    """How long a rank has waited, counted while it was awake, since the last sign of progress."""

    def __init__(self, limit: float) -> None:
        """Begin to wait; more than `limit` seconds are too long."""
        self.limit = limit
        self.silence = self.unasked = 0.0
        self._nap, self._last = 20e-6, time.monotonic()

    @property
    def over(self) -> bool:
        """Whether it has been too long."""
        return self.silence > self.limit

    def nap(self) -> float:
        """Sleep for up to a millisecond and return the seconds that count: MPI's own Wait would burn the core."""
        time.sleep(self._nap)
        self._nap = min(2 * self._nap, 1e-3)
        now = time.monotonic()
        passed, self._last = min(now - self._last, _NAP * self.limit), now
        self.silence += passed
        self.unasked += passed
        return passed


class Control:
    """One rank's end of a communicator on which nothing else is sent.

    A rank that waits for long asks the one it waits for. That one answers between two of its steps, or while it waits
    itself; in seconds since the last sign of progress it has, so that ranks that wait for one another in a circle, or
    for a rank that is gone, find out.

    Attributes
    ----------
    heard : on rank 0 told of the numbers that a rank has sent by `tell`
    """

    def __init__(self, comm: Any) -> None:
        """Duplicate `comm`; for all ranks."""
        from mpi4py import MPI

        self.comm, request = comm.Idup()
        waiting = Waiting(np.inf)
        while not request.Test():
            waiting.nap()
        self.rank, self.size = comm.rank, comm.size
        self._numbers, self._status = np.empty(_NUMBERS), MPI.Status()
        self._receive()
        atexit.register(self._close)
        self._silence = 0.0  # what to answer
        self._heard: dict[int, float] = {}
        self._asked: set[int] = set()
        self._sent: list[tuple[Any, np.ndarray]] = []
        self.heard: Callable[[int, Sequence[float]], None] = lambda rank, numbers: None
        self._telling: Any = None

    def move(self) -> None:
        """Let MPI move messages, and take those that came here; to be called every few milliseconds between kernels.

        MPI moves messages only inside its own calls, and a test is such a call if nothing has come. A thread that did
        it during kernels was measured to cost more than it gave: with a rank on each core its wake-ups push computing
        threads about, 10 to 20 % of their time.
        """
        for _ in range(_CALLS):
            if self._request.Test(self._status):
                source, tag, numbers = self._status.source, self._status.tag, self._numbers.tolist()
                self._receive()
                self._take(source, tag, numbers)

    def _receive(self) -> None:
        """Be ready for the next message: where ranks talk by TCP, MPICH's Iprobe finds some that Recv never gets."""
        self._request = self.comm.Irecv(self._numbers)

    def _take(self, source: int, tag: int, numbers: Sequence[float]) -> None:
        if tag == _STOP:
            stop.note(int(numbers[0]))
        elif tag == _ASK:
            self._send(source, _ALIVE, self._silence)
        elif tag == _TOLD:
            self.heard(source, numbers)
        else:
            self._heard[source] = numbers[0]
            self._asked.discard(source)

    def _send(self, rank: int, tag: int, *numbers: float) -> Any:
        array = np.array(numbers, np.float64)
        self._sent = [(request, kept) for request, kept in self._sent if not request.Test()]
        # Synchronous: done when it has been received, so that `close` knows when nothing is under way any more.
        request = self.comm.Issend(array, rank, tag)
        self._sent.append((request, array))
        return request

    def tell(self, numbers: Sequence[float]) -> None:
        """Send rank 0 up to 8 numbers, which it takes in `move`, unless those sent last are still under way."""
        if self.told:
            self._telling = self._send(0, _TOLD, *numbers)

    @property
    def told(self) -> bool:
        """Whether rank 0 has taken what was sent by `tell`."""
        return self._telling is None or bool(self._telling.Test())

    def attend(self, waiting: Waiting, rank: int | None) -> None:
        """While this rank waits for `rank`, or for all: answer, and ask in time whether it is alive.

        Who waits for all asks the next rank only: one of them asks the one that is gone.
        """
        self._silence = waiting.silence
        self.move()
        self._silence = 0.0
        peer = (self.rank + 1) % self.size if rank is None else rank
        if peer == self.rank:
            return
        if peer in self._heard:
            waiting.silence = min(waiting.silence, self._heard.pop(peer))
        # An answer passes from rank to rank, each asking anew: a long chain of them must not take too long.
        if waiting.unasked > min(60.0, waiting.limit / (2 * self.size + 2)) and peer not in self._asked:
            waiting.unasked = 0.0
            self._asked.add(peer)
            self._send(peer, _ASK, 0)

    def end(self, number: int, patience: float) -> int | None:
        """Agree with all ranks on how the job ends: by signal `number`, or orderly, 0; return the greatest number.

        A rank that is done waits here for the others; if there is a signal meanwhile, it tells them. None if they do
        not come within stop.GRACE after it, or do nothing any more for `patience` seconds.
        """
        from mpi4py import MPI

        own, greatest = np.array([number], np.int64), np.empty(1, np.int64)
        request, waiting, left = self.comm.Iallreduce(own, greatest, MPI.MAX), Waiting(patience), None
        while not request.Test():
            passed = waiting.nap()
            self.attend(waiting, None)
            if left is None and (why := number or stop.noted()):
                left = stop.GRACE + min(self.rank, 20) / 2  # one after the other: the first has the word
                for rank in set(range(self.size)) - {self.rank}:
                    self._send(rank, _STOP, why)
            if left is not None:
                left -= min(passed, 1.0)
            if waiting.over or (left is not None and left < 0):
                return None
        return int(greatest[0])

    def close(self) -> None:
        """Take what is still under way, of which a later communicator might get hold, and free this one; for all."""
        waiting, barrier = Waiting(5.0), None
        while not waiting.over and not (barrier and barrier.Test()):
            self.move()
            if barrier is None and all([request.Test() for request, _ in self._sent]):
                barrier = self.comm.Ibarrier()
            waiting.nap()
        self._close()
        atexit.unregister(self._close)
        self.comm.Free()

    def _close(self) -> None:
        self._request.Cancel()
        self._request.Wait()


def drain(comm: Any, sends: list[Any], receives: list[Any]) -> None:
    """Receive and forget what is under way on `comm` until all ranks' `sends` are done, then take back `receives`.

    For all ranks, when they have stopped: MPI's own end might complain of messages that nobody takes, or wait for them.
    """
    from mpi4py import MPI

    status, waiting, barrier = MPI.Status(), Waiting(5.0), None
    while not waiting.over:
        ended = barrier and barrier.Test()  # what was sent before has come by then
        if message := comm.Improbe(status=status):
            message.Recv([np.empty(status.Get_count(MPI.BYTE), np.uint8), MPI.BYTE])
            continue
        if ended:
            break
        if barrier is None and all([request.Test() for request in sends]):
            barrier = comm.Ibarrier()
        waiting.nap()
    for request in filter(None, receives):  # a request that is done counts as false
        request.Cancel()
        request.Wait()
