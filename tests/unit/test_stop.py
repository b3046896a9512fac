"""Signals and waiting within one process; tests/robustness has the jobs."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import click
import pytest

from ffmpi import __main__
from ffmpi.runtime import stop
from ffmpi.runtime.control import Waiting


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "signals", [])
    monkeypatch.setattr(stop, "_deferred", True)


def signalled() -> None:
    with stop.raising():
        with stop.raising(False):
            stop._handle(signal.SIGTERM, None)
            assert stop.noted() == signal.SIGTERM
        stop.check()


def signalled_among_messages() -> None:
    with stop.raising():
        stop.defer()
        stop._handle(signal.SIGUSR1, None)
        stop._handle(signal.SIGTERM, None)
        stop.check()


def signalled_before() -> None:
    stop.note(signal.SIGINT)
    with stop.raising():
        pytest.fail("what was noted before is raised at once")


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (signalled, "stopped by SIGTERM"),
        (signalled_among_messages, "stopped by SIGUSR1"),
        (signalled_before, "interrupted by Ctrl-C"),
    ],
)
def test_a_signal_is_raised_only_where_it_may_be(block: Callable[[], None], words: str) -> None:
    with pytest.raises(stop.Stopped) as caught:
        block()
    assert stop.describe(caught.value.number) == words


@pytest.mark.parametrize("lost", [SystemError("a result with an exception set"), KeyError(1), stop.Stopped(2)])
def test_whatever_comes_of_a_signal_is_advised_on(lost: BaseException) -> None:
    stop.note(signal.SIGINT)
    with pytest.raises(stop.Stopped) as caught, stop.advising(lambda: "; continue"):
        raise lost
    assert (caught.value.number, caught.value.advice) == (signal.SIGINT, "; continue")


@pytest.mark.parametrize(("error", "signalled"), [(SystemExit(2), True), (KeyError(1), False)])
def test_an_error_that_all_ranks_know_of_stays_one(error: BaseException, signalled: bool) -> None:
    if signalled:
        stop.note(signal.SIGINT)
    with pytest.raises(type(error)), stop.advising(lambda: "; continue"):
        raise error


def test_a_process_that_was_suspended_has_not_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    waiting = Waiting(10.0)
    now += 3600
    waiting.nap()
    assert 0 < waiting.silence <= 1 and not waiting.over
    for _ in range(20):
        now += 0.9
        waiting.nap()
    assert waiting.over


def test_an_interrupt_outside_of_mpi_has_its_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**options: object) -> None:
        raise click.Abort

    monkeypatch.setattr(__main__, "app", interrupted)
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 130 and capsys.readouterr().err == "ffmpi: interrupted by Ctrl-C\n"
