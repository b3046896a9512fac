"""The pipeline's memory on a rank: a ring of outputs for each layer that it makes or reads, filled and emptied in turn.

An output has a slot of the ring from when it may arrive, or is made here, until it has been read and sent. Its arrays
have the pitch of its batch, so that what a piece hands on is contiguous and holds no more rows than are used.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import kernels
from ..network.activations import Activations, margin_of
from ..network.tree import finish_of, nodes_of
from ..schedule import steps as s
from .made import Made


class Cut:
    """How a layer is cut into pieces, and with it the sums over its units.

    Attributes
    ----------
    panels : how many; pieces : the panels of each rank that has some, in order
    nodes : how many parts the sums come in; places : where the parts of each rank are among them
    adds : how they are added up
    """

    def __init__(self, panels: int, pieces: dict[int, range]) -> None:
        self.panels, self.pieces = panels, pieces
        self.places: dict[int, slice] = {}
        self.nodes = 0
        for rank, part in pieces.items():
            count = len(nodes_of(part.start, part.stop, panels))
            self.places[rank] = slice(self.nodes, self.nodes + count)
            self.nodes += count
        self.adds = finish_of([part.start for part in pieces.values()], panels)

    def own(self, rank: int) -> Cut:
        """Return a cut in which the parts of the sums are those of `rank` only, for who does not add them up."""
        made = Cut(self.panels, {rank: self.pieces[rank]})
        made.pieces = self.pieces
        return made

    def __bool__(self) -> bool:
        """Whether there are several pieces."""
        return len(self.pieces) > 1


def whole(panels: int, rank: int) -> Cut:
    """Return the cut of a layer that one rank has."""
    return Cut(panels, {rank: range(panels)})


class Sums:
    """Memory for the sums of a batch over the units of a layer, and for the parts they are added up from.

    Parts have the same place whatever the batch: those of the next may come while this one's are on their way.

    Attributes
    ----------
    squares : (nodes, rows and more) float32, the parts of the rows' sums of squares; total : (rows and more,), complete
    shares : (nodes, n) float32, the parts of what else is added up; sums : (n,), complete
    complete : whether there is but one part, which is the sum
    """

    def __init__(self, cut: Cut, rows: int, share: int, *, complete: bool = False) -> None:
        """Make room for batches of `rows` rows, and `share` other numbers; a part that is `complete` is the sum."""
        self.cut, size = cut, margin_of(rows)
        self.squares, self.shares = kernels.zeros(cut.nodes, size), kernels.zeros(cut.nodes, share)
        self.total = self.squares[0] if complete else kernels.zeros(size)
        self.sums = self.shares[0] if complete else kernels.zeros(share)
        self.complete = complete

    def add_up(self) -> None:
        """Complete the sums; the parts stay as they are: they may be under way to other ranks."""
        if self.complete:
            return
        kernels.add_nodes(self.squares, self.cut.adds, self.total)
        if self.sums.size:
            kernels.add_nodes(self.shares, self.cut.adds, self.sums)

    def parts(self, rank: int, shares: bool = True) -> list[np.ndarray]:
        """Return the parts of a rank: of the sums of squares and, if there are any, of the `shares`."""
        place = self.cut.places[rank]
        return [self.squares[place], *([self.shares[place]] if shares and self.sums.size else [])]


class Views(NamedTuple):
    """A slot's arrays for so many rows: of the whole layer, where it is read, and of this rank's piece, if any.

    Both have the same total, which is complete when the sums are, and the same score.
    """

    whole: Activations | None
    own: Activations | None


class Slot:
    """One place of a ring.

    Attributes
    ----------
    batch, rows : what it is for, and how many rows that has
    shared : whether ranks of this host see its activations
    views : its arrays for so many rows; now : those in use
    sums : of the batch
    """

    def __init__(self, ring: Ring) -> None:
        self.ring, self.shared = ring, False
        self.batch, self.rows = s.Batch("train", -1), 0
        self.sums = Sums(ring.cut, ring.rows, ring.share, complete=ring.own is not None and not ring.cut)
        self._h = kernels.zeros(len(ring.held) * kernels.padded_rows(ring.rows) * kernels.LANES)
        self._arrays = {name: kernels.zeros(margin_of(ring.rows), width) for name, width in ring.outputs.items()}
        self.views = Made(self._view)
        self.now = self.views[ring.rows]

    def share(self, h: np.ndarray) -> None:
        """Let activations lie in `h`, (panels, pitch, 16) float32, of the whole layer, which other ranks see."""
        self.shared, self._h = True, h[self.ring.held.start : self.ring.held.stop].reshape(-1)
        self.views.clear()
        self.now = self.views[self.ring.rows]

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays."""
        sums = self.sums
        every = (self._h, sums.squares, sums.total, sums.shares, sums.sums, *self._arrays.values())
        return sum(array.nbytes for array in every)

    def _view(self, rows: int) -> Views:
        ring, held, total = self.ring, self.ring.held, self.sums.total
        # In shared memory every batch has the same pitch: pieces of other ranks may still be of another batch.
        pitch = kernels.padded_rows(ring.rows if self.shared else rows)
        h = self._h[: len(held) * pitch * kernels.LANES].reshape(len(held), pitch, kernels.LANES)
        whole = own = None
        if len(held) == ring.cut.panels:
            whole = Activations.over(ring.units, h, total, self._arrays)
        if ring.own is not None:
            part = h[ring.own.start - held.start : ring.own.stop - held.start]
            own = Activations.over(ring.units, part, total, self._arrays)
        return Views(whole, own)

    def part(self, rank: int) -> np.ndarray:
        """Return the activations of the piece of `rank`, contiguous."""
        panels, held = self.ring.cut.pieces[rank], self.ring.held
        seen = self.now.whole or self.now.own
        assert seen is not None
        return seen.h[panels.start - held.start : panels.stop - held.start]


class Ring:
    """The outputs of one layer on this rank.

    Attributes
    ----------
    units : of the whole layer; cut : into pieces
    own : the panels made here, or None; held : those that there is memory for
    rows, share : the most there are of a batch; outputs : the widths of the arrays that a layer hands on, by name
    """

    def __init__(
        self, units: int, cut: Cut, rank: int, reads: bool, slots: int, rows: int, share: int, outputs: dict[str, int]
    ) -> None:
        """Make `slots` slots on `rank`, for the whole layer if the rank `reads` it."""
        self.units, self.cut, self.rank = units, cut, rank
        self.rows, self.outputs, self.own = rows, outputs, cut.pieces.get(rank)
        assert reads or self.own is not None
        self.held = range(cut.panels) if reads or self.own is None else self.own
        self.share = share if cut and self.own is not None else 0
        self.slots = [Slot(self) for _ in range(slots)]
