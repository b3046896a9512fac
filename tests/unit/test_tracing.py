"""What ranks record becomes one trace: of clocks that differ, of long runs, and of runs that were broken off."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ffmpi.errors import UserError
from ffmpi.run.parts import END, READING, Part, bring_together, left_in, together_in
from ffmpi.run.trace import KINDS, PAYLOADS, SPAN, Trace
from ffmpi.runtime import recorder
from ffmpi.runtime.clocks import identity, nearest
from ffmpi.runtime.recorder import Recorder
from ffmpi.schedule import steps as s

LINK = s.LinkId(0, 1, "activations", 0, 3, 3)
FORWARD = KINDS.index("forward")


def recorded(rank: int = 0, ranks: int = 2, directory: Path | None = None, steps: int = 0) -> Recorder:
    """Return a recorder that has seen so many forwards, each of a second, one after the other."""
    made = Recorder(f"host{rank}", f"layer {rank + 1}", rank, ranks, 2, directory)
    made.readings.append((0.0, 0.0, 0.0))
    for number in range(steps):
        made.record(s.Forward(rank, s.Batch("joint", number), None, 4), number, number + 1.0)
    return made


def test_a_long_run_keeps_its_beginning_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "EACH", 3)
    made = recorded()
    watch = made.watch(LINK)
    for number in range(10):
        made.record(s.SetEpoch(number, number // 2), number, number + 0.25)
        made.record(s.Update(0, s.Batch("train", number), number), number + 0.25, number + 0.75)
        watch(100)
    made.add({s.SetEpoch: 2.5, s.Update: 5.0})
    part = made.part()
    assert part.spans["start"].tolist() == [0, 0.25, 1, 8.25, 9, 9.25] and part.spans["epoch"].tolist() == [
        0,
        0,
        1,
        8,
        9,
        9,
    ]
    assert part.left_out == 14 and part.gap.tolist() == [1.25, 8.25]
    assert part.sent["number"].tolist() == [0, 1, 2, 7, 8, 9] and part.totals.tolist() == [10, 1000]
    assert part.seconds[KINDS.index("update")] == 5.0 and part.seconds.sum() == 7.5
    trace = bring_together([part, recorded(1).part()])
    assert trace.left_out.tolist() == [14, 0] and trace.gaps.tolist() == [[1.25, 8.25], [0, 0]]
    assert trace.seconds[0].sum() == 7.5 and trace.sent.tolist() == [[10, 1000], [0, 0]] and not trace.complete


def test_many_ranks_together_keep_no_more_than_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "ALL", 80)
    parts = [recorded(rank, 8, steps=20).part() for rank in range(8)]
    assert [len(part.spans) for part in parts] == [10] * 8 and {part.left_out for part in parts} == {10}


def test_the_quickest_round_tells_most() -> None:
    """The other clock is 100 s ahead; the first answer was long under way, of the second one nothing is lost."""
    rounds = np.array([[0.0, 100.9, 1.0], [2.0, 102.01, 2.02], [3.0, 103.3, 3.4]])
    own, offset, error = nearest(rounds)
    assert own == 102.01 and offset == pytest.approx(-100.0) and error == pytest.approx(0.01)


@pytest.mark.parametrize(("ahead", "drift"), [(0.0, 0.0), (1000.0, 0.0), (-3.0, 2e-5)])
def test_clocks_that_differ_are_aligned(ahead: float, drift: float) -> None:
    """Both ranks do the same at the same time, and each sends the other what that one has a millisecond later."""
    true = np.arange(50.0)

    def other(times: np.ndarray) -> np.ndarray:
        return times + ahead + drift * times

    parts = []
    for rank, clock in enumerate([lambda times: times, other]):
        own = recorded(rank, steps=50).part()
        spans = own.spans.copy()
        spans["start"], spans["stop"] = clock(7 + true), clock(7.5 + true)
        read = clock(np.array([5.0, 60.0]))
        readings = np.zeros(2, READING)
        readings["own"], readings["offset"] = read, [5.0, 60.0] - read
        readings["error"] = 2e-6 * rank
        ends = []
        for late, source in ((0.0, rank), (1e-3, 1 - rank)):
            end = np.zeros(50, END)
            end["source"], end["target"], end["number"], end["bytes"] = source, 1 - source, np.arange(50), 8
            end["time"] = clock(7.2 + true + late)
            ends.append(end)
        parts.append(replace(own, readings=readings, spans=spans, sent=ends[0], received=ends[1]))
    trace = bring_together(parts)
    for rank in (0, 1):
        own = trace.spans[trace.spans["rank"] == rank]
        np.testing.assert_allclose(own["start"], true, rtol=0, atol=1e-9)
        np.testing.assert_allclose(own["stop"], true + 0.5, rtol=0, atol=1e-9)
    assert len(trace.messages) == 100 and (np.diff(trace.messages["sent"]) >= 0).all()
    np.testing.assert_allclose(trace.messages["received"] - trace.messages["sent"], 1e-3, atol=1e-9)
    assert trace.clock_error == 2e-6 and not trace.note
    parts[1] = replace(parts[1], readings=parts[1].readings[:1])
    assert bring_together(parts).note == "clocks were compared at the start only"


def test_messages_meet_by_their_numbers() -> None:
    """Whichever of them the ends have kept."""
    sender, receiver = recorded(0, steps=1), recorded(1, steps=1)
    send, receive = sender.watch(LINK), receiver.watch(LINK)
    for size in range(6):
        send(size)
        receive(0)
    parts = [sender.part(), receiver.part()]
    parts[0] = replace(parts[0], sent=parts[0].sent[[0, 1, 4, 5]])
    parts[1] = replace(parts[1], received=parts[1].received[1:5])
    found = bring_together(parts).messages
    assert found["bytes"].tolist() == [1, 4] and (found["received"] >= found["sent"]).all()
    assert set(found["payload"].tolist()) == {PAYLOADS.index("activations")}


def test_a_part_comes_back_from_its_file(tmp_path: Path) -> None:
    made = recorded(1, 3, tmp_path, steps=4)
    made.watch(s.LinkId(1, 2, "sums", 1, 3, 3))(64)
    part = made.part()
    part.save(tmp_path)
    assert (
        [path.name for path in tmp_path.iterdir()] == ["trace-rank-1.h5"] == [path.name for path in left_in(tmp_path)]
    )
    found = Part.read(tmp_path / "trace-rank-1.h5")
    for name, value in vars(part).items():
        assert_array_equal(getattr(found, name), value, name, strict=isinstance(value, np.ndarray))


def test_what_is_left_of_a_broken_run_is_a_trace(tmp_path: Path) -> None:
    for rank in (0, 2):
        recorded(rank, 4, tmp_path, steps=4).keep(always=True)
    trace = Trace.read(tmp_path)
    assert trace.ranks == 4 and trace.hosts == ("host0", "", "host2", "") and len(trace.spans) == 8
    assert trace.note.startswith("ranks 1, 3 left nothing; what ranks had left so far") and not trace.complete
    recorded(1, 2, tmp_path, steps=4).keep(always=True)
    with pytest.raises(UserError, match="parts of several traces"):
        together_in(tmp_path)


def test_parts_are_written_rarely_and_never_endanger_a_run(tmp_path: Path) -> None:
    made = recorded(0, 2, tmp_path, steps=1000)
    made.keep()
    (path,) = left_in(tmp_path)
    path.unlink()
    made.keep()
    assert not left_in(tmp_path), "written again at once"
    made.keep(always=True)
    assert left_in(tmp_path) == [path]
    gone = recorded(0, 2, tmp_path / "gone", steps=1)
    gone.keep()
    assert not (tmp_path / "gone").exists()
    recorded(0, 2, None, steps=1).keep(always=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.__delitem__("spans"), "no data set 'spans'"),
        (lambda file: file["numbers"].__setitem__(0, 9), "rank 9 of 2; expected one of"),
        (lambda file: file["numbers"].__setitem__(2, -1), "rank 0 of 2"),
        (lambda file: file["readings"].__setitem__(0, (np.nan, 0, 0)), "no clock; expected a rank's part of a trace"),
        (
            lambda file: (file.__delitem__("readings"), file.create_dataset("readings", data=np.zeros(0, READING))),
            "clock",
        ),
        (
            lambda file: (file.__delitem__("sent"), file.create_dataset("sent", data=np.full(1, 7, END))),
            "'messages' has a",
        ),
        (
            lambda file: (file.__delitem__("spans"), file.create_dataset("spans", data=np.full(1, 99, SPAN))),
            "'spans' has a",
        ),
    ],
)
def test_a_damaged_part_is_refused(tmp_path: Path, change: Callable[[h5py.File], object], said: str) -> None:
    recorded(0, 2, tmp_path, steps=2).keep(always=True)
    (path,) = left_in(tmp_path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(UserError, match=re.escape(said)):
        Trace.read(tmp_path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be opened"):
        together_in(tmp_path)


def test_ranks_of_one_host_have_one_clock() -> None:
    assert identity() == identity() and identity()
    assert time.get_clock_info("perf_counter").implementation == "clock_gettime(CLOCK_MONOTONIC)"
