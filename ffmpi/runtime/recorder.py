"""What one rank does when, recorded by its own clock while it trains."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from ..run.parts import END, READING, Part
from ..run.trace import KINDS, PAYLOADS, SPAN, fields_of, kind_of
from ..schedule import steps as s

#: Spans that a rank keeps of its beginning, and as many of its end; and all ranks together at most.
EACH, ALL = 10_000, 400_000
#: How many times as long as writing a part has taken a rank is to train before it writes it again.
_RARELY = 500


class _Window:
    """The first and the last of many records, so many of each at most, in the order in which they came."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.first: list[tuple[Any, ...]] = []
        self.last: deque[tuple[Any, ...]] = deque(maxlen=most)

    def add(self, record: tuple[Any, ...]) -> None:
        """Take one more."""
        (self.first if len(self.first) < self.most else self.last).append(record)


class Recorder:
    """What one rank does, and the ends of its messages.

    A record is a few references: what they mean is looked at when a part is made, not while other ranks wait.

    Attributes
    ----------
    record : to be called with each step, when it began and when it was done
    readings : of `clocks.compare`
    """

    def __init__(
        self, host: str, owns: str, rank: int, ranks: int, epochs_per_chapter: int, directory: Path | None = None
    ) -> None:  # fmt: skip
        """Begin with nothing; parts are written into the run directory, if there is one."""
        self._host, self._owns, self._rank, self._ranks = host, owns, rank, ranks
        self._directory, self._epochs = directory, epochs_per_chapter
        most = max(1, min(EACH, ALL // (2 * ranks)))
        self._spans, self._sent, self._received = _Window(most), _Window(most), _Window(most)
        self._seconds, self._totals = np.zeros(len(KINDS)), [0, 0]
        self.record = self._recording(self._spans)
        self.readings: list[tuple[float, float, float]] = []
        self._next = 0.0  # when a part may be written again

    @staticmethod
    def _recording(spans: _Window) -> Callable[[s.Step, float, float], None]:
        """Return a function that has all it needs at hand, since kernels leave little of it in the caches.

        A record ends with its number, counted from the end of the first ones: those are 0 and below.
        """
        set_epoch, now, number, keep = s.SetEpoch, (-1, -1), -spans.most, spans.first.append

        def record(step: s.Step, start: float, stop: float) -> None:
            nonlocal now, number, keep
            if type(step) is set_epoch:
                now = step.epoch, step.chapter
            number += 1
            keep((step, now, start, stop, number))
            if number == 0:
                keep = spans.last.append

        return record

    def add(self, spent: Mapping[type, float]) -> None:
        """Add the seconds that each kind of steps has taken, of all that have been recorded or left out."""
        for step, seconds in spent.items():
            self._seconds[kind_of(step)] += seconds

    def watch(self, link: s.LinkId) -> Callable[[int], None]:
        """Return what is to be told of each message of a link, with its bytes where it leaves."""
        key = link.source, link.target, PAYLOADS.index(link.payload), link.stage
        numbers, clock = count(), time.perf_counter

        def sent(size: int) -> None:
            self._sent.add((*key, next(numbers), size, clock()))
            self._totals[0] += 1
            self._totals[1] += size

        def received(size: int) -> None:
            self._received.add((*key, next(numbers), size, clock()))

        return sent if link.source == self._rank else received

    def part(self) -> Part:
        """Return what there is so far."""
        spans, rank = self._spans, self._rank
        rows = [
            (rank, *fields_of(step, now, self._epochs), start, stop)
            for step, now, start, stop, _ in chain(spans.first, spans.last)
        ]
        left_out = spans.last[0][-1] - 1 if spans.last else 0
        gap = (spans.first[-1][3], spans.last[0][2]) if left_out else (0.0, 0.0)
        sent, received = (np.array([*ends.first, *ends.last], END) for ends in (self._sent, self._received))
        return Part(
            self._host, self._owns, rank, self._ranks, np.array(self.readings, READING), np.array(rows, SPAN), sent,
            received, self._seconds.copy(), np.array(self._totals, np.int64), left_out, np.array(gap),
        )  # fmt: skip

    def keep(self, always: bool = False) -> None:
        """Write a part, `always` or so rarely that it takes no time that counts; a run needs none."""
        now = time.perf_counter()
        if self._directory is None or (now < self._next and not always):
            return
        with suppress(OSError, MemoryError):
            self.part().save(self._directory)
        after = time.perf_counter()
        self._next = after + _RARELY * (after - now)
