"""Memory that ranks of one host share: activations are written once and read where they are, messages need no MPI."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..errors import warn
from ..schedule import Pipeline
from ..schedule.steps import LinkId
from .mpi import allgather, host, wait

#: Where MPI libraries put memory that processes share; where it is missing they know another place.
_PLACE = "/dev/shm"
#: Bytes of a cache line, at which everything begins: two ranks never write the same one.
_LINE = 64


@dataclass
class Channel:
    """The memory of one link.

    Attributes
    ----------
    filled, taken : (buffers,) int64, how many messages have been put into each buffer, and are needed no longer
    rooms : for each buffer the bytes of a message; none if these lie in the slots of a layer
    """

    filled: np.ndarray
    taken: np.ndarray
    rooms: list[np.ndarray]

    @staticmethod
    def nbytes(buffers: int, room: int) -> int:
        """Return the bytes of a channel of so many buffers of `room` bytes."""
        return buffers * (2 * _LINE + _lines(room))

    @classmethod
    def at(cls, memory: np.ndarray, buffers: int, room: int) -> Channel:
        """Return the channel that begins where `memory`, uint8, does."""
        counters = memory[: 2 * _LINE * buffers].view(np.int64).reshape(2, buffers, -1)[:, :, 0]
        rooms = memory[2 * _LINE * buffers :][: buffers * _lines(room)].reshape(buffers, -1)[:, :room]
        return cls(counters[0], counters[1], list(rooms) if room else [])


class _Part(NamedTuple):
    """A part of a rank's memory in the window: how many buffers of `room` bytes, and the bytes of all of it."""

    buffers: int
    room: int
    nbytes: int


class SharedMemory:
    """A window of MPI on each host, with what its ranks send each other and the activations of layers that they share.

    What one rank has written others may read, and what they have read it may write again, once a counter has told so,
    with `sync` before that is raised and after it has been seen.
    """

    def __init__(self, comm: Any, schedule: Pipeline, rows: int, rooms: Mapping[LinkId, int]) -> None:
        """Make room for activations of `rows` rows; for all ranks of `comm`.

        `rooms` are the bytes that messages of this rank's links have at most. Raises no error where there is too
        little memory: then a warning tells that nothing is shared.
        """
        from mpi4py import MPI

        self._host, self._rank = comm.Split_type(MPI.COMM_TYPE_SHARED), comm.rank
        self._window: Any = None
        self._slots: dict[int, Sequence[np.ndarray]] = {}
        self._channels: dict[LinkId, Channel] = {}
        pitch = kernels.padded_rows(rows)
        parts = self._parts(comm, schedule, pitch, rooms)
        own = sum(part.nbytes for part in parts.values()) + _LINE
        every = allgather(self._host, (own, _free()))
        wanted, free = sum(one for one, _ in every), every[0][1]
        trouble = ""
        if free is not None and wanted > free:
            trouble = (
                f"{_PLACE} of {host()} has {free:,} bytes left, fewer than the {wanted:,} that its ranks could share: "
                "they send messages instead, which take longer"
            )
        if first := next(filter(None, allgather(comm, trouble)), ""):
            warn(first)
        if not trouble:
            self._window = MPI.Win.Allocate_shared(own, 1, comm=self._host)
            self._window.Lock_all(MPI.MODE_NOCHECK)
            self._find(parts, pitch)

    def _parts(
        self, comm: Any, schedule: Pipeline, pitch: int, rooms: Mapping[LinkId, int]
    ) -> dict[LinkId | int, _Part]:
        """Return what this rank makes room for: the rings of layers whose first owner it is, and what it sends."""
        own, everyone = self._host.Get_group(), comm.Get_group()
        neighbours = set(own.Translate_ranks(list(range(own.size)), everyone))
        own.Free()
        everyone.Free()
        together = {layer: ranks for layer, ranks in members_of(schedule).items() if neighbours.issuperset(ranks)}
        parts: dict[LinkId | int, _Part] = {}
        for layer, members in together.items():
            if members[0] == comm.rank:
                nbytes = 4 * schedule.spec.panels[layer] * pitch * kernels.LANES
                parts[layer] = _Part(schedule.spec.depth, nbytes, schedule.spec.depth * nbytes)
        for link, room in rooms.items():
            if link.target in neighbours and (room or link.stage in together):
                parts[link] = _Part(link.send_buffers, room, Channel.nbytes(link.send_buffers, room))
        return parts

    def _find(self, parts: dict[LinkId | int, _Part], pitch: int) -> None:
        """Find in the window what all ranks of the host have made room for."""
        start = -np.asarray(self._window.Shared_query(self._host.rank)[0]).ctypes.data % _LINE
        for rank, (begin, theirs) in enumerate(allgather(self._host, (start, parts))):
            memory = np.asarray(self._window.Shared_query(rank)[0])[begin:]
            for name, part in theirs.items():
                if isinstance(name, int):
                    h = memory[: part.nbytes].view(np.float32)
                    self._slots[name] = list(h.reshape(part.buffers, -1, pitch, kernels.LANES))
                elif self._rank in (name.source, name.target):
                    self._channels[name] = Channel.at(memory, part.buffers, part.room)
                memory = memory[part.nbytes :]

    def slots(self, layer: int) -> Sequence[np.ndarray] | None:
        """Return the memory of a layer's activations, (panels, pitch, 16) float32 for each buffer, if it is shared."""
        return self._slots.get(layer)

    def channel(self, link: LinkId) -> Channel | None:
        """Return the memory of a link, if it is shared."""
        return self._channels.get(link)

    def sync(self) -> None:
        """Let memory be as other ranks have left it, and they see what this one has written."""
        self._window.Sync()

    def free(self) -> None:
        """Give all of it back; for all ranks, when nothing reads it any longer."""
        self._slots, self._channels = {}, {}
        wait(self._host.Ibarrier())  # not in MPI's own, where nobody else would get an answer from this rank
        if self._window:
            self._window.Unlock_all()
            self._window.Free()
        self._host.Free()


def members_of(schedule: Pipeline) -> dict[int, list[int]]:
    """Return who has something of each layer of which activations pass from rank to rank, its owners first."""
    found = {}
    for layer in range(schedule.spec.layers - 1):
        owners, readers = schedule.ribbon.owners(layer), schedule.ribbon.owners(layer + 1)
        if len(members := list(dict.fromkeys((*owners, *readers)))) > 1:
            found[layer] = members
    return found


def _lines(nbytes: int) -> int:
    return -(-nbytes // _LINE) * _LINE


def _free() -> int | None:
    """Return how many bytes there are left for shared memory, if that can be known."""
    try:
        found = os.statvfs(_PLACE)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
