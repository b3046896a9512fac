"""A trace in the Trace Event Format of Chrome, which Perfetto (ui.perfetto.dev) opens.

Each rank is a process with two tracks: what it computes, and what it does for messages. An arrow leads from where a
message was sent to where its receiver had it. Timestamps are microseconds, with nanoseconds behind the point.

Perfetto names tracks by their numbers alone, whatever process they are of, takes a process's own number for its first
track, and 0 for an idle system: so numbers begin with 1, and no track has another's. It cuts fractions of a nanosecond
off, in which spans that touch would overlap: so each is a nanosecond shorter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from .. import __version__
from ..errors import UserError, why_missing
from .trace import KINDS, NONE, PAYLOADS, SPLITS, STREAMS, Trace

COMPUTING, MESSAGES = 0, 1  # tracks
_ON_MESSAGES = np.isin(np.arange(len(KINDS)), [KINDS.index("send"), KINDS.index("wait")])
_AT_ONCE = 4096  # events
_LEAST = 2  # nanoseconds of a span in which something can be


def document(trace: Trace) -> dict[str, Any]:
    """Return the whole document."""
    return {"traceEvents": list(events(trace)), **_beside(trace)}


def write(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write the document in one step, a part at a time. Raises UserError where it cannot be written."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    encode, part = msgspec.json.encode, list[bytes]()
    try:
        with open(partial, "wb") as file:
            file.write(b'{"traceEvents":[')
            before = b"\n"
            for event in events(trace):
                part.append(encode(event))
                if len(part) == _AT_ONCE:
                    file.write(before + b",\n".join(part))
                    before = b",\n"
                    part.clear()
            if part:
                file.write(before + b",\n".join(part))
            file.write(b"\n]," + encode(_beside(trace))[1:])
        os.replace(partial, path)
    except OSError as error:
        why = why_missing(path.parent) or error.strerror or str(error)
        raise UserError(f"{path}: cannot be written ({why}); expected a file name such as trace.json") from None


def _beside(trace: Trace) -> dict[str, Any]:
    about = {
        "ffmpi": __version__,
        "times": "planned" if trace.planned else "measured",
        "clocks": f"of different hosts within {1e6 * trace.clock_error:.1f} us",
        "left out": f"{int(trace.left_out.sum())} steps, of long runs those in the middle",
    }
    return {"displayTimeUnit": "ms", "otherData": about | ({"note": trace.note} if trace.note else {})}


def events(trace: Trace) -> Iterator[dict[str, Any]]:
    """Yield all events: names of tracks, spans rank by rank, what was left out, and messages."""
    for rank, (host, owns) in enumerate(zip(trace.hosts, trace.owns, strict=True)):
        name = f"rank {rank}: {owns}" if owns else f"rank {rank}"
        for kind, args in (
            ("name", {"name": name}),
            ("labels", {"labels": host}),
            ("sort_index", {"sort_index": rank}),
        ):
            yield {"ph": "M", **where(trace, rank), "name": f"process_{kind}", "args": args}
        for track, text in ((COMPUTING, "computing"), (MESSAGES, "messages")):
            both = {"ph": "M", **where(trace, rank, track)}
            yield {**both, "name": "thread_name", "args": {"name": text}}
            yield {**both, "name": "thread_sort_index", "args": {"sort_index": track}}
    yield from _spans(trace)
    for rank in np.flatnonzero(trace.left_out).tolist():
        start, stop = nanoseconds(trace.gaps[rank]).tolist()
        name = f"{int(trace.left_out[rank])} steps left out"
        yield {"ph": "X", **where(trace, rank), **_time(start, stop), "name": name}
    yield from _arrows(trace)


def where(trace: Trace, rank: int, track: int = COMPUTING) -> dict[str, int]:
    """Return the numbers of a rank's process and track."""
    return {"pid": rank + 1, "tid": rank + 1 + track * trace.ranks}


def _time(start: int, stop: int) -> dict[str, float]:
    return {"ts": start / 1e3, "dur": max(stop - start - 1, 0) / 1e3}


def nanoseconds(seconds: np.ndarray) -> np.ndarray:
    """Return whole nanoseconds, int64."""
    return np.rint(seconds * 1e9).astype(np.int64)


def _spans(trace: Trace) -> Iterator[dict[str, Any]]:
    spans, layers = trace.spans, trace.layers
    starts, stops = nanoseconds(spans["start"]), nanoseconds(spans["stop"])
    names = ("rank", "kind", "layer", "split", "stream", "batch", "epoch", "chapter")
    columns = [spans[name].tolist() for name in names]
    for rank, kind, layer, split, stream, batch, epoch, chapter, start, stop in zip(
        *columns, starts.tolist(), stops.tolist(), strict=True
    ):
        whose = "" if layer < 0 else f" layer {layer + 1}" if layer < layers else " head"
        counted = (("epoch", epoch), ("batch", batch), ("chapter", chapter))
        args: dict[str, Any] = {name: number + 1 for name, number in counted if number >= 0}
        if stream != NONE:
            args["stream"] = STREAMS[stream]
        if split != NONE:
            args["split"] = SPLITS[split]
        yield {
            "ph": "X", **where(trace, rank, int(_ON_MESSAGES[kind])), **_time(start, stop), "name": KINDS[kind] + whose,
            "cat": KINDS[kind], "args": args,
        }  # fmt: skip


class _Track(NamedTuple):
    """A rank's spans on one track, in nanoseconds and in order."""

    starts: np.ndarray
    stops: np.ndarray

    def around(self, time: int) -> int | None:
        """Return a moment of the span that is under way at `time`: that, or one before its end."""
        place = int(np.searchsorted(self.starts, time, "right")) - 1
        while place > 0 and self.stops[place] - self.starts[place] < _LEAST:  # at the end of another one
            place -= 1
        if place < 0 or self.stops[place] - self.starts[place] < _LEAST or self.stops[place] < time:
            return None
        return min(time, int(self.stops[place]) - _LEAST)

    def after(self, time: int) -> bool:
        """Whether a span begins at `time` or later."""
        return bool(self.starts.size) and time <= self.starts[-1]


def _tracks(trace: Trace) -> dict[tuple[int, int], _Track]:
    found = {}
    order = np.lexsort((trace.spans["start"], trace.spans["rank"]))
    spans = trace.spans[order]
    bounds = np.searchsorted(spans["rank"], np.arange(trace.ranks + 1))
    for rank in range(trace.ranks):
        own = spans[bounds[rank] : bounds[rank + 1]]
        for track in (COMPUTING, MESSAGES):
            here = own[_ON_MESSAGES[own["kind"]] == bool(track)]
            found[rank, track] = _Track(nanoseconds(here["start"]), nanoseconds(here["stop"]))
    return found


def _arrows(trace: Trace) -> Iterator[dict[str, Any]]:
    """Yield two events for each message both of whose ends are in the trace.

    A message that nobody had to wait for ends in what its receiver computes meanwhile, or next.
    """
    tracks, layers, messages = _tracks(trace), trace.layers, trace.messages
    columns = [messages[name].tolist() for name in ("source", "target", "payload", "stage", "bytes")]
    sent, received = nanoseconds(messages["sent"]).tolist(), nanoseconds(messages["received"]).tolist()
    for number, (source, target, payload, stage, size, begin, end) in enumerate(
        zip(*columns, sent, received, strict=True)
    ):
        first = _end(tracks, source, begin)
        last = _end(tracks, target, max(begin, end))
        waits = last is not None
        if last is None and tracks[target, COMPUTING].after(max(begin, end)):
            last = COMPUTING, max(begin, end)
        if first is None or last is None:
            continue
        name = f"{PAYLOADS[payload]} of {f'layer {stage + 1}' if stage < layers else 'head'}"
        both = {"id": number, "name": name, "cat": "message"}
        arguments = {"bytes": size, "us": (end - begin) / 1e3}
        yield {"ph": "s", **where(trace, source, first[0]), "ts": first[1] / 1e3, **both, "args": arguments}
        # Flows bind to the span that they end in, or else to the next one.
        ts = max(first[1], last[1]) / 1e3
        yield {"ph": "f", **where(trace, target, last[0]), "ts": ts, **both, **({"bp": "e"} if waits else {})}


def _end(tracks: dict[tuple[int, int], _Track], rank: int, time: int) -> tuple[int, int] | None:
    """Return track and moment of the span in which a message is sent, or had."""
    for track in (MESSAGES, COMPUTING):
        if (moment := tracks[rank, track].around(time)) is not None:
            return track, moment
    return None
