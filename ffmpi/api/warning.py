"""What the command line prints as warnings and notes, as Python's warnings."""

from __future__ import annotations

import sys
import warnings

_INSIDE = (__name__.partition(".")[0], "contextlib", "sklearn")


class FfmpiWarning(UserWarning):
    """What ``ffmpi`` would print as a warning or a note."""


def warn_caller(text: str) -> None:
    """Warn at the line, outside of this package, that has led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, FfmpiWarning, stacklevel=level)
