"""Timelines: what is drawn is what the trace has, as boxes or as shares of the time, of the part that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ffmpi.cli import app
from ffmpi.errors import UserError
from ffmpi.plots import style, timeline
from ffmpi.plots.window import BESIDE, Window, window_of
from ffmpi.run.trace import KINDS, MESSAGE, SPAN, SPLITS, STREAMS, Trace

pytest.importorskip("matplotlib")


def span(rank: int, kind: str, start: float, stop: float, layer: int = -1, **more: Any) -> np.ndarray:
    made = np.zeros(1, SPAN)
    made["rank"], made["kind"], made["layer"], made["start"], made["stop"] = rank, KINDS.index(kind), layer, start, stop
    made["stream"] = STREAMS.index("joint")
    for name, value in more.items():
        made[name] = value
    return made


def trace(*spans: np.ndarray, messages: list[tuple[Any, ...]] | None = None, **more: Any) -> Trace:
    every = np.concatenate(spans)
    ranks = int(every["rank"].max()) + 1
    return Trace(every, np.array(messages or [], MESSAGE), ["here"] * ranks, ["layers"] * ranks, **more)


def two_ranks(**more: Any) -> Trace:
    """Return four batches of two epochs, each a forward and an update of a second on either rank, who wait between."""
    found = []
    for epoch in range(2):
        for batch in range(2):
            for rank in range(2):
                at, which = 8.0 * epoch + 4 * batch + rank, {"epoch": epoch, "batch": batch}
                found += [
                    span(rank, "forward", at, at + 1, rank, **which),
                    span(rank, "wait", at + 1, at + 2),
                    span(rank, "update", at + 2, at + 3, rank, **which),
                ]
    order = np.lexsort([np.concatenate(found)["start"]])
    return trace(np.concatenate(found)[order], messages=[(0, 1, 0, 0, 8, 1.0, 2.5), (0, 1, 0, 0, 8, 5.0, 5.5)], **more)


def test_boxes_are_the_steps_that_are_wide_enough() -> None:
    window = window_of(two_ranks(), 0.5, 5.0)
    purposes = window.purposes()
    assert [name for name, _ in purposes[4:]] == list(BESIDE)
    found = [(box.rank, purposes[box.purpose], box.start, box.stop) for box in window.boxes(0.1)]
    assert found == [
        (0, ("forward", 0), 0.0, 0.5), (0, ("update", 0), 1.5, 2.5), (0, ("forward", 0), 3.5, 4.5),
        (1, ("forward", 1), 0.5, 1.5), (1, ("update", 1), 2.5, 3.5),
    ]  # fmt: skip
    assert window.busy().tolist() == pytest.approx([2.5 / 4.5, 2 / 4.5])


def test_what_is_too_narrow_is_drawn_as_what_takes_most_of_it() -> None:
    """Ten times a forward of 0.6 and an update of 0.3, then something long, then one that is far from all others."""
    small = [
        span(0, kind, n + begin, n + end, 0)
        for n in range(10)
        for kind, begin, end in (("forward", 0, 0.6), ("update", 0.6, 0.9), ("wait", 0.9, 1.0))
    ]
    window = window_of(trace(*small, span(0, "update", 10, 20, 0), span(0, "head", 40, 40.5), span(0, "save", 50, 60)))
    found = [(*window.purposes()[box.purpose], box.start, box.stop) for box in window.boxes(5.0)]
    assert found[0][:3] == ("forward", 0, 0.0) and found[0][3] == pytest.approx(10.0)
    assert found[1:] == [("update", 0, 10.0, 20.0), ("head", -1, 40.0, 40.5), ("saving", -1, 50.0, 60.0)]


def test_shares_are_those_of_the_time() -> None:
    window = window_of(two_ranks(), stop=15.0)
    shares = window.shares(5)  # of three seconds each
    assert shares.shape == (2, 4 + len(BESIDE), 5)
    assert shares[0, 0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 1 / 3]), "forwards of rank 0 at 0, 4, 8, 12"
    assert (shares.sum(axis=1) <= 1 + 1e-12).all()
    whole = window.shares(1)
    assert whole[1, 2] == pytest.approx(4 / 15) and whole[1, 3] == pytest.approx(3 / 15) and not whole[1, :2].any()


def test_steps_are_told_apart_by_what_they_are_for() -> None:
    tests = {"split": SPLITS.index("test"), "stream": STREAMS.index("softmax")}
    window = window_of(
        trace(
            span(0, "input", 0, 1, 0), span(0, "sums", 1, 2, 1), span(0, "head", 2, 3),
            span(0, "forward", 3, 4, 1, **tests), span(0, "evaluate", 4, 5),
            span(0, "negatives", 5, 6), span(0, "save", 6, 7), span(0, "send", 7, 8, 0),
            span(0, "send", 8, 9, 1, **tests), span(0, "wait", 9, 10, 1, **tests), span(0, "other", 10, 11),
        )
    )  # fmt: skip
    found = [window.purposes()[box.purpose] for box in window.boxes(0.5)]
    expected = [("forward", 0), ("update", 1), ("head", -1), ("scoring", -1), ("saving", -1)]
    assert found == [*expected, *[("sending, other", -1)] * 2], "what is the same and touches is one box"


def test_a_window_is_chosen_by_seconds_or_by_batches() -> None:
    made = two_ranks()
    for given, expected in (
        ({}, (0, 16)), ({"start": 3.0}, (3, 16)), ({"stop": 2.0}, (0, 2)), ({"stop": 99.0}, (0, 16)),
        ({"epochs": range(1, 2)}, (8, 16)), ({"batches": range(1, 2)}, (4, 8)),
        ({"epochs": range(1, 2), "batches": range(1)}, (8, 12)), ({"epochs": range(2), "batches": range(1)}, (0, 12)),
    ):  # fmt: skip
        window = window_of(made, **given)
        assert (window.start, window.stop) == expected, given
    assert len(window_of(made, stop=3.0).messages()) == 1 and len(window_of(made, start=1.5, stop=5.2).messages()) == 0
    long = two_ranks(left_out=np.array([5, 0]), gaps=np.array([[5.0, 7.0], [0, 0]]))
    assert window_of(long).stop == 5.0, "of a long run its beginning"
    assert window_of(long, 4.0, 6.0).gaps() == [(0, 1.0, 2.0)]
    with pytest.raises(UserError, match="from 20 s to 16 s: the trace has nothing there; expected times up to 16 s"):
        window_of(made, 20.0)
    for given in ({"epochs": range(2, 3)}, {"batches": range(1, 3)}):
        with pytest.raises(UserError, match=r"no such .* expected some of 1, 2 of epoch 1, or 1, 2 of epoch 2"):
            window_of(made, **given)


def drawn(*windows: Window, width: float = style.COLUMN) -> Any:
    """Return the figure that is drawn."""
    found = []

    def keep(figure: Any) -> None:
        timeline.draw(figure, windows)
        found.append(figure)

    style.rendered(keep, "png", width)
    return found[0]


def test_planned_stands_above_measured_on_one_scale() -> None:
    short = two_ranks()
    figure = drawn(
        window_of(Trace(short.spans, short.messages, short.hosts, short.owns, True), stop=8.0), window_of(short)
    )
    above, below = figure.axes
    assert [axes.get_title("left") for axes in (above, below)] == ["planned: 8 s", "measured: 16 s"]
    assert above.get_xlim() == below.get_xlim() == (0, 16) and below.get_xlabel() == "time (s)"
    assert [text.get_text() for text in below.texts if "%" in text.get_text()] == ["50 %", "50 %"]
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words[:4] == ["layer 1", "layer 2", "forward", "update"] and words[-2:] == ["waiting", "message"]


def test_narrow_steps_are_shares_and_many_ranks_are_pixels(tmp_path: Path) -> None:
    few = np.concatenate([span(0, "forward" if n % 2 else "update", n, n + 1, 0) for n in range(4000)])
    axes = drawn(window_of(trace(few))).axes[0]
    tops = [path.get_extents().y0 for each in axes.collections for path in each.get_paths()]
    assert len(axes.collections) == 2 and min(tops) == pytest.approx(-0.41), "the bar is full"
    many = trace(*[span(rank, "update", 0.1 * rank, 0.1 * rank + 1, rank % 3) for rank in range(64)])
    style.save(lambda figure: timeline.draw(figure, [window_of(many)]), str(tmp_path / "many.svg"))
    found = (tmp_path / "many.svg").read_text()
    assert "<image" in found and len(found) < 200_000


def test_the_command(tmp_path: Path) -> None:
    two_ranks().save(tmp_path / "trace.h5")
    out, run = CliRunner(), str(tmp_path)
    for name, first in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.json", b'{"traceEvents"')):
        more = ["--plan", str(tmp_path / "trace.h5"), "--epochs", "1-2", "--batches", "2"] if name == "a.png" else []
        done = out.invoke(app, ["plot", "timeline", run, "-o", str(tmp_path / name), *more])
        assert done.exit_code == 0, done.output
        assert (tmp_path / name).read_bytes().startswith(first)
    assert json.loads((tmp_path / "a.json").read_text()) == two_ranks().chrome()
    for wrong, said in (
        (["--epochs", "0"], "'0': expected a number from 1 on, or two such as 5-8"),
        (["--batches", "5-3"], "'5-3': expected"), (["--batches", "x"], "'x': expected"),
    ):  # fmt: skip
        done = out.invoke(app, ["plot", "timeline", run, "-o", str(tmp_path / "b.png"), *wrong])
        assert done.exit_code == 2 and said in done.output
    done = out.invoke(app, ["plot", "timeline", run, "-o", str(tmp_path / "b.png"), "--from", "1", "--epochs", "1"])
    assert isinstance(done.exception, UserError) and "--from, --to: expected no --epochs" in str(done.exception)
    done = out.invoke(app, ["plot", "timeline", run, "-o", str(tmp_path / "b.txt")])
    assert isinstance(done.exception, UserError) and "expected a picture's name" in str(done.exception)
