"""What a user can mend: an error is one sentence, no traceback, exit status 2; a warning is one line."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from contextlib import suppress


class UserError(Exception):
    """Bad input from outside: its text is one sentence saying what, where and what was expected."""


class Consequence(UserError):
    """What another rank's error may have led to here: that rank, if there is one, has the word."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


_warned: set[str] = set()


def warn(text: str) -> None:
    """Print ``ffmpi: warning: text`` on stderr, once in a job: on rank 0, and the first time only.

    What another rank has found must be brought to rank 0 by the caller.
    """
    _say_once(f"warning: {text}")


def note(text: str) -> None:
    """Print ``ffmpi: note: text`` as `warn` does: what was done and is most likely right."""
    _say_once(f"note: {text}")


def _say_once(text: str) -> None:
    from .launch import launched_rank  # imports this file

    if launched_rank() > 0 or text in _warned:
        return
    _warned.add(text)
    with suppress(OSError, ValueError):  # a closed stderr: nobody reads
        print(f"ffmpi: {text}", file=sys.stderr, flush=True)
