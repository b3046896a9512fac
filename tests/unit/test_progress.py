"""What rank 0 tells while a run goes on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ffmpi import config, progress
from ffmpi.problem import Problem, work_of
from ffmpi.schedule import schedule_of
from ffmpi.schedule.steps import Batch, Update

SETTINGS = config.parse("", "test", ["train.epochs=9", "train.chapters=1", "schedule.name=sequential"])
PROBLEM = Problem((8, 8), ("a", "b"), 300, 100)


def test_a_long_chapter_says_where_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log, which has no live line, a line comes when nothing else has for five minutes."""
    now = 0.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    told = progress.Progress(
        SETTINGS, PROBLEM, schedule_of("sequential", work_of(SETTINGS, PROBLEM, 1)), ["host"], False
    )
    for minute in range(12):
        now = 60.0 * minute
        told.update(Update(1, Batch("lesson", minute), 4))
    expected = [f"epoch 5/9, layer 2, batch {batch}" for batch in (6, 11)]
    assert capsys.readouterr().out.splitlines() == expected
