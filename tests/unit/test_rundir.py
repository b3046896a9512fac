"""The run directory: what a kill or a full disk leaves of it."""

from __future__ import annotations

import errno
import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from ffmpi import config
from ffmpi.errors import UserError
from ffmpi.rundir import RunDirectory

SETTINGS = config.parse("", "test", [])


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Return a run directory with three epochs."""
    directory = RunDirectory(tmp_path / "run")
    directory.create(SETTINGS, {"ranks": 2})
    for epoch in (1, 2, 3):
        directory.append({"epoch": epoch, "seconds": 1.0, "accuracy": {"softmax": 90.0}, "ranks": [{}, {}]})
    return directory


def test_a_recipe_is_not_overwritten(tmp_path: Path) -> None:
    recipe = tmp_path / "config.toml"
    recipe.write_text("# mine")
    with pytest.raises(UserError, match="was not left by a run"):
        RunDirectory(tmp_path).create(SETTINGS, {})
    assert [file.name for file in tmp_path.iterdir()] == ["config.toml"] and recipe.read_text() == "# mine"


def test_a_run_that_saved_nothing_may_begin_again(run: RunDirectory) -> None:
    again = RunDirectory(run.path)
    run._lock.close()
    again.create(SETTINGS, {"ranks": 3})
    assert again.records() == [] and again.facts()["ranks"] == 3


@pytest.mark.parametrize(("number", "fatal"), [(errno.ENOSYS, False), (errno.ENOLCK, False), (errno.EIO, True)])
def test_a_file_system_without_locks(number: int, fatal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError, match="cannot be locked") if fatal else nullcontext():
        RunDirectory(tmp_path).lock()


def test_going_on(run: RunDirectory) -> None:
    run.go_on(2, SETTINGS, {"ranks": 3})
    assert [record["epoch"] for record in run.records()] == [1, 2]
    assert [leg["ranks"] for leg in (run.facts(), *run.facts()["continued"])] == [2, 3]
    assert not list(run.path.glob("*.partial"))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "[" * 100_000, '{"continued": [1]}', '{"continued": null}', '{"continued": 3}']
)
def test_going_on_with_a_damaged_environment(run: RunDirectory, content: str) -> None:
    (run.path / "environment.json").write_text(content)
    run.go_on(3, SETTINGS, {"ranks": 3})
    assert [leg["ranks"] for leg in run.facts()["continued"]] == [3] and len(run.records()) == 3


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"epoch": 4, "seconds": 1.0, "accuracy": {}}',
        '{"epoch": null, "seconds": 1.0, "accuracy": {}, "ranks": []}',
        '{"epoch": 4, "seconds": 1.0, "accuracy": {"softmax": "x"}, "ranks": []}',
    ],
)
def test_lines_after_a_damaged_one_are_lost(run: RunDirectory, line: str) -> None:
    run.metrics.write_text(run.metrics.read_text() + line + "\n" + json.dumps(run.records()[0]) + "\n")
    assert [record["epoch"] for record in run.records()] == [1, 2, 3]


def test_a_full_disk_costs_a_sentence(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name: file.read_bytes() for file in run.path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"No space left.*ffmpi resume"):
        run.go_on(1, SETTINGS, {})
    assert {name: (run.path / name).read_bytes() for name in before} == before
    run.metrics.unlink()
    run.metrics.mkdir()
    with pytest.raises(UserError, match="cannot be written to"):
        run.append({})
