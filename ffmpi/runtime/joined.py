"""Ranks that work together for a while, in a program of the user's own, and leave nothing behind but what they made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import Agreed, UserError
from ..launcher import launched
from . import mpi, stop
from .control import Control, drain
from .launch import start
from .stop import Stopped


class Alone:
    """A communicator of one rank, without MPI, which need not be there."""

    library = "none"

    rank, size = 0, 1

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Return what the only rank has."""
        return value

    def gather(self, value: Any, root: int = 0) -> list[Any]:
        """Return what the only rank has, in a list."""
        return [value]


@contextmanager
def joined(comm: Any = None) -> Iterator[Any]:
    """Let the ranks of `comm` work together within the block, which is handed a communicator of its own.

    All of them are to enter it. None stands for COMM_WORLD where a launcher has started this process, and otherwise for
    this process alone. Whatever is raised on one rank ends the block on all, within seconds: there with what was
    raised, elsewhere with a UserError that names the rank. Ctrl-C is a KeyboardInterrupt on all, and a Stopped that
    says ENOUGH ends the block in peace. Raises UserError without an MPI library in a job of several ranks.
    """
    if comm is None and launched():
        comm = start()
    with stop.listening():
        if comm is None or comm.size == 1:
            yield from _alone()
        else:
            yield from _together(comm.Dup())


def _alone() -> Iterator[Any]:
    try:
        yield Alone()
    except Stopped as stopped:
        if stopped.number != stop.ENOUGH:
            raise KeyboardInterrupt from None
    except Agreed as agreed:
        raise UserError(str(agreed)) from None
    except BaseException as error:
        # Numba's dispatcher may lose what a handler raises, or make another exception of it.
        if stop.noted():
            raise KeyboardInterrupt from error
        raise


def _together(comm: Any) -> Iterator[Any]:
    control, number = Control(comm), 0
    before, error = mpi.use(control), None
    told = None
    try:
        yield comm
    except Agreed as caught:
        told = caught
    except Stopped as caught:
        number = caught.number
    except BaseException as caught:
        error, number = caught, stop.noted() or stop.FAILED + comm.rank
    finally:
        agreed = control.end(number, mpi.PATIENCE)
        mpi.use(before)
        if agreed is None:  # the others are in the middle of something long, or gone: nothing can be said to them
            mpi.end(comm, error or UserError("waited at the end for the other ranks: one of them is gone"))
        mpi.settle()
        if agreed:
            drain(comm, *stop.unfinished)
        control.close()
        comm.Free()
    if told is not None:
        raise UserError(str(told))
    if error is not None:
        raise error
    if agreed and agreed >= stop.FAILED:
        raise UserError(f"rank {agreed - stop.FAILED} has ended with an error, which it raises")
    if agreed not in (0, stop.ENOUGH):
        raise KeyboardInterrupt
