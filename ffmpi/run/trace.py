"""A trace: what every rank did when, measured or planned, and the messages between them.

All times are seconds from the run's common start, when the first rank began with its steps. Its file is HDF5
(docs/design.md, section 12), read as untrusted input.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np

from .. import __version__
from ..data.kinds import HDF5, expect
from ..errors import UserError, why_missing
from ..schedule import steps as s
from .untrusted import attribute, fail, reason, stored_array

#: What a rank does.
KINDS = ("forward", "sums", "update", "head", "input", "evaluate", "negatives", "send", "wait", "save", "other")
STREAMS, SPLITS, PAYLOADS = get_args(s.Stream), get_args(s.Split), get_args(s.Payload)
#: Where a number that cannot be negative stands for nothing.
NONE = 255

#: One step of a rank, or several of one kind. layer counts from 0, the head comes after the last one; -1: none.
SPAN = np.dtype([
    ("rank", "<i4"), ("kind", "u1"), ("layer", "<i2"), ("split", "u1"), ("stream", "u1"), ("batch", "<i4"),
    ("epoch", "<i4"), ("chapter", "<i4"), ("start", "<f8"), ("stop", "<f8"),
])  # fmt: skip
#: received: when its receiver knew that it was there.
MESSAGE = np.dtype([
    ("source", "<i4"), ("target", "<i4"), ("payload", "u1"), ("stage", "<i2"), ("bytes", "<i8"), ("sent", "<f8"),
    ("received", "<f8"),
])  # fmt: skip

_KIND_OF = {
    s.Forward: "forward",
    s.AddSums: "sums",
    s.AddScore: "sums",
    s.Update: "update",
    s.FinishEpoch: "update",
    s.GatherHeadInput: "head",
    s.Logits: "head",
    s.AddLogits: "head",
    s.HeadError: "head",
    s.UpdateHead: "head",
    s.SetEpoch: "input",
    s.BuildInput: "input",
    s.Evaluate: "evaluate",
    s.SelectNegatives: "negatives",
    s.Post: "send",  # hands MPI a buffer, too
    s.Send: "send",
    s.Receive: "wait",
    s.Reserve: "wait",
    s.Record: "wait",  # for the reports of others
    s.TakeSnapshot: "save",
    s.FreeSnapshot: "save",
    s.Save: "save",
}
_FORMAT = 1
_BY_KIND: dict[Any, int] = {step: KINDS.index(kind) for step, kind in _KIND_OF.items()}
_OTHER = KINDS.index("other")
_BY_STREAM = {name: number for number, name in enumerate(STREAMS)}
_BY_SPLIT = {name: number for number, name in enumerate(SPLITS)}
#: Steps whose field `chapter` says in which one they are, of Forward if there is one.
_IN_CHAPTER = (s.SetEpoch, s.TakeSnapshot, s.FreeSnapshot, s.Report, s.Record, s.Save, s.Forward)


def kind_of(step: type) -> int:
    """Return which of KINDS a type of step is."""
    return _BY_KIND.get(step, _OTHER)


def fields_of(step: s.Step, now: tuple[int, int], epochs_per_chapter: int) -> tuple[int, int, int, int, int, int, int]:
    """Return what a span tells of a step: kind, layer, split, stream, batch, epoch, chapter.

    `now` are epoch and chapter of the last SetEpoch on this rank, (-1, -1) before the first: of what names none.
    """
    item: Any = getattr(step, "batch", None) or getattr(step, "item", None)
    layer, split, stream, batch, (epoch, chapter) = -1, NONE, NONE, -1, now
    if isinstance(step, s.Post | s.Receive | s.Reuse | s.Reserve | s.Send):
        layer = step.link.stage
    elif isinstance(step, s.TakeSnapshot | s.FreeSnapshot):
        layer = step.stage
    elif isinstance(step, s.BuildInput):
        layer = 0
    else:
        layer = getattr(step, "layer", -1)
    if isinstance(item, s.Batch):
        split, stream, batch = _BY_SPLIT[item.split], _BY_STREAM[item.stream], item.index
    elif isinstance(item, s.Selection) and item.batch is not None:
        batch = item.batch
    own: int | None = getattr(step, "epoch", None)
    if own is None and isinstance(item, s.Batch | s.Selection):
        own = item.epoch
    if own is not None and own >= 0:
        epoch, chapter = own, own // epochs_per_chapter
    if isinstance(item, s.State):
        chapter = item.chapter
    elif isinstance(step, _IN_CHAPTER) and step.chapter is not None:
        chapter = step.chapter
    return kind_of(type(step)), layer, split, stream, batch, epoch, chapter


class Trace:
    """What the ranks of a run did; of a long run its beginning and its end, and the sums of all.

    Attributes
    ----------
    spans : of SPAN, those of a rank in the order of time; messages : of MESSAGE
    hosts, owns : by rank, where it runs and what it has of the network
    planned : whether it is a simulation's
    seconds : (ranks, KINDS) float64, of all that was done, with what was left out
    sent : (ranks, 2) int64, how many messages and bytes each rank has sent in all
    left_out : (ranks,) int64, how many spans are not there; gaps : (ranks, 2) float64, from when to when
    clock_error : seconds by which times of different ranks may be wrong
    note : what else is missing, in words
    """

    def __init__(
        self, spans: np.ndarray, messages: np.ndarray, hosts: Sequence[str], owns: Sequence[str], planned: bool = False,
        *, seconds: np.ndarray | None = None, sent: np.ndarray | None = None, left_out: np.ndarray | None = None,
        gaps: np.ndarray | None = None, clock_error: float = 0.0, note: str = "",
    ) -> None:  # fmt: skip
        """Take all over; sums that are not given are those of what is there."""
        self.spans, self.messages, self.hosts, self.owns = spans, messages, tuple(hosts), tuple(owns)
        self.planned, self.clock_error, self.note, ranks = planned, clock_error, note, len(hosts)
        self.left_out = np.zeros(ranks, np.int64) if left_out is None else left_out
        self.gaps = np.zeros((ranks, 2)) if gaps is None else gaps
        if seconds is None:
            seconds = np.zeros((ranks, len(KINDS)))
            np.add.at(seconds, (spans["rank"], spans["kind"]), spans["stop"] - spans["start"])
        if sent is None:
            sent = np.zeros((ranks, 2), np.int64)
            np.add.at(sent[:, 0], messages["source"], 1)
            np.add.at(sent[:, 1], messages["source"], messages["bytes"])
        self.seconds, self.sent = seconds, sent

    @property
    def ranks(self) -> int:
        """How many there are."""
        return len(self.hosts)

    @property
    def layers(self) -> int:
        """How many layers the network has, as far as is to be seen."""
        return int(self.spans["layer"][self.spans["kind"] == KINDS.index("forward")].max(initial=-1)) + 1

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return not (self.left_out.any() or self.note)

    @property
    def end(self) -> float:
        """When the last span ends, in seconds."""
        return float(self.spans["stop"].max(initial=0.0))

    def chrome(self) -> dict[str, Any]:
        """Return it in the Trace Event Format, see `chrome`."""
        from .chrome import document  # which describes traces

        return document(self)

    # -- Files --------------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file in one step. Raises UserError where it cannot be written."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        try:
            partial.unlink(missing_ok=True)
            with h5py.File(partial, "w", locking=False) as file:
                file.attrs.update({"format": _FORMAT, "ffmpi": np.bytes_(__version__), "planned": int(self.planned)})
                file.attrs["clock_error"], file.attrs["note"] = self.clock_error, np.bytes_(self.note.encode())
                for name, array in self._arrays().items():
                    file.create_dataset(name, data=array)
            os.replace(partial, path)
        except (OSError, RuntimeError, ValueError) as error:
            why = why_missing(path.parent) or reason(error)
            raise UserError(f"{path}: cannot write the trace ({why}); expected a file name such as trace.h5") from None

    def _arrays(self) -> dict[str, np.ndarray]:
        texts = {name: [text.encode() for text in getattr(self, name)] for name in ("hosts", "owns")}
        made = {name: np.array(each, f"S{max(1, *map(len, each))}") for name, each in texts.items()}
        return made | {name: getattr(self, name) for name in ("spans", "messages", *_PER_RANK)}

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Trace:
        """Return the trace in a file, or in a run directory, also of a run that was broken off.

        Raises UserError for what is none.
        """
        path = Path(path)
        if path.is_dir():
            from .parts import together_in  # which are traces, too

            if (found := together_in(path)) is not None:
                return found
            path = path / "trace.h5"
            if why_missing(path) == "no such file":
                raise UserError(f"{path.parent}: the run left no trace; start it with 'ffmpi train --trace'")
        if os.path.isfile(path) and not h5py.is_hdf5(path):
            expect(path, "a trace of ffmpi (HDF5)", HDF5)
        try:
            file = h5py.File(path, "r", locking=False)
        except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
            why = why_missing(path) or reason(error)
            raise UserError(f"{path}: cannot be opened ({why}); expected a trace of ffmpi (HDF5)") from None
        with file:
            return _read(file)


#: Arrays with a row for each rank: their shapes after that, and types.
_PER_RANK: dict[str, tuple[tuple[int, ...], type]] = {
    "seconds": ((len(KINDS),), np.float64),
    "sent": ((2,), np.int64),
    "left_out": ((), np.int64),
    "gaps": ((2,), np.float64),
}


def _read(file: h5py.File) -> Trace:
    expected = "a trace of ffmpi"
    if (number := int(attribute(file, "format", "iu", expected))) != _FORMAT:
        raise fail(file, f"trace format {number}", f"format {_FORMAT}, as written by ffmpi {__version__}")
    spans, messages = (stored_array(file, name, None, kind) for name, kind in (("spans", SPAN), ("messages", MESSAGE)))
    hosts, owns = (_texts(file, name) for name in ("hosts", "owns"))
    ranks = len(hosts)
    rest = {name: stored_array(file, name, (ranks, *shape), kind) for name, (shape, kind) in _PER_RANK.items()}
    note = bytes(attribute(file, "note", "S", expected)).decode(errors="replace")
    error = float(attribute(file, "clock_error", "f", expected))
    if not ranks or len(owns) != ranks:
        raise fail(file, f"'hosts' has {ranks} ranks, 'owns' {len(owns)}", "the same, at least one")
    for fault in wrong(spans, messages, ranks):
        raise fail(file, fault, expected)
    if not (0 <= error < np.inf and all(np.isfinite(array).all() and (array >= 0).all() for array in rest.values())):
        raise fail(file, "sums that are negative or not finite", expected)
    planned = bool(attribute(file, "planned", "iu", expected))
    return Trace(spans, messages, hosts, owns, planned, **rest, clock_error=error, note=note)


def _texts(file: h5py.File, name: str) -> tuple[str, ...]:
    found = np.asarray(stored_array(file, name, None, None))
    if found.ndim != 1:
        raise fail(file, f"{name!r} is {found.dtype} {found.shape}", "a text for each rank")
    return tuple(bytes(text).decode(errors="replace") for text in found)


def wrong(spans: np.ndarray, messages: np.ndarray, ranks: int) -> Iterator[str]:
    """Yield what cannot be in a trace of so many ranks."""
    if spans.ndim != 1 or messages.ndim != 1:
        yield "'spans' or 'messages' is no list"
        return
    limits = {
        "rank": ranks, "kind": len(KINDS), "source": ranks, "target": ranks, "payload": len(PAYLOADS),
        "split": len(SPLITS), "stream": len(STREAMS),
    }  # fmt: skip
    for name, array in (("spans", spans), ("messages", messages)):
        for key in array.dtype.names or ():
            values = array[key]
            there = values[values != NONE] if key in ("split", "stream") else values
            if key in limits and there.size and not (there.min() >= 0 and there.max() < limits[key]):
                yield f"'{name}' has a {key} of {there.max() if there.min() >= 0 else there.min()}"
            elif values.dtype.kind == "f" and not np.isfinite(values).all():
                yield f"'{name}' has a {key} that is not finite"
            elif key in ("layer", "batch", "epoch", "chapter", "stage", "bytes") and (values < -1).any():
                yield f"'{name}' has a {key} of {values.min()}"
    if (spans["stop"] < spans["start"]).any():
        yield "'spans' has one that ends before it begins"
