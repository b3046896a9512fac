"""Standard output: which terminal it ends on, and that it cannot be written to: full, closed, or read by nobody."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from .launcher import launched, terminal

if TYPE_CHECKING:
    from rich.console import Console


def open_missing() -> None:
    """Give a process that was started without standard streams empty ones: a file of its own would take their place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            if stream.fileno() != number:
                os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)


def is_about_output(error: BaseException) -> bool:
    """Whether `error` came from writing to a stream: those from files that ffmpi opens are reported elsewhere."""
    return isinstance(error, OSError) and error.filename is None and error.errno is not None


def silence() -> None:
    """Let what is still to be printed, and what has not left yet, go nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def complaint(error: BaseException) -> str:
    """Silence the output that `error` is about and say why; empty if whoever read it has enough, as `head` does."""
    silence()
    if isinstance(error, BrokenPipeError):
        return ""
    return f"the output cannot be written ({getattr(error, 'strerror', error)}); expected free space there"


class Terminal:
    """What a rank prints on, which is a terminal if its launcher's output is, whatever that gives the rank.

    Open MPI gives its ranks a terminal even where its own output is a file; other launchers give them a pipe.

    Attributes
    ----------
    console : plain text, with what moves a cursor if it is a terminal
    """

    def __init__(self) -> None:
        from rich.console import Console

        place = terminal() if launched() else ""
        self._descriptor = -1
        if place:
            with suppress(OSError):
                self._descriptor = os.open(place, os.O_RDONLY | os.O_NOCTTY)
        forced = self._descriptor >= 0 if launched() else None
        self.console: Console = Console(highlight=False, markup=False, emoji=False, force_terminal=forced)
        self.resize()

    def resize(self) -> tuple[int, int]:
        """Return the terminal's width and height as they are now, which the console then has, too."""
        if self._descriptor >= 0:
            with suppress(OSError):
                width, height = os.get_terminal_size(self._descriptor)
                self.console.size = width or 80, height or 24
        return self.console.size
