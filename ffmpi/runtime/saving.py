"""A save, as one rank sees it: parts of arrays leave their owners, and rank 0 writes them as they come.

All go on with their steps meanwhile. Few parts are under way at once, and rank 0 never holds a layer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..network.parameters import Block, Parameters
from ..run.checksums import TOGETHER, parts_of
from ..run.header import dtype_of
from ..run.kept import Target

#: Numbers of a part at most, unless a panel has more; parts of an owner that are under way, and owners at once.
PART = 1 << 20
EACH, OWNERS = 2, 4


@dataclass(frozen=True)
class Share:
    """What one rank has of a block that is saved.

    Attributes
    ----------
    name, block : the block's name in a checkpoint, and its declaration
    panels : of the layer's units, those that are here; None: all of them
    """

    owner: int
    name: str
    block: Block
    panels: range | None = None

    def parts(self) -> Iterator[tuple[str, tuple[int, ...], tuple[slice, ...]]]:
        """Yield what is here, in the order in which it is sent: an array's name, its whole shape, and the part."""
        shapes, axes = self.block.shapes(), self.block.axes()
        for key, shape in shapes.items():
            axis = axes.get(key)
            if axis is None:  # the same wherever a part of the layer is
                if self.panels is None or self.panels.start == 0:
                    yield key, shape, ()
                continue
            span = [slice(0, size) for size in shape]
            if self.panels is not None:
                span[axis] = slice(self.panels.start * TOGETHER, min(self.panels.stop * TOGETHER, shape[axis]))
            for part in parts_of(tuple(span), shape, axis, PART):
                yield key, shape, part


#: A part: the array's name in the checkpoint, where in it the part lies, and its numbers.
_Part = tuple[str, tuple[slice, ...], np.ndarray]


class _Inbox:
    """What rank 0 takes from one owner, in the order in which it is sent."""

    def __init__(self, comm: Any, owner: int, tag: int, shares: list[Share], classes: int) -> None:
        self.comm, self.owner, self._tag, self._classes = comm, owner, tag, classes
        self._expected = self._parts(shares)
        self.coming: deque[tuple[Any, _Part]] = deque()  # with the requests, the first one next

    def _parts(self, shares: list[Share]) -> Iterator[_Part]:
        for share in shares:
            for key, shape, part in share.parts():
                size = tuple(one.stop - one.start for one in part) if part else shape
                name = f"{share.name}/{key}"
                yield name, part, np.empty(size, dtype_of(name, self._classes))

    def fill(self) -> None:
        """Be ready for the next parts."""
        while len(self.coming) < EACH and (part := next(self._expected, None)):
            self.coming.append((self.comm.Irecv(part[2], self.owner, self._tag), part))

    def take(self) -> _Part | None:
        """Return the next part if it is there."""
        if not self.coming[0][0].Test():
            return None
        _, part = self.coming.popleft()
        self.fill()
        return part


class Saving:
    """What one rank does for a save; `advance` does a little of it, until `done`.

    Attributes
    ----------
    left : whether all that this rank has has been sent, or on rank 0 written
    moved : parts that have come or gone
    closing : whether rank 0 has written all, so that only the disk is waited for
    """

    def __init__(
        self, comm: Any, tag: int, shares: Sequence[Share], states: Mapping[str, Parameters], target: Target | None,
        beside: dict[str, np.ndarray], classes: int,
    ) -> None:  # fmt: skip
        """Begin to save `shares`, in one order on all ranks; elsewhere than on rank 0 this rank's may be enough.

        states : what this rank has of them, by the blocks' names: it must not change before all has `left`
        target : on rank 0 where all goes, or else it is dropped; `beside` are whole arrays that rank 0 adds
        """
        self.comm, self._tag, self._target, self._beside = comm, tag, target, beside
        self.done, self.closing, self.moved = False, False, 0
        by_owner: dict[int, list[Share]] = {}
        for share in shares:
            by_owner.setdefault(share.owner, []).append(share)
        own = by_owner.pop(comm.rank, [])
        self.left = not own
        self._own = self._parts(own, states)
        self._sent: deque[tuple[Any, np.ndarray]] = deque()
        self._inboxes: deque[_Inbox] = deque()  # whose turn has not come
        self._open: list[_Inbox] = []
        if comm.rank == 0:
            self._inboxes.extend(_Inbox(comm, owner, tag, part, classes) for owner, part in by_owner.items())
            self._make_room(shares)

    @staticmethod
    def _parts(shares: list[Share], states: Mapping[str, Parameters]) -> Iterator[_Part]:
        for share in shares:
            for key, _, part in share.parts():
                yield f"{share.name}/{key}", part, _part(states[share.name], key, part)

    def _make_room(self, shares: Sequence[Share]) -> None:
        if self._target is not None:
            shapes = {f"{share.name}/{key}": shape for share in shares for key, shape in share.block.shapes().items()}
            axes = {f"{share.name}/{key}": axis for share in shares for key, axis in share.block.axes().items()}
            self._target.create(shapes | {name: array.shape for name, array in self._beside.items()}, axes)

    @property
    def awaited(self) -> int:
        """A rank that this one waits for."""
        return self._open[0].owner if self._open else 0

    @property
    def pending(self) -> tuple[list[Any], list[Any]]:
        """The requests of what may still be sent, and of what may still come."""
        return [request for request, _ in self._sent], [one for box in self._open for one, _ in box.coming]

    def advance(self) -> None:
        """Send, or on rank 0 write, what can be without waiting; at most one part is written."""
        if self.done:
            return
        if self.closing and self._target is not None:
            self.done = self._target.commit(wait=False)
            return
        if self.comm.rank > 0:
            self._send()
            self.done = self.left
            return
        self._post()
        if part := next(self._own, None):
            self._write(*part)
            return
        self.left = True
        if part := self._take():
            self._write(*part)
        elif not self._open:
            self._close()

    def _send(self) -> None:
        while self._sent and self._sent[0][0].Test():
            self._sent.popleft()
            self.moved += 1
        while len(self._sent) < EACH and (part := next(self._own, None)):
            self._sent.append((self.comm.Isend(part[2], 0, self._tag), part[2]))
        self.left = not self._sent

    def _post(self) -> None:
        """Be ready for what the next owners send."""
        while self._inboxes and len(self._open) < OWNERS:
            self._open.append(self._inboxes.popleft())
            self._open[-1].fill()

    def _take(self) -> _Part | None:
        """Return a part that has come from another rank, if one has."""
        for box in self._open:
            if part := box.take():
                if not box.coming:
                    self._open.remove(box)
                return part
        return None

    def _write(self, name: str, part: tuple[slice, ...], array: np.ndarray) -> None:
        self.moved += 1
        if self._target is not None:
            self._target.write(name, array, part)

    def _close(self) -> None:
        """Let the target have the rest; then only the disk is waited for."""
        self.closing = True
        self.moved += 1
        if self._target is not None:
            for name, array in self._beside.items():
                self._target.write(name, array)
        self.done = self._target is None or self._target.commit(wait=False)


def _part(parameters: Parameters, key: str, part: tuple[slice, ...]) -> np.ndarray:
    """Return a part, told by where it lies in the whole array, of what is here of the array."""
    if not part:
        return parameters.array(key)
    axis = parameters.block.axes()[key]
    first = parameters.span(key)[axis].start
    return parameters.array_part(key, part[axis].start - first, part[axis].stop - first)
