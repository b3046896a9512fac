"""What a rank is doing, told to rank 0 every few seconds while it works, and while it waits; nobody waits for that."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from ..run.live import EVALUATES, LEARNS, PASSES_ON, WAITS, Now
from ..schedule import steps as s
from .control import Control
from .mpi import until

#: Messages that rank 0 is to take in a second, at most: where there are more ranks, each tells less often.
_MOST = 256
#: Steps that say where a rank is.
TOLD = frozenset({s.Forward, s.Update, s.UpdateHead, s.Evaluate})


class Pulse:
    """One rank's end of it.

    Attributes
    ----------
    due : the time by `perf_counter` from which on there is something to tell; infinite if nobody wants to know
    """

    def __init__(self, control: Control | None, every: float, heard: Callable[[int, Now], None] | None = None) -> None:
        """Tell by `control` (None: this rank is alone) every so many seconds; on rank 0 `heard` is told who does what.

        In a job of many ranks each tells less often.
        """
        heard = heard or (lambda rank, now: None)
        self._control, self._heard = control, heard
        self._every = max(every, (control.size if control else 1) / _MOST)
        self.due, self._began, self._last = math.inf, 0.0, Now()
        self._spent: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
        if control and control.rank == 0:
            control.heard = lambda rank, numbers: heard(rank, Now(*numbers))

    def begin(self, now: float, spent: Callable[[], tuple[float, float]]) -> None:
        """Begin to count; `spent` returns the seconds of computing and the FLOP since then."""
        self._began, self.due, self._spent = now, now + self._every, spent

    def tell(self, step: Any, now: float, batches: int) -> None:
        """Tell that this rank is at `step`, one of TOLD, in an epoch of so many `batches`."""
        batch, layer, epoch = step.batch, getattr(step, "layer", -1), getattr(step, "epoch", None)
        if batch.split != "train" or epoch is None:
            doing = PASSES_ON if batch.split == "train" else EVALUATES
            self._last = Now(doing, layer, self._last.epoch)
        else:
            self._last = Now(LEARNS, layer, epoch, batch.index % batches, batches)
        self._send(self._last, now)

    def wait(self) -> None:
        """Tell that this rank waits, if it is time."""
        if (now := time.perf_counter()) > self.due:
            self._send(self._last._replace(doing=WAITS), now)

    def _send(self, what: Now, now: float) -> None:
        self.due = now + self._every
        computing, flop = self._spent()
        what = what._replace(seconds=now - self._began, computing=computing, flop=flop)
        if self._control is None or self._control.rank == 0:
            self._heard(0, what)
        else:
            self._control.tell(what)

    def end(self, timeout: float) -> None:
        """Wait until rank 0 has taken what was told: it does so between two steps, and while it waits itself."""
        self.due, control = math.inf, self._control
        if control:
            until(lambda: control.told, timeout, "rank 0 to hear what this rank does", 0)
