"""A link: the directed, nonblocking, several-buffered connection between two ranks."""

from __future__ import annotations

from typing import Any

from .layer import Activations
from .mpi import wait


class Link:
    """One end of a connection: buffers that are filled and emptied in turn, each with its own request.

    The receiving end posts a buffer before its message is due; the sending end computes straight into a buffer that
    the last message has left. Nothing is allocated or copied per message.
    """

    def __init__(self, comm: Any, peer: int, tag: int, buffers: list[Activations], timeout: float) -> None:
        """Connect to rank `peer` of `comm`; both ends use the same `tag`, no other link does."""
        from mpi4py import MPI

        self._comm, self._peer, self._tag, self._timeout = comm, peer, tag, timeout
        self.buffers = buffers
        self._requests = [MPI.REQUEST_NULL] * len(buffers)

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(buffer.flat.nbytes for buffer in self.buffers)

    def post(self, slot: int) -> None:
        """Let the next message come into `slot`."""
        self._requests[slot] = self._comm.Irecv(self.buffers[slot].flat, self._peer, self._tag)

    def send(self, slot: int) -> None:
        """Start sending `slot`; it must not change until `wait` has returned."""
        self._requests[slot] = self._comm.Isend(self.buffers[slot].flat, self._peer, self._tag)

    def wait(self, slot: int) -> Activations:
        """Wait until the message posted to or sent from `slot`, if any, is done; return the buffer."""
        wait(self._requests[slot], self._timeout, f"a batch between this rank and rank {self._peer}")
        return self.buffers[slot]
