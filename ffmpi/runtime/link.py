"""A link: the directed, nonblocking, several-buffered connection between two ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .mpi import in_parts, wait


class Link:
    """One end of a connection: buffers that are filled and emptied in turn, each with its own requests.

    The receiving end posts a buffer before its message is due; the sending end computes straight into a buffer that
    the last message has left. Nothing is allocated or copied per message; the arrays of a message, sent one after the
    other, are named with each, and may be shorter when a batch is.
    """

    def __init__(self, comm: Any, peer: int, tag: int, buffers: int, timeout: float) -> None:
        """Connect to rank `peer` of `comm`; both ends use the same `tag`, no other link of the two does."""
        self._comm, self._peer, self._tag, self._timeout = comm, peer, tag, timeout
        self._receives = False
        self.watch: Callable[[int], None] | None = (
            None  # told of each message that is sent, with its bytes, or has come
        )
        self._requests: list[list[Any]] = [[] for _ in range(buffers)]

    def post(self, buffer: int, arrays: list[np.ndarray]) -> None:
        """Let the next message come into buffer number `buffer`, which consists of these contiguous arrays."""
        self._receives = True
        receive, peer, tag = self._comm.Irecv, self._peer, self._tag
        self._requests[buffer] = [receive(array, peer, tag) for array in in_parts(arrays)]

    def send(self, buffer: int, arrays: list[np.ndarray]) -> None:
        """Start sending buffer number `buffer`; it must not change until `wait` has returned."""
        send, peer, tag = self._comm.Isend, self._peer, self._tag
        if self.watch:
            self.watch(sum(array.nbytes for array in arrays))
        self._requests[buffer] = [send(array, peer, tag) for array in in_parts(arrays)]

    def wait(self, buffer: int) -> None:
        """Wait until the message posted to or sent from `buffer`, if any, is done."""
        requests = self._requests[buffer]
        if requests:
            for request in requests:
                wait(request, self._timeout, f"a message between this rank and rank {self._peer}", self._peer)
            self._requests[buffer] = []
            if self.watch and self._receives:
                self.watch(0)

    @property
    def pending(self) -> tuple[list[Any], list[Any]]:
        """The requests of what may still be sent, and of what may still come."""
        requests = [request for requests in self._requests for request in requests]
        return ([], requests) if self._receives else (requests, [])
