"""Warnings: one line, on one rank, once."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from ffmpi import errors


def test_a_warning_is_one_line_on_one_rank(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    monkeypatch.setattr(errors, "launched_rank", lambda: 1)
    errors.warn("layer 2 is dead")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(errors, "launched_rank", lambda: 0)
    errors.warn("layer 2 is dead")
    errors.warn("layer 2 is dead")
    errors.warn("layer 3 is dead")
    expected = "ffmpi: warning: layer 2 is dead\nffmpi: warning: layer 3 is dead\n"
    assert capsys.readouterr() == ("", expected)
    full = SimpleNamespace(write=refuse, flush=refuse)
    monkeypatch.setattr(sys, "stderr", full)
    errors.warn("nobody reads this")


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")
