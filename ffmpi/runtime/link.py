"""A link: the directed, nonblocking, several-buffered connection between two ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .mpi import in_parts, wait


class Link:
    """One end of a connection: buffers that are filled and emptied in turn, each with its own requests.

    The receiving end posts a buffer before its message is due; the sending end computes straight into a buffer that
    the last message has left. Nothing is allocated or copied per message.
    """

    def __init__(self, comm: Any, peer: int, tag: int, buffers: list[list[np.ndarray]], timeout: float) -> None:
        """Connect to rank `peer` of `comm`; both ends use the same `tag`, no other link does.

        `buffers` has a list for each buffer: the arrays that make up a message, sent one after the other.
        """
        self._comm, self._peer, self._tag, self._timeout = comm, peer, tag, timeout
        self.buffers, self._receives = [in_parts(arrays) for arrays in buffers], False
        self._requests: list[list[Any]] = [[] for _ in buffers]

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(array.nbytes for buffer in self.buffers for array in buffer)

    def post(self, buffer: int) -> None:
        """Let the next message come into buffer number `buffer`."""
        self._receives = True
        self._requests[buffer] = [self._comm.Irecv(array, self._peer, self._tag) for array in self.buffers[buffer]]

    def send(self, buffer: int) -> None:
        """Start sending buffer number `buffer`; it must not change until `wait` has returned."""
        self._requests[buffer] = [self._comm.Isend(array, self._peer, self._tag) for array in self.buffers[buffer]]

    def wait(self, buffer: int) -> None:
        """Wait until the message posted to or sent from `buffer`, if any, is done."""
        for request in self._requests[buffer]:
            wait(request, self._timeout, f"a message between this rank and rank {self._peer}", self._peer)
        self._requests[buffer] = []

    @property
    def pending(self) -> tuple[list[Any], list[Any]]:
        """The requests of what may still be sent, and of what may still come."""
        requests = [request for requests in self._requests for request in requests]
        return ([], requests) if self._receives else (requests, [])
