"""What rank 0 reports during a run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ffmpi import config, errors
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.data.scaling import PixelScaling
from ffmpi.run import progress
from ffmpi.run.health import Finding
from ffmpi.runtime.sizes import spec_of
from ffmpi.schedule import schedule_of
from ffmpi.schedule.steps import Batch, Update

SETTINGS = config.parse("", "test", ["train.epochs=9", "train.chapters=1", "schedule.name=sequential"])
DATASET = DatasetInfo((8, 8), ("a", "b"), 300, 100)


def test_a_long_chapter_says_where_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log, which has no live line, a line comes when nothing else has for five minutes."""
    now = 0.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    told = progress.Progress(
        SETTINGS, DATASET, schedule_of("sequential", spec_of(SETTINGS, DATASET, 1)), ["host"], False
    )
    for minute in range(12):
        now = 60.0 * minute
        told.update(Update(1, Batch("train", minute), 4))
    expected = [f"epoch 5/9, layer 2, batch {batch}" for batch in (6, 11)]
    assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], "pixels less 0, divided by 1; the label, of value 1, covers the first 2 of 64 (3.1 %)"),
        (
            ["data.mean=0.5", "data.std=3", "data.label=append", "data.label_value=2.5"],
            "pixels less 0.5, divided by 3; the label, of value 2.5, stands beside them in 2 more",
        ),
        (["rule.name=local-softmax"], "pixels less 0, divided by 1; no label"),
        (
            ["data.standardise=pixel"],
            "pixels less 0.1 to 0.3, divided by 2, measured on the training samples for each pixel; "
            "the label, of value 4, covers the first 2 of 64 (3.1 %)",
        ),
    ],
)
def test_first_lines_say_what_the_inputs_are(settings: list[str], expected: str) -> None:
    scaling = PixelScaling(np.linspace(0.1, 0.3, 64), np.full(64, 2.0), np.array([320.0]))
    given = config.parse("", "test", settings)
    measured = scaling if given.data.standardise == "pixel" else None
    dataset = DatasetInfo((8, 8), ("a", "b"), 300, 100, scaling=measured)
    assert progress.inputs_text(resolved(given, dataset), dataset) == expected


def test_each_warning_comes_once_and_many_are_summed_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    told = progress.Progress(
        SETTINGS, DATASET, schedule_of("sequential", spec_of(SETTINGS, DATASET, 1)), ["host"], True
    )
    dead = [Finding("dead", f"layer {layer}", "zero", "less") for layer in range(1, 101)]
    for epoch, found in ((1, dead[:1]), (2, dead[:2]), (3, dead)):
        record = {"epoch": epoch, "seconds": 1.0, "ranks": []}
        told.chapter(record, found)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        f"ffmpi: warning: epoch {n}, layer {n}: zero; likely cure: less" for n in (1, 2)
    ]  # fmt: skip
    assert len(lines) == 2 + 8 + 1 and lines[-1] == "ffmpi: warning: epoch 3, 90 more warnings are in metrics.jsonl"
