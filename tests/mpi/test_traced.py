"""Traced runs: what ranks record is what they did, whatever becomes of the run, and the weights do not know of it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ffmpi.run.parts import left_in
from ffmpi.run.trace import KINDS, PAYLOADS, STREAMS, Trace
from tests.conftest import Run
from tests.helpers import DIGITS, KILLED, arrays, chapters_saved, records, sets
from tests.unit.test_trace import check

pytestmark = pytest.mark.mpi

THREE = sets("network.layers=[64,64,64]", "train.epochs=3")
WAIT = KINDS.index("wait")


def per_rank(trace: Trace) -> list[np.ndarray]:
    return [trace.spans[trace.spans["rank"] == rank] for rank in range(trace.ranks)]


@pytest.fixture(params=["pipeline", "single-layer"])
def traced(request: pytest.FixtureRequest, train_once: Callable[..., Path]) -> Path:
    """Return a run on three ranks that has a trace, once a module for each schedule."""
    name = request.param
    return train_once(name, 3, "--trace", *THREE, *sets(f"schedule.name={name}"))


def test_spans_are_what_the_ranks_did(traced: Path) -> None:
    trace = Trace.read(traced)
    assert trace.ranks == 3 and trace.complete and not trace.planned and not left_in(traced)
    assert trace.clock_error == 0.0, "ranks of one host have one clock"
    for own in per_rank(trace):
        assert (own["start"][1:] >= own["stop"][:-1]).all(), "a rank does one thing at a time"
        assert own["start"][0] < 1.0
    assert trace.spans["start"].min() == 0.0
    made = np.zeros_like(trace.seconds)
    np.add.at(made, (trace.spans["rank"], trace.spans["kind"]), trace.spans["stop"] - trace.spans["start"])
    np.testing.assert_allclose(made, trace.seconds, rtol=1e-9, atol=1e-9)
    learnt = trace.spans[trace.spans["kind"] == KINDS.index("update")]
    batches = {(int(span["layer"]), int(span["epoch"]), int(span["batch"])) for span in learnt if span["batch"] >= 0}
    assert batches == {(k, epoch, batch) for k in range(3) for epoch in range(3) for batch in range(29)}
    assert set(learnt["chapter"].tolist()) == {0, 1, 2}
    assert set(learnt["stream"].tolist()) <= {STREAMS.index("joint"), STREAMS.index("train"), 255}


def test_sums_are_those_of_the_metrics(traced: Path) -> None:
    """Of all until the last report; waiting for reports, which have no layer, is not counted there."""
    trace, told = Trace.read(traced), records(traced)
    for rank, own in enumerate(per_rank(trace)):
        waiting, computing, elapsed = (
            sum(record["ranks"][rank][name] for record in told) for name in ("waiting", "computing", "seconds")
        )
        own = own[own["stop"] <= own["start"][0] + elapsed + 1e-4]
        seconds = {kind: float((own["stop"] - own["start"])[own["kind"] == k].sum()) for k, kind in enumerate(KINDS)}
        for_messages = own[(own["kind"] == WAIT) & (own["layer"] >= 0)]
        assert waiting == pytest.approx(float((for_messages["stop"] - for_messages["start"]).sum()), abs=1e-3)
        least = sum(seconds[kind] for kind in ("forward", "sums", "update", "head", "input", "evaluate", "negatives"))
        assert least - 1e-3 <= computing <= least + seconds["save"] + seconds["other"] + 1e-3


def test_messages_come_after_they_were_sent(traced: Path) -> None:
    trace = Trace.read(traced)
    messages = trace.messages
    assert len(messages) == trace.sent[:, 0].sum() and messages["bytes"].sum() == trace.sent[:, 1].sum() > 0
    assert (messages["received"] >= messages["sent"]).all() and (messages["source"] != messages["target"]).all()
    assert PAYLOADS.index("activations") in messages["payload"]


def test_perfetto_can_read_it(traced: Path) -> None:
    document = json.loads((traced / "trace.json").read_text())
    assert len(document["traceEvents"]) > 1000
    small = Trace.read(traced)
    early = small.spans[small.spans["start"] < 0.05], small.messages[small.messages["sent"] < 0.05]
    check(Trace(*early, small.hosts, small.owns).chrome())
    arrows = {"s": 0, "f": 0}
    for event in document["traceEvents"]:
        if event["ph"] in arrows:
            arrows[event["ph"]] += 1
    assert arrows["s"] == arrows["f"] == len(small.messages), "every message has its arrow"


def test_the_weights_do_not_know_of_it(traced: Path, train_once: Callable[..., Path]) -> None:
    schedule = json.loads((traced / "environment.json").read_text())["command"][-1]
    alone = train_once(f"alone-{traced.name}", 1, *THREE, "--set", schedule)
    found, expected = arrays(traced), arrays(alone)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert_array_equal(found[name], array, name)


def test_a_long_run_keeps_its_beginning_and_its_end(run: Run, tmp_path: Path) -> None:
    few = "import sys; from ffmpi.runtime import recorder; recorder.EACH = 500; from ffmpi.__main__ import main; main()"
    done = run(2, "-c", few, "train", DIGITS, "--run", tmp_path / "run", "--trace", *THREE)
    assert done.returncode == 0, done.stderr
    assert "trace.json: what each rank did when, for ui.perfetto.dev" in done.stderr
    trace, told = Trace.read(tmp_path / "run"), records(tmp_path / "run")
    assert not trace.complete and (trace.left_out > 100).all()
    for rank, own in enumerate(per_rank(trace)):
        (gap,) = np.flatnonzero(own["start"][1:] > own["stop"][:-1] + 1e-9)
        assert len(own) == 1000 and gap == 499
        assert trace.gaps[rank].tolist() == [own["stop"][gap], own["start"][gap + 1]]
        assert own["epoch"].max() == 2 and own["chapter"][0] in (-1, 0)
        elapsed = sum(record["ranks"][rank]["seconds"] for record in told)
        assert elapsed <= trace.seconds[rank].sum() + 0.01, "the sums are those of all"
    document = json.loads((tmp_path / "run" / "trace.json").read_text())
    assert sum("steps left out" in event["name"] for event in document["traceEvents"]) == 2


def test_a_run_that_is_stopped_and_resumed_leaves_two_traces(run: Run, ffmpi: Run, tmp_path: Path) -> None:
    path, stopped = tmp_path / "run", KILLED.replace("SIGKILL", "SIGTERM")
    done = run(2, "-c", stopped, 1, "train", DIGITS, "--run", path, "--trace", *THREE)
    assert done.returncode == 75, done.stderr
    first = Trace.read(path / "trace.h5")
    assert len(first.spans) > 500 and "broken off" in first.note and "left nothing" not in first.note
    assert json.loads((path / "trace.json").read_text())["otherData"]["note"] == first.note
    assert not left_in(path)
    saved = chapters_saved(path)
    ffmpi(2, "resume", path, "--trace")
    assert (path / "trace-1.json").exists()
    assert_array_equal(Trace.read(path / "trace-1.h5").spans, first.spans)
    second = Trace.read(path)
    chapters = second.spans["chapter"][second.spans["kind"] == KINDS.index("update")]
    assert (chapters.min(), chapters.max()) == (saved, 2) and not second.note
    ffmpi(2, "resume", path, "--trace")  # there is nothing left to do, and no trace of that
    assert_array_equal(Trace.read(path).spans, second.spans)
    assert not (path / "trace-2.h5").exists()


def test_a_rank_that_dies_leaves_what_there_was_at_the_last_checkpoint(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run"
    done = run(2, "-c", KILLED, 1, "train", DIGITS, "--run", path, "--trace", *THREE)
    assert done.returncode != 0 and not (path / "trace.h5").exists()
    trace = Trace.read(path)
    assert trace.ranks == 2 and len(trace.spans) > 200 and trace.note
    assert (trace.spans["kind"] == KINDS.index("update")).any()


def test_clocks_are_compared_by_messages(run: Run, tmp_path: Path) -> None:
    """Those of rank 1 and 2, which is on the host of rank 1, are ahead and too fast."""
    job = tmp_path / "job.py"
    job.write_text(
        textwrap.dedent(
            """
            import time
            from mpi4py import MPI
            from ffmpi.runtime.clocks import compare
            comm = MPI.COMM_WORLD

            def clock():
                now = time.perf_counter()
                return now if comm.rank == 0 else 500 + 1.001 * now

            own, offset, error = compare(comm, clock, "a" if comm.rank == 0 else "b")
            found = comm.gather((offset - (own - 500) / 1.001 + own, error, compare(comm, clock, str(comm.rank))[1]))
            if comm.rank == 0:
                wrong, errors, others = zip(*found)
                assert found[0][1] == 0 and 0 < errors[1] == errors[2] < 0.1, found
                assert abs(wrong[1]) <= errors[1] and abs(wrong[2]) <= errors[2], found
                assert others[1] != 0 != others[2], found
                assert compare is not None
                print("compared")
            """
        )
    )
    done = run(3, job)
    assert done.stdout == "compared\n", done.stderr
