"""A part of a trace as a timeline shows it: as boxes where steps are wide enough, or as shares of the time.

Steps are told apart by what they are for: a layer's forward, its update, the head, scoring, saving, sending and what
else there is. Waiting is what is left.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import UserError, ranges
from ..run.trace import KINDS, SPLITS, STREAMS, Trace
from ..schedule.steps import SCORED

#: What is no layer's, after the layers' own: two for each.
BESIDE = ("head", "scoring", "saving", "sending, other")
WAITING = -1
_NUMBER = {kind: number for number, kind in enumerate(KINDS)}


class Box(NamedTuple):
    """Something that takes `rank` from `start` to `stop`, in seconds of the window: which of `Window.purposes`."""

    rank: int
    purpose: int
    start: float
    stop: float


@dataclass(frozen=True)
class Window:
    """What a trace has from `start` to `stop`, in seconds of the run."""

    trace: Trace
    start: float
    stop: float

    @property
    def length(self) -> float:
        """Seconds of it."""
        return self.stop - self.start

    def purposes(self) -> list[tuple[str, int]]:
        """Return what there may be, in the order of its numbers: forward and update of each layer, then BESIDE (-1)."""
        return [(name, layer) for layer in range(self.trace.layers) for name in ("forward", "update")] + [
            (name, -1) for name in BESIDE
        ]

    def spans(self) -> np.ndarray:
        """Return the spans of the window, cut off at its ends, with times from its start."""
        spans = self.trace.spans
        found = spans[(spans["stop"] > self.start) & (spans["start"] < self.stop)].copy()
        for name in ("start", "stop"):
            found[name] = np.clip(found[name], self.start, self.stop) - self.start
        return found[np.lexsort((found["start"], found["rank"]))]

    def _purpose(self, spans: np.ndarray) -> np.ndarray:
        """Return the number of each span's purpose, or WAITING."""
        layers, kinds = self.trace.layers, spans["kind"]
        streams = [STREAMS.index(stream) for stream in SCORED]
        scored = np.isin(spans["split"], range(1, len(SPLITS))) | np.isin(spans["stream"], streams)
        head, scoring, saving, rest = range(2 * layers, 2 * layers + len(BESIDE))
        of_layer = (spans["layer"] >= 0) & (spans["layer"] < layers)
        update = np.isin(kinds, [_NUMBER["update"], _NUMBER["sums"]])
        computed = np.isin(kinds, [_NUMBER[kind] for kind in ("forward", "sums", "update", "input")]) & of_layer
        found = np.full(len(spans), rest)
        found[computed] = (2 * spans["layer"] + update)[computed]
        found[kinds == _NUMBER["head"]] = head
        quiet = np.isin(kinds, [_NUMBER[kind] for kind in ("send", "wait", "save", "other")])
        found[(scored & ~quiet) | np.isin(kinds, [_NUMBER["evaluate"], _NUMBER["negatives"]])] = scoring
        found[kinds == _NUMBER["save"]] = saving
        found[kinds == _NUMBER["wait"]] = WAITING
        return found

    def boxes(self, least: float) -> list[Box]:
        """Return what there is to draw, where less than `least` seconds are not to be seen.

        What is shorter is drawn together with its neighbours, as that of them that takes most.
        """
        spans, found = self.spans(), list[Box]()
        purposes = self._purpose(spans)
        columns = (spans["rank"], purposes, spans["start"], spans["stop"])
        small: dict[int, float] = defaultdict(float)
        rank, begin, end = -1, 0.0, 0.0

        def flush() -> None:
            if small:
                _put(found, Box(rank, max(small, key=small.__getitem__), begin, end))
                small.clear()

        for one, purpose, start, stop in zip(*(column.tolist() for column in columns), strict=True):
            if one != rank or stop - start >= least or start - end >= least:
                flush()
            rank = one
            if stop - start >= least:
                _put(found, Box(rank, purpose, start, stop))
                continue
            if not small:
                begin = start
            small[purpose] += stop - start
            end = stop
            if end - begin >= least:
                flush()
        flush()
        return [box for box in found if box.purpose != WAITING]

    def shares(self, bins: int) -> np.ndarray:
        """Return the share of `bins` equal parts of the window that each purpose takes, (ranks, purposes, bins)."""
        spans = self.spans()
        purposes, edges = self._purpose(spans), np.linspace(0, self.length, bins + 1)
        found = np.zeros((self.trace.ranks, len(self.purposes()), bins))
        for rank in range(self.trace.ranks):
            own = spans["rank"] == rank
            for purpose in np.unique(purposes[own]).tolist():
                if purpose != WAITING:
                    these = spans[own & (purposes == purpose)]
                    times = np.stack([these["start"], these["stop"]], axis=1)
                    passed = np.cumsum(np.stack([np.zeros(len(these)), times[:, 1] - times[:, 0]], axis=1))
                    found[rank, purpose] = np.diff(np.interp(edges, times.ravel(), passed)) / (edges[1] - edges[0])
        return found

    def busy(self) -> np.ndarray:
        """Return the share of the window in which each rank does not wait, (ranks,)."""
        return self.shares(1).sum(axis=(1, 2))

    def messages(self) -> np.ndarray:
        """Return the messages that are sent and received in the window, with times from its start."""
        messages = self.trace.messages
        found = messages[(messages["sent"] >= self.start) & (messages["received"] <= self.stop)].copy()
        for name in ("sent", "received"):
            found[name] -= self.start
        return found

    def gaps(self) -> list[tuple[int, float, float]]:
        """Return rank, start and end of what was left out of the trace, in seconds of the window."""
        cut = np.clip(self.trace.gaps, self.start, self.stop) - self.start
        return [(rank, *cut[rank].tolist()) for rank in np.flatnonzero(cut[:, 1] > cut[:, 0]).tolist()]


def _put(found: list[Box], box: Box) -> None:
    """Add a box, or make the last one longer where they are the same."""
    last = found[-1] if found else None
    if last and last[:2] == box[:2] and abs(last.stop - box.start) < 1e-9:
        found[-1] = last._replace(stop=box.stop)
    else:
        found.append(box)


def window_of(
    trace: Trace, start: float | None = None, stop: float | None = None, epochs: range | None = None,
    batches: range | None = None,
) -> Window:  # fmt: skip
    """Return what is to be shown: from `start` to `stop` seconds, or while ranks learnt from `batches` of `epochs`.

    Epochs and batches count from 0; without epochs the first one is meant that has all the batches. Without anything it
    is the whole run, or of a long one as much as there is before something is left out. Raises UserError for nothing.
    """
    if epochs is not None or batches is not None:
        return _window_of_batches(trace, epochs, batches)
    left_out = trace.gaps[trace.left_out > 0, 0]
    last = float(left_out.min()) if left_out.size else trace.end
    begin, end = start or 0.0, last if stop is None else stop
    if not begin < min(end, trace.end):
        raise UserError(
            f"from {begin:g} s to {end:g} s: the trace has nothing there; expected times up to {trace.end:g} s"
        )
    return Window(trace, begin, min(end, trace.end))


def excerpt_of(trace: Trace, steps: int = 60) -> Window:
    """Return a part in the middle of the whole window in which a rank takes about so many steps: they can be seen."""
    whole = window_of(trace)
    per_rank = len(whole.spans()) / trace.ranks
    length = whole.length * min(1.0, steps / max(1.0, per_rank))
    middle = (whole.start + whole.stop) / 2
    return Window(trace, middle - length / 2, middle + length / 2)


def _window_of_batches(trace: Trace, epochs: range | None, batches: range | None) -> Window:
    learning = np.isin(trace.spans["kind"], [_NUMBER["forward"], _NUMBER["update"]]) & (trace.spans["split"] == 0)
    spans = trace.spans[learning & (trace.spans["epoch"] >= 0)]
    there = {int(epoch): set(spans["batch"][spans["epoch"] == epoch].tolist()) for epoch in np.unique(spans["epoch"])}
    if epochs is None:
        whole = next((epoch for epoch in there if set(batches or ()) <= there[epoch]), -1)
        epochs = range(whole, whole + 1)
    chosen = np.isin(spans["epoch"], epochs) & (np.isin(spans["batch"], batches) if batches is not None else True)
    if not chosen.any():
        known = [f"{ranges(one + 1 for one in sorted(found))} of epoch {epoch + 1}" for epoch, found in there.items()]
        raise UserError(
            "the trace has no such epochs and batches, or not all of them in one epoch; expected some of "
            f"{', or '.join(known[:3] + ['more'] * (len(known) > 3)) or 'another run'}"
        )
    return Window(trace, float(spans["start"][chosen].min()), float(spans["stop"][chosen].max()))
