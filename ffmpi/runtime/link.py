"""A link: the directed, nonblocking, several-buffered connection between two ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .mpi import wait


class Link:
    """One end of a connection: buffers that are filled and emptied in turn, each with its own requests.

    The receiving end posts a buffer before its message is due; the sending end computes straight into a buffer that
    the last message has left. Nothing is allocated or copied per message.
    """

    def __init__(self, comm: Any, peer: int, tag: int, buffers: list[list[np.ndarray]], timeout: float) -> None:
        """Connect to rank `peer` of `comm`; both ends use the same `tag`, no other link does.

        `buffers` has for each slot the arrays that make up a message, sent one after the other.
        """
        self._comm, self._peer, self._tag, self._timeout = comm, peer, tag, timeout
        self.buffers, self._receives = buffers, False
        self._requests: list[list[Any]] = [[] for _ in buffers]

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(array.nbytes for buffer in self.buffers for array in buffer)

    def post(self, slot: int) -> None:
        """Let the next message come into `slot`."""
        self._receives = True
        self._requests[slot] = [self._comm.Irecv(array, self._peer, self._tag) for array in self.buffers[slot]]

    def send(self, slot: int) -> None:
        """Start sending `slot`; it must not change until `wait` has returned."""
        self._requests[slot] = [self._comm.Isend(array, self._peer, self._tag) for array in self.buffers[slot]]

    def wait(self, slot: int) -> None:
        """Wait until the message posted to or sent from `slot`, if any, is done."""
        for request in self._requests[slot]:
            wait(request, self._timeout, f"a message between this rank and rank {self._peer}", self._peer)
        self._requests[slot] = []

    @property
    def pending(self) -> tuple[list[Any], list[Any]]:
        """The requests of what may still be sent, and of what may still come."""
        requests = [request for requests in self._requests for request in requests]
        return ([], requests) if self._receives else (requests, [])
