"""The only door to MPI: start-up, errors that end the whole job, waiting that costs nothing."""

from __future__ import annotations

import os
import pickle
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import Agreed, Consequence, UserError
from ..output import complaint, is_about_output, silence
from . import stop
from .control import Control, Waiting, drain
from .launch import start
from .stop import Stopped

#: Seconds that a rank whose error may follow from another's leaves that one to end the job.
_CAUSE = 2.0


#: This rank's end of what ranks tell each other beside the training, while `run` does.
_control: Control | None = None


def run(main: Callable[[Any], None]) -> None:
    """Start MPI and call ``main(comm)``; whatever goes wrong on any rank ends the whole job.

    A UserError reports one line and exits with status 2, any other exception one traceback that names the rank and exit
    status 1; a signal ends all ranks with a status of its own, see `stop`. Errors that all ranks know of (see
    `together`) end in an orderly way, others by abort.
    """
    global _control
    stop.install()
    # On a communicator of ours messages may be left over at the end, as after a signal.
    comm = start().Dup()
    _control = Control(comm)
    stop.started()
    stopped: Stopped | None = None
    try:
        with stop.raising():
            main(comm)
    except Agreed as agreed:
        stop.ignore()
        if agreed.speaks:
            _say(f"ffmpi: {agreed}\n")
        wait(comm.Ibarrier())
        sys.exit(2)
    except SystemExit:
        stop.ignore()
        raise
    except BaseException as error:
        if not stop.noted():
            end(comm, error)
        stopped = error if isinstance(error, Stopped) else Stopped(stop.noted())
    _leave(comm, _control, stopped)


def _leave(comm: Any, control: Control, stopped: Stopped | None) -> None:
    """Wait for the other ranks at the end; where one has had a signal, all end with its status."""
    agreed = control.end(stopped.number if stopped else 0, PATIENCE)
    if agreed is not None:
        stop.ignore()
        settle()
    if agreed == 0:
        return
    number, advice = agreed or stop.noted(), stopped.advice if stopped else ""
    message = f"ffmpi: {stop.describe(number)}{advice}\n" if number else ""
    if agreed is None:  # the others are in the middle of something long, or gone
        if not number:
            end(comm, UserError(f"waited {PATIENCE:g} s at the end for the other ranks: one of them is gone"))
        _say(message)
        _abort(comm, stop.STATUS[number])
    if comm.rank == 0:
        _say(message)
    drain(comm, *stop.unfinished)
    stop.leave(stop.STATUS[number])


def settle() -> None:
    """Do what was left for the moment when all ranks have ended."""
    while at_end:
        at_end.pop()()


def use(control: Control | None) -> Control | None:
    """Let the ranks of `control` answer one another while they wait, instead of those whose control is returned."""
    global _control
    before, _control = _control, control
    return before


def host() -> str:
    """Return the name of this rank's host."""
    return platform.node()


def folder() -> str:
    """Return this rank's working directory, to which relative paths belong."""
    try:
        return os.getcwd()
    except OSError:
        return "a directory that is gone"


def _where(comm: Any) -> str:
    return f" on rank {comm.rank} of {comm.size}, host {host()}" if comm.size > 1 else ""


def _whose(comm: Any) -> str:
    """Return whose error it is, unless it is rank 0's, which speaks for all."""
    return f"rank {comm.rank} on {host()}: " if comm.rank > 0 else ""


def no_memory(error: MemoryError) -> UserError:
    """Return what to tell the user of a want of memory."""
    reason = str(error) or "the system has no more"
    return UserError(f"not enough memory: {reason}; expected a smaller network or smaller batches")


def _without_peer(comm: Any, error: BaseException) -> BaseException:
    """Return what to tell the user if `error` is what MPI says where another rank has been killed."""
    from mpi4py import MPI

    unspecific = MPI.ERR_OTHER, MPI.ERR_INTERN, MPI.ERR_UNKNOWN
    if comm.size == 1 or not isinstance(error, MPI.Exception) or error.Get_error_class() not in unspecific:
        return error
    return Consequence(
        f"MPI has failed ({str(error).splitlines()[-1].strip()}): another rank or the network between is gone; begin "
        "again, or resume from the last checkpoint"
    )


def end(comm: Any, error: BaseException) -> None:
    """Print what went wrong on this rank and end all ranks."""
    error = _without_peer(comm, error)
    where = _where(comm)
    if isinstance(error, MemoryError):
        error = no_memory(error)
    if isinstance(error, Consequence) and comm.size > 1:
        time.sleep(_CAUSE)  # the rank it began on ends this one meanwhile
    status = 2 if isinstance(error, UserError) else 1
    if is_about_output(error):
        status = 1 if isinstance(error, BrokenPipeError) else 2
        message = (told := complaint(error)) and f"ffmpi: {told}\n"
    elif isinstance(error, UserError):
        message = f"ffmpi: {_whose(comm)}{error}\n"
    else:
        message = f"ffmpi: unexpected error{where}\n" + "".join(traceback.format_exception(error))
    _say(message)
    _abort(comm, status)


def _say(message: str) -> None:
    try:
        sys.stdout.flush()
    except OSError:
        silence()
    sys.stderr.write(message)
    sys.stderr.flush()


def _abort(comm: Any, status: int) -> None:
    if comm.size > 1:
        time.sleep(0.2)  # an abort may overtake what was printed on its way through the launcher
        from mpi4py import MPI

        MPI.COMM_WORLD.Abort(status)  # on a duplicate of it MPICH's launcher may kill before it hears of the status
    sys.exit(status)


@contextmanager
def all_ranks_or_raise(comm: Any) -> Iterator[None]:
    """Run a block that may fail on some ranks, by UserError or for want of memory.

    Then all raise Agreed with the error of the lowest such rank, and its host if it is not rank 0; `run` lets that rank
    say so, and all exit with 2.
    """
    error: UserError | None = None
    try:
        yield
    except Agreed:
        raise
    except UserError as caught:
        error = caught
    except MemoryError as caught:
        error = no_memory(caught)
    if comm.size == 1:
        if error is not None:
            raise Agreed(str(error), speaks=True) from None
        return
    failed = np.array([comm.size if error is None else comm.rank], np.int64)
    lowest = np.empty(1, np.int64)
    from mpi4py import MPI

    wait(comm.Iallreduce(failed, lowest, MPI.MIN))
    if lowest[0] == comm.size:
        return
    there, text = comm.bcast(folder()), ""
    if error is not None and comm.rank == lowest[0]:
        elsewhere = f" (working directory {folder()}; that of rank 0: {there})" if folder() != there else ""
        text = f"{_whose(comm)}{error}{elsewhere}"
    raise Agreed(comm.bcast(text, int(lowest[0])), speaks=comm.rank == lowest[0]) from None


def on_rank_0(comm: Any, make: Callable[[], Any]) -> Any:
    """Return on all ranks what ``make()`` returns on rank 0; a UserError there ends all ranks with its sentence."""
    value = None
    with all_ranks_or_raise(comm):
        if comm.rank == 0:
            value = make()
    return comm.bcast(value)


#: Numbers that a message has at most, since MPI counts them in an int of C's.
most_numbers = 2**31 - 1


def in_parts(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Return contiguous `arrays` as messages can carry them: one with too many numbers in flat parts of it."""
    if all(array.size <= most_numbers for array in arrays):
        return arrays
    flat = [array.reshape(-1) for array in arrays]
    return [one[start : start + most_numbers] for one in flat for start in range(0, one.size, most_numbers)]


#: Seconds that a rank waits for the others before training: to load data, or to compile kernels.
PATIENCE = 3600.0

#: Seconds that a rank keeps asking for a message where every rank has a core of its own: longer than a batch takes.
_SPIN = 0.05
_spin = 0.0


#: What this rank does when all ranks have ended the job in an orderly way.
at_end: list[Callable[[], None]] = []


def spin(own_core: bool) -> None:
    """Say whether every rank has a core of its own, which it then may keep busy while it waits for a message."""
    global _spin
    _spin = _SPIN if own_core else 0.0


def wait(
    request: Any, timeout: float | None = None, what: str = "the other ranks to be ready", rank: int | None = None
) -> None:
    """Wait for `request` without burning the core; see `until`."""
    until(request.Test, timeout, what, rank)


#: What else a rank does while it waits, such as to bring a save on.
meanwhile: list[Callable[[], None]] = []


def until(done: Callable[[], bool], timeout: float | None, what: str, rank: int | None) -> None:
    """Wait for what `done` tests without burning a core that others need: a spin, then naps of up to a millisecond.

    A rank in MPI's own Wait takes its core from the ranks that compute; see `spin`. `timeout` is schedule.timeout, or
    PATIENCE: raises UserError after so many seconds, counted while this process is awake, in which neither the message
    came nor `rank`, or if that is None the next one, answered that it is alive. Raises Stopped after a signal.
    """
    for _ in range(100):
        if done():
            return
    if _spin:
        end = time.monotonic() + _spin
        while time.monotonic() < end:
            if done():
                return
    limit = PATIENCE if timeout is None else timeout
    waiting = Waiting(limit)
    while not done():
        waiting.nap()
        for action in meanwhile:
            action()
        if _control:
            _control.attend(waiting, rank)
        stop.check()
        if waiting.over:
            more = ", or raise schedule.timeout if one step of a rank can take that long"
            raise UserError(
                f"waited {limit:g} s for {what}: another rank or the network between is gone; begin again, or resume "
                f"from the last checkpoint{more if timeout is not None else ''}"
            )


def allgather(comm: Any, value: Any) -> list[Any]:
    """Return what each rank calls this with, by rank."""
    if comm.size == 1:
        return [value]
    own = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = np.empty(comm.size, np.int64)
    wait(comm.Iallgather(np.array([len(own)], np.int64), sizes))
    every = np.empty(sizes.sum(), np.uint8)
    wait(comm.Iallgatherv(own, [every, sizes]))
    return [pickle.loads(part.tobytes()) for part in np.split(every, np.cumsum(sizes)[:-1])]


@contextmanager
def one_per_host_first(comm: Any) -> Iterator[None]:
    """Run a block on one rank of each host, then on the others, which find on disk what the first has left there."""
    if comm.size == 1:
        yield
        return
    from mpi4py import MPI

    host = comm.Split_type(MPI.COMM_TYPE_SHARED)
    if host.rank > 0:
        wait(host.Ibarrier())
    yield
    if host.rank == 0:
        wait(host.Ibarrier())
    host.Free()


def make_progress(comm: Any) -> Callable[[], None]:
    """Return what lets MPI move messages, to be called between two kernels; see `Control.move`. For all ranks."""
    return control_of(comm).move


def control_of(comm: Any) -> Control:
    """Return this rank's end of what ranks tell each other beside the training. For all ranks."""
    return _control or Control(comm)
