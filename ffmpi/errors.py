"""The one exception for what a user can mend: a sentence, no traceback, exit status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input from outside: its text is one sentence saying what, where and what was expected."""


class Consequence(UserError):
    """What another rank's error may have led to here: that rank, if there is one, has the word."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
