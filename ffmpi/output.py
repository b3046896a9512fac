"""Standard output that cannot be written to: on a full disk, closed, or read by nobody any more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


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
