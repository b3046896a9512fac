"""Signals that end a run: noted when they come, obeyed where it is safe."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import Agreed

#: The exit statuses after a signal: EX_TEMPFAIL, "start me again and I continue", and a shell's for Ctrl-C.
CONTINUE, INTERRUPTED = 75, 130
STATUS: dict[int, int] = {signal.SIGUSR1: CONTINUE, signal.SIGTERM: CONTINUE, signal.SIGINT: INTERRUPTED}

#: Seconds that a process which is to stop waits for others.
GRACE = 10.0

#: Seconds within which a second SIGINT is the first one's echo, such as that of `timeout`, which sends it twice.
_ECHO = 0.3


class Stopped(BaseException):
    """A signal here or on another rank is to end this process.

    Attributes
    ----------
    number : of the signal
    advice : how the run can continue
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number, self.advice = number, ""


#: The signals noted, since a call of `check` after every step would take time.
signals: list[int] = []
#: MPI's requests of messages that are still under way where a run was broken off, to be sent and to be received.
unfinished: tuple[list[Any], list[Any]] = ([], [])
_installed: list[bool] = []
_started: list[bool] = []
_deferred = True  # until `raising`


def install() -> None:
    """Note the signals in STATUS from now on, but for those that the parent process had ignored.

    A second Ctrl-C ends the process at once, also in the middle of a kernel, where no handler of Python's can run:
    hence the thread, which sleeps until a signal comes.
    """
    if threading.current_thread() is not threading.main_thread() or _installed:
        return
    _installed.append(True)
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    signal.set_wakeup_fd(ends[1], warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ends[0],), daemon=True).start()
    for number in STATUS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _handle)


def _watch(end: int) -> None:
    first: float | None = None
    while numbers := os.read(end, 64):
        if not _started:
            waiting = threading.Timer(GRACE, _give_up, (numbers[0],))
            waiting.daemon = True
            waiting.start()
        if signal.SIGINT not in numbers:
            continue
        if first is None:
            first = time.monotonic()
        elif time.monotonic() - first > _ECHO:
            if os.isatty(1):
                os.write(1, b"\x1b[?25h")  # a live line hides the cursor
            os.write(2, b"ffmpi: interrupted twice\n")
            os._exit(INTERRUPTED)


def _give_up(number: int) -> None:
    """End the process if it still waits for MPI to start: as long as MPI waits for other ranks no handler can run."""
    if not _started:
        os.write(2, f"ffmpi: {describe(number)} before MPI had started\n".encode())
        os._exit(STATUS[number])


def started() -> None:
    """Say that MPI has started."""
    _started.append(True)


def _handle(number: int, frame: Any) -> None:
    note(number)
    if not _deferred and len(signals) == 1:
        raise Stopped(number)


def note(number: int) -> None:
    """Remember that this process is to end because of signal `number`."""
    signals.append(number)


def noted() -> int:
    """Return the signal because of which this process is to end, or 0."""
    return signals[0] if signals else 0


def check() -> None:
    """Raise Stopped if there was a signal."""
    if signals:
        raise Stopped(signals[0])


def defer() -> None:
    """From now on let signals wait for the next `check`."""
    global _deferred
    _deferred = True


@contextmanager
def raising(yes: bool = True) -> Iterator[None]:
    """Let a signal raise Stopped wherever the block is, or if not `yes` only where the block calls `check`.

    Not from where C code calls Python, which would lose it: as LLVM does when it compiles.
    """
    global _deferred
    before, _deferred = _deferred, not yes
    try:
        if yes:
            check()
        yield
    finally:
        _deferred = before


@contextmanager
def advising(advice: Callable[[], str]) -> Iterator[None]:
    """Put ``advice()`` into Stopped on its way out of the block.

    Numba's dispatcher may lose what a handler raises, or make another exception of it: so after a signal any exception
    counts as Stopped.
    """
    try:
        yield
    except (SystemExit, Agreed):  # all ranks end with an error that they know of
        raise
    except BaseException as error:
        if not noted():
            raise
        stopped = error if isinstance(error, Stopped) else Stopped(noted())
        stopped.advice = advice()
        raise stopped from None


#: What is no signal: the program has had enough; or, with a rank's number added, an error has come up there.
ENOUGH, FAILED = 999, 1000


@contextmanager
def listening() -> Iterator[None]:
    """Note Ctrl-C within the block, in a program of the user's, whose own handlers are back after it.

    In the main thread, as Python's handlers are; elsewhere signals stay whoever's they are.
    """
    global _deferred
    handler: Any = None
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, _handle)
    before, _deferred = _deferred, True
    signals.clear()
    try:
        yield
    finally:
        signals.clear()
        for requests in unfinished:
            requests.clear()
        _deferred = before
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


def describe(number: int) -> str:
    """Say in words what ended the run."""
    return "interrupted by Ctrl-C" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"


def ignore() -> None:
    """From now on ignore signals: all is done, and to the interpreter's end they would have their default effect."""
    for number in STATUS:
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_IGN)


def leave(status: int, seconds: float = 5.0) -> None:
    """End this process with `status`; MPI's own end, which may wait for messages that never come, has `seconds`."""
    timer = threading.Timer(seconds, os._exit, (status,))
    timer.daemon = True
    timer.start()
    sys.exit(status)
