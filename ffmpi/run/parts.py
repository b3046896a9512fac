"""What each rank has recorded, by its own clock, and the trace that is made of all of it.

A rank's part is a file of its own where the run did not come to its end: trace.h5 is then made of those that are there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import UserError, ranges
from .trace import KINDS, MESSAGE, SPAN, Trace, wrong
from .untrusted import fail, reason, stored_array

#: One end of a message, the `number`-th of its link.
END = np.dtype([
    ("source", "<i4"), ("target", "<i4"), ("payload", "u1"), ("stage", "<i2"), ("number", "<i8"), ("bytes", "<i8"),
    ("time", "<f8"),
])  # fmt: skip
#: A clock compared with that of rank 0: at `own` it was behind by `offset`, at most `error` seconds more or less.
READING = np.dtype([("own", "<f8"), ("offset", "<f8"), ("error", "<f8")])
_NAME = re.compile(r"trace-rank-(\d+)\.h5")
_KINDS: dict[str, tuple[tuple[int, ...] | None, Any]] = {
    "spans": (None, SPAN),
    "sent": (None, END),
    "received": (None, END),
    "readings": (None, READING),
    "seconds": ((len(KINDS),), np.float64),
    "totals": ((2,), np.int64),
    "gap": ((2,), np.float64),
    "numbers": ((3,), np.int64),
}


@dataclass(frozen=True)
class Part:
    """What one rank has recorded.

    Attributes
    ----------
    host, owns : as in `Trace`; rank, of so many ranks
    readings : of READING, at least one; on rank 0, and where it is the same clock, offset and error are 0
    spans : of SPAN; sent, received : of END
    seconds : (KINDS,) of all; totals : messages and bytes sent
    left_out, gap : how many spans are not there, and from when to when
    """

    host: str
    owns: str
    rank: int
    ranks: int
    readings: np.ndarray
    spans: np.ndarray
    sent: np.ndarray
    received: np.ndarray
    seconds: np.ndarray
    totals: np.ndarray
    left_out: int
    gap: np.ndarray

    def aligned(self, times: np.ndarray) -> np.ndarray:
        """Return `times` of this rank's clock by that of rank 0: between two readings clocks drift evenly."""
        own, offsets = self.readings["own"], self.readings["offset"]
        return times + np.interp(times, own, offsets)

    def save(self, directory: Path) -> None:
        """Write the part into a run directory in one step. Raises OSError."""
        path = directory / f"trace-rank-{self.rank}.h5"
        partial = path.with_name(path.name + ".partial")
        arrays = {name: getattr(self, name) for name in _KINDS if name != "numbers"}
        arrays["numbers"] = np.array([self.rank, self.ranks, self.left_out], np.int64)
        try:
            with h5py.File(partial, "w", locking=False) as file:
                for name, array in arrays.items():
                    file[name] = array
                for name in ("host", "owns"):
                    text = getattr(self, name).encode()
                    file.create_dataset(name, data=text, dtype=f"S{max(1, len(text))}")
            os.replace(partial, path)
        except RuntimeError as error:  # HDF5's own
            raise OSError(str(error)) from None
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> Part:
        """Return the part in a file. Raises UserError for what is none."""
        try:
            file = h5py.File(path, "r", locking=False)
        except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
            raise UserError(f"{path}: cannot be opened ({reason(error)}); expected a rank's part of a trace") from None
        with file:
            found = {name: stored_array(file, name, *kind) for name, kind in _KINDS.items()}
            host, owns = (
                bytes(stored_array(file, name, (), None)).decode(errors="replace") for name in ("host", "owns")
            )
            rank, ranks, left_out = found.pop("numbers").tolist()
            if not 0 <= rank < ranks <= MOST or left_out < 0:
                raise fail(file, f"rank {rank} of {ranks}", f"one of at most {MOST}")
            part = cls(host, owns, rank, ranks, left_out=left_out, **found)
            messages = (np.zeros(0, MESSAGE), *(_as_messages(ends) for ends in (part.sent, part.received)))
            faults = [fault for each in messages for fault in wrong(part.spans, each, ranks)]
            if faults or not part._has_clock():
                raise fail(file, (faults or ["no clock"])[0], "a rank's part of a trace")
        return part

    def _has_clock(self) -> bool:
        own = self.readings["own"]
        finite = [np.isfinite(self.readings[name]).all() for name in READING.names or ()]
        return own.ndim == 1 and own.size > 0 and all(finite) and bool((np.diff(own) > 0).all())


#: Ranks of a run at most.
MOST = 1 << 24


def _as_messages(ends: np.ndarray) -> np.ndarray:
    made = np.zeros(ends.shape, MESSAGE)
    for name in ("source", "target", "payload", "stage", "bytes"):
        made[name] = ends[name]
    made["sent"] = made["received"] = ends["time"]
    return made


def bring_together(parts: Sequence[Part], note: str = "") -> Trace:
    """Return the trace of a run of which these ranks have left something, at least one; `note` is added to what misses.

    Time begins when the first rank did.
    """
    ranks, by_rank = parts[0].ranks, {part.rank: part for part in parts}
    missing = [rank for rank in range(ranks) if rank not in by_rank]
    notes = [f"rank{'s' if len(missing) > 1 else ''} {ranges(missing)} left nothing"] if missing else []
    apart = [part for part in parts if part.readings["error"].any() or part.readings["offset"].any()]
    if any(len(part.readings) < 2 for part in apart):
        notes.append("clocks were compared at the start only")
    spans = np.concatenate([part.spans for part in parts])
    for name in ("start", "stop"):
        spans[name] = np.concatenate([part.aligned(part.spans[name]) for part in parts])
    zero = float(spans["start"].min()) if len(spans) else 0.0
    for name in ("start", "stop"):
        spans[name] -= zero
    left_out, gaps = np.zeros(ranks, np.int64), np.zeros((ranks, 2))
    seconds, sent = np.zeros((ranks, len(KINDS))), np.zeros((ranks, 2), np.int64)
    for rank, part in by_rank.items():
        left_out[rank], seconds[rank], sent[rank] = part.left_out, part.seconds, part.totals
        if part.left_out:
            gaps[rank] = part.aligned(part.gap) - zero
    return Trace(
        spans, _messages(parts, zero),
        [by_rank[rank].host if rank in by_rank else "" for rank in range(ranks)],
        [by_rank[rank].owns if rank in by_rank else "" for rank in range(ranks)],
        seconds=seconds, sent=sent, left_out=left_out, gaps=gaps, note="; ".join([*notes, *([note] if note else [])]),
        clock_error=float(max((part.readings["error"].max() for part in apart), default=0.0)),
    )  # fmt: skip


def _messages(parts: Sequence[Part], zero: float) -> np.ndarray:
    """Return the messages both of whose ends are there."""
    names = ("source", "target", "payload", "stage", "number")
    received: dict[tuple[int, ...], float] = {}
    for part in parts:
        keys = zip(*(part.received[name].tolist() for name in names), strict=True)
        received.update(zip(keys, (part.aligned(part.received["time"]) - zero).tolist(), strict=True))
    found = []
    for part in parts:
        ends, times = part.sent, (part.aligned(part.sent["time"]) - zero).tolist()
        for key, size, time in zip(
            zip(*(ends[name].tolist() for name in names), strict=True), ends["bytes"].tolist(), times, strict=True
        ):
            if (there := received.get(key)) is not None:
                found.append((*key[:4], size, time, there))
    made = np.array(found, MESSAGE)
    return made[np.argsort(made["sent"], kind="stable")]


def left_in(directory: Path) -> list[Path]:
    """Return the files of parts in a run directory, in the order of the ranks."""
    try:
        names = {int(match[1]): name for name in os.listdir(directory) if (match := _NAME.fullmatch(name))}
    except OSError:
        return []
    return [directory / names[rank] for rank in sorted(names)]


def together_in(directory: Path) -> Trace | None:
    """Return the trace of the parts in a run directory, None without any. Raises UserError for damaged ones."""
    parts = [Part.read(path) for path in left_in(directory)]
    if not parts:
        return None
    if len({part.ranks for part in parts}) > 1 or len({part.rank for part in parts}) < len(parts):
        raise UserError(f"{directory}: parts of several traces (trace-rank-*.h5); expected those of one run")
    return bring_together(parts, "what ranks had left so far of a run that goes on, or was broken off")
