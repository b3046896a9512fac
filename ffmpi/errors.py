"""Errors and warnings for users to correct: an error is one sentence and exit status 2; a warning is one line."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from .launcher import launched_rank


class UserError(Exception):
    """Bad input from outside: its text is one sentence saying what, where and what was expected."""


class Consequence(UserError):
    """What another rank's error may have led to here: that rank, if there is one, has the word."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def ranges(numbers: Iterable[int], least: int = 3) -> str:
    """Return ascending whole numbers as text: ``1, 2, 5 to 9``; `least` in a row make a range."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [[f"{run[0]} to {run[-1]}"] if len(run) >= least else map(str, run) for run in runs]
    return ", ".join(text for part in parts for text in part)


def why_missing(path: str | os.PathLike[str]) -> str:
    """Return why there is nothing to read at `path`, such as 'no such file'; empty if there is something."""
    try:
        os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return "no such file" if isinstance(error, FileNotFoundError) else reason
    return ""


class Agreed(UserError):
    """An error that all ranks know of and raise; `speaks` says whether this rank is the one to tell the user."""

    def __init__(self, text: str, speaks: bool) -> None:
        super().__init__(text)
        self.speaks = speaks


_warned: set[str] = set()
_listener: list[Callable[[str], None]] = []


def warn(text: str) -> None:
    """Print ``ffmpi: warning: text`` on stderr, once in a job: on rank 0, and the first time only.

    What another rank has found must be brought to rank 0 by the caller.
    """
    _say_once("warning", text)


def note(text: str) -> None:
    """Print ``ffmpi: note: text`` as `warn` does: what was done and is most likely right."""
    _say_once("note", text)


@contextmanager
def telling(listener: Callable[[str], None]) -> Iterator[None]:
    """Hand what `warn` and `note` say within the block to `listener` instead of printing it."""
    _listener.append(listener)
    try:
        yield
    finally:
        _listener.pop()


def _say_once(kind: str, text: str) -> None:
    if _listener:
        _listener[-1](text)
        return
    text = f"{kind}: {text}"
    if launched_rank() > 0 or text in _warned:
        return
    _warned.add(text)
    with suppress(OSError, ValueError):  # a closed stderr: nobody reads
        print(f"ffmpi: {text}", file=sys.stderr, flush=True)
