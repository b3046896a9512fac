"""Traces: what is written comes back, whatever is wrong with a file is one sentence, and Perfetto's format is kept."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ffmpi.errors import UserError
from ffmpi.run import chrome
from ffmpi.run.trace import KINDS, MESSAGE, NONE, PAYLOADS, SPAN, STREAMS, Trace, fields_of, kind_of
from ffmpi.schedule import steps as s

LINK = s.LinkId(0, 1, "activations", 2, 3, 3)
JOINT = s.Batch("joint", 5, "train", 7)


def spans(*rows: tuple[int, str, int, float, float]) -> np.ndarray:
    """Return spans of rank, kind, layer, start and stop."""
    made = np.zeros(len(rows), SPAN)
    for row, (rank, kind, layer, start, stop) in zip(made, rows, strict=True):
        values = rank, KINDS.index(kind), layer, 0, STREAMS.index("joint"), 3, 1, 0, start, stop
        for name, value in zip(SPAN.names or (), values, strict=True):
            row[name] = value
    return made


def two_ranks(**more: Any) -> Trace:
    """Return a trace in which rank 0 sends rank 1 what that one waits for, and something that is there in time."""
    made = spans(
        (0, "forward", 0, 0.0, 1.0), (0, "send", 0, 1.0, 1.1), (0, "update", 0, 1.1, 2.0), (0, "send", 0, 2.0, 2.1),
        (1, "forward", 1, 0.5, 0.8), (1, "wait", 0, 0.8, 1.5), (1, "forward", 1, 1.5, 2.5), (1, "update", 1, 2.6, 3.0),
    )  # fmt: skip
    messages = np.array([(0, 1, 0, 0, 400, 1.05, 1.4), (0, 1, 1, 0, 16, 2.05, 2.3)], MESSAGE)
    return Trace(made, messages, ("a", "b"), ("layer 1", "layer 2"), **more)


def test_every_step_has_a_kind_and_fields() -> None:
    kinds = {step: KINDS[kind_of(step)] for step in get_args(s.Step)}
    assert set(kinds.values()) == set(KINDS), "a kind that no step has"
    others = {step.__name__ for step, kind in kinds.items() if kind == "other"}
    assert others == {
        "FreeEpoch", "Reuse", "StashActivations", "LoadActivations", "FreeActivations", "Report"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (s.Forward(1, JOINT, None, 7), ("forward", 1, 0, "joint", 5, 7, 3)),
        (s.Forward(1, s.Batch("neutral", 5), 2), ("forward", 1, 0, "neutral", 5, 9, 2)),
        (s.Update(0, s.Batch("train", 4), 6), ("update", 0, 0, "train", 4, 6, 3)),
        (s.BuildInput(s.Batch("plain", 0, "test")), ("input", 0, 2, "plain", 0, 9, 4)),
        (s.Receive(LINK, 0, JOINT), ("wait", 2, 0, "joint", 5, 7, 3)),
        (s.Receive(LINK, 0, s.State(2, 1)), ("wait", 2, NONE, NONE, -1, 9, 1)),
        (s.Reserve(LINK, 0), ("wait", 2, NONE, NONE, -1, 9, 4)),
        (s.Send(LINK, 0, s.Selection(8, 3, 7)), ("send", 2, NONE, NONE, 3, 7, 3)),
        (s.SelectNegatives(JOINT, 6), ("negatives", -1, 0, "joint", 5, 7, 3)),
        (s.TakeSnapshot(3, 5), ("save", 3, NONE, NONE, -1, 9, 5)),
        (s.Report(5), ("other", -1, NONE, NONE, -1, 9, 5)),
    ],
)
def test_a_span_tells_what_the_step_was_for(step: s.Step, expected: tuple[Any, ...]) -> None:
    kind, layer, split, stream, *rest = expected
    number = STREAMS.index(stream) if isinstance(stream, str) else stream
    assert fields_of(step, (9, 4), 2) == (KINDS.index(kind), layer, split, number, *rest)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    gaps = np.array([[1.0, 2.0], [0.0, 0.0]])
    trace = two_ranks(left_out=np.array([7, 0]), gaps=gaps, clock_error=2e-6, note="r\u00e9sum\u00e9")
    trace.save(tmp_path / "trace.h5")
    for path in (tmp_path, tmp_path / "trace.h5"):
        found = Trace.read(path)
        for name in ("spans", "messages", "seconds", "sent", "left_out", "gaps"):
            assert_array_equal(getattr(found, name), getattr(trace, name), name)
        for name in ("hosts", "owns", "planned", "clock_error", "note", "complete", "end"):
            assert getattr(found, name) == getattr(trace, name)
    assert not found.complete and two_ranks().complete
    assert [path.name for path in tmp_path.iterdir()] == ["trace.h5"]


def test_sums_are_those_of_the_spans() -> None:
    trace = two_ranks()
    assert trace.seconds[0, KINDS.index("update")] == pytest.approx(0.9)
    assert trace.seconds.sum(axis=1) == pytest.approx([2.1, 0.3 + 0.7 + 1.0 + 0.4])
    assert trace.sent.tolist() == [[2, 416], [0, 0]]
    assert trace.layers == 2 and trace.end == 3.0


def _set(name: str, key: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        array = file[name][()]
        array[key][0] = value
        file[name][...] = array

    return change


def _replace(name: str, data: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = data

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("spans", "rank", 2), "'spans' has a rank of 2; expected a trace of ffmpi"),
        (_set("spans", "rank", -1), "'spans' has a rank of -1"),
        (_set("spans", "kind", len(KINDS)), f"'spans' has a kind of {len(KINDS)}"),
        (_set("spans", "stream", 200), "'spans' has a stream of 200"),
        (_set("spans", "layer", -2), "'spans' has a layer of -2"),
        (_set("spans", "start", np.nan), "'spans' has a start that is not finite"),
        (_set("spans", "stop", -1.0), "'spans' has one that ends before it begins"),
        (_set("messages", "payload", len(PAYLOADS)), f"'messages' has a payload of {len(PAYLOADS)}"),
        (_set("messages", "bytes", -9), "'messages' has a bytes of -9"),
        (_replace("spans", np.zeros(3)), "'spans' is float64 (3,); expected records"),
        (_replace("messages", np.zeros((1, 2), MESSAGE)), "no list"),
        (_replace("owns", np.array([b"one"])), "'hosts' has 2 ranks, 'owns' 1"),
        (_replace("hosts", np.zeros(2)), "expected text"),
        (_replace("seconds", np.zeros((2, 3))), "'seconds' is float64 (2, 3)"),
        (_replace("gaps", np.full((2, 2), -1.0)), "sums that are negative or not finite"),
        (lambda file: file.attrs.pop("note"), "no readable attribute 'note'; expected a trace of ffmpi"),
        (lambda file: file.attrs.update(format=2), "trace format 2; expected format 1"),
        (lambda file: file.attrs.update(clock_error=np.inf), "not finite"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: Callable[[h5py.File], None], said: str) -> None:
    path = tmp_path / "trace.h5"
    two_ranks().save(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(UserError, match=re.escape(said)):
        Trace.read(path)


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="left no trace; start it with 'ffmpi train --trace'"):
        Trace.read(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        Trace.read(tmp_path / "no.h5")
    (tmp_path / "text.h5").write_text("not a trace")
    with pytest.raises(UserError, match=r"a text which begins .*, expected a trace of ffmpi"):
        Trace.read(tmp_path / "text.h5")
    with pytest.raises(UserError, match="cannot write the trace"):
        two_ranks().save(tmp_path / "no" / "trace.h5")
    with pytest.raises(UserError, match=r"cannot be written .* such as trace\.json"):
        chrome.write(two_ranks(), tmp_path / "no" / "trace.json")


# -- Perfetto's format ------------------------------------------------------------------------------------------------
def check(found: dict[str, Any]) -> None:
    """Check what Perfetto expects: see the Trace Event Format's description."""
    phases = Counter(event["ph"] for event in found["traceEvents"])
    assert set(phases) <= {"M", "X", "s", "f"} and phases["s"] == phases["f"]
    tracks, named = defaultdict(list), dict[int, int]()
    for event in found["traceEvents"]:
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int) and isinstance(event["name"], str)
        if event["ph"] == "M":
            assert event["args"] and named.setdefault(event["tid"], event["pid"]) == event["pid"] > 0
        else:
            assert event["ts"] >= 0 and named[event["tid"]] == event["pid"]
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append((round(1e3 * event["ts"]), round(1e3 * event["dur"])))
    for track in tracks.values():  # on a track nothing overlaps
        track.sort()
        assert all(start + length <= after for (start, length), (after, _) in pairwise(track))
    starts = {event["id"]: event for event in found["traceEvents"] if event["ph"] == "s"}
    ends = {event["id"]: event for event in found["traceEvents"] if event["ph"] == "f"}
    assert starts.keys() == ends.keys() and len(starts) == phases["s"]
    for number, start in starts.items():
        end = ends[number]
        assert (end["name"], end["cat"]) == (start["name"], start["cat"]) and end["ts"] >= start["ts"]
        for event in (start, end):
            moment, track = round(1e3 * event["ts"]), tracks[event["pid"], event["tid"]]
            if event.get("bp") == "e" or event is start:  # it lies in a span
                assert any(first <= moment < first + length for first, length in track)
            else:  # a span follows
                assert any(first >= moment for first, _ in track)


def test_the_chrome_document(tmp_path: Path) -> None:
    found = two_ranks().chrome()
    check(found)
    events = found["traceEvents"]
    assert {e["args"]["name"] for e in events if e["name"] == "process_name"} == {"rank 0: layer 1", "rank 1: layer 2"}
    named = [(e["pid"], e["tid"], e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert (2, 4, "wait layer 1", 800000.0, 699999.999) in named
    assert (1, 1, "update layer 1", 1100000.0, 899999.999) in named
    assert next(e["args"] for e in events if e["ph"] == "X") == {
        "epoch": 2, "batch": 4, "chapter": 1, "stream": "joint", "split": "train"
    }  # fmt: skip
    ends = [(e["pid"], e["tid"], e["ts"], e.get("bp")) for e in events if e["ph"] == "f"]
    assert ends == [(2, 4, 1400000.0, "e"), (2, 2, 2300000.0, "e")]
    chrome.write(two_ranks(), tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_text()) == found


def test_what_was_left_out_is_said() -> None:
    found = two_ranks(left_out=np.array([0, 4]), gaps=np.array([[0, 0], [2.5, 2.6]])).chrome()
    check(found)
    (gap,) = [event for event in found["traceEvents"] if "left out" in event["name"]]
    assert gap["name"] == "4 steps left out" and (gap["pid"], gap["ts"], gap["dur"]) == (2, 2.5e6, pytest.approx(1e5))


def test_a_message_of_which_an_end_is_missing_has_no_arrow() -> None:
    made = two_ranks()
    messages = np.array([(0, 1, 0, 0, 8, 5.0, 5.1), (1, 0, 0, 0, 8, 2.0, 4.0)], MESSAGE)
    found = Trace(made.spans, messages, made.hosts, made.owns).chrome()
    check(found)
    assert not [event for event in found["traceEvents"] if event["ph"] in "sf"]


def test_a_long_document_is_written_in_parts(tmp_path: Path) -> None:
    many = np.repeat(spans((0, "forward", 0, 0.0, 1e-6)), 2 * chrome._AT_ONCE + 5)
    many["start"] += 1e-6 * np.arange(len(many))
    many["stop"] = many["start"] + 1e-6
    trace = Trace(many, np.zeros(0, MESSAGE), ("a",), ("",))
    chrome.write(trace, tmp_path / "trace.json")
    found = json.loads((tmp_path / "trace.json").read_text())
    assert found == trace.chrome() and len(found["traceEvents"]) == len(many) + 7
