"""Links: the directed, nonblocking, several-buffered connections between two ranks, by messages or shared memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .mpi import in_parts, until, wait

if TYPE_CHECKING:
    from ..schedule.steps import LinkId
    from .shared import SharedMemory


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

    def finish(self) -> None:
        """Wait until all that was sent has left."""
        if not self._receives:
            for buffer in range(len(self._requests)):
                self.wait(buffer)

    @property
    def pending(self) -> tuple[list[Any], list[Any]]:
        """The requests of what may still be sent, and of what may still come."""
        requests = [request for requests in self._requests for request in requests]
        return ([], requests) if self._receives else (requests, [])


class SharedLink:
    """A link between ranks of a host, through memory that both see: counters say which buffers are filled, which free.

    What is sent lies there already, as the activations of a layer that ranks share do, or is copied in and out.
    """

    def __init__(self, shared: SharedMemory, link: LinkId, sends: bool, timeout: float) -> None:
        """Be the end that `sends`, or the other."""
        channel = shared.channel(link)
        assert channel is not None
        self._filled, self._taken, self._rooms = channel.filled, channel.taken, channel.rooms
        self._sync, self._timeout, self._sends = shared.sync, timeout, sends
        self._peer = link.target if sends else link.source
        self.watch: Callable[[int], None] | None = None
        self._count = [0] * len(self._filled)  # messages that have been posted to, or sent from, each buffer
        self._posted: list[list[np.ndarray] | None] = [None] * len(self._filled)

    def post(self, buffer: int, arrays: list[np.ndarray]) -> None:
        """See `Link.post`; what has come into the buffer before is needed no longer."""
        if self._count[buffer] and not self._rooms:
            self._sync()
            self._taken[buffer] = self._count[buffer]
        self._count[buffer] += 1
        self._posted[buffer] = arrays

    def send(self, buffer: int, arrays: list[np.ndarray]) -> None:
        """See `Link.send`."""
        if self._rooms:
            room, at = self._rooms[buffer], 0
            for array in arrays:
                room[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
                at += array.nbytes
        if self.watch:
            self.watch(sum(array.nbytes for array in arrays) if self._rooms else 0)
        self._count[buffer] += 1
        self._sync()
        self._filled[buffer] = self._count[buffer]

    def wait(self, buffer: int) -> None:
        """Wait until the message posted to `buffer` has come, or that sent from it is needed no longer."""
        if self._sends:
            self._until(self._taken, buffer)
            return
        arrays = self._posted[buffer]
        if arrays is None:
            return
        self._until(self._filled, buffer)
        if self._rooms:
            room, at = self._rooms[buffer], 0
            for array in arrays:
                array.reshape(-1).view(np.uint8)[:] = room[at : at + array.nbytes]
                at += array.nbytes
            self._sync()
            self._taken[buffer] = self._count[buffer]
        self._posted[buffer] = None
        if self.watch:
            self.watch(0)

    def _until(self, counters: np.ndarray, buffer: int) -> None:
        """Wait until a counter is where this end's is."""
        count = self._count[buffer]
        if counters[buffer] < count:
            what = f"a message between this rank and rank {self._peer}"
            until(lambda: bool(counters[buffer] >= count), self._timeout, what, self._peer)
        self._sync()

    def finish(self) -> None:
        """See `Link.finish`: what was sent needs this rank no longer."""

    @property
    def pending(self) -> tuple[list[Any], list[Any]]:
        """See `Link.pending`: MPI knows of none."""
        return [], []
