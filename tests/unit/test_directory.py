"""The run directory: what a kill or a full disk leaves of it."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from ffmpi import config, errors
from ffmpi.data.info import DatasetInfo
from ffmpi.errors import UserError
from ffmpi.run.directory import RunDirectory
from ffmpi.run.writer import Writer

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
    run.resume(2, SETTINGS, {"ranks": 3})
    assert [record["epoch"] for record in run.records()] == [1, 2]
    assert [leg["ranks"] for leg in (run.facts(), *run.facts()["continued"])] == [2, 3]
    assert not list(run.path.glob("*.partial"))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "[" * 100_000, '{"continued": [1]}', '{"continued": null}', '{"continued": 3}']
)
def test_going_on_with_a_damaged_environment(run: RunDirectory, content: str) -> None:
    (run.path / "environment.json").write_text(content)
    run.resume(3, SETTINGS, {"ranks": 3})
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
def test_a_damaged_line_is_left_out_and_later_ones_stay(
    run: RunDirectory, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    first, *rest = run.metrics.read_text().splitlines(keepends=True)
    run.metrics.write_text("".join([first, line + "\n", *rest]))
    assert [record["epoch"] for record in run.records()] == [1, 2, 3]
    assert capsys.readouterr().err == (f"ffmpi: warning: {run.metrics}: line 2 cannot be read and will be left out\n")
    run.metrics.write_text("".join([first, *rest, line[:-1]]))  # as a kill leaves it
    assert [record["epoch"] for record in run.records()] == [1, 2, 3]
    assert capsys.readouterr().err == ""
    run.metrics.write_text("".join([first, *rest, first, first, rest[0]]))  # two who wrote in turn
    assert [record["epoch"] for record in run.records()] == [1, 2, 3]
    assert "lines 4, 5 cannot be read" in capsys.readouterr().err


def test_a_full_disk_costs_a_sentence(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name: file.read_bytes() for file in run.path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"No space left.*ffmpi resume"):
        run.resume(1, SETTINGS, {})
    assert {name: (run.path / name).read_bytes() for name in before} == before
    run.metrics.unlink()
    run.metrics.mkdir()
    with pytest.raises(UserError, match="cannot be written to"):
        run.append({})


def test_a_run_that_was_deleted_meanwhile(run: RunDirectory) -> None:
    shutil.rmtree(run.path)
    with pytest.raises(UserError, match="was deleted or moved away while the run wrote there"):
        run.append({})
    with pytest.raises(UserError, match="its directory was deleted, or moved away, while"):
        Writer(run.checkpoint, SETTINGS, DatasetInfo((2, 2), ("a", "b"), 3, 3), 1)


def test_what_cannot_be_continued(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        run.expect_checkpoint()
    assert str(caught.value).endswith(
        f"nothing to continue; start it again with 'ffmpi train {run.path}/config.toml --run {run.path}'"
    )
    with pytest.raises(UserError, match=r"none: no such run directory \(no such file\)"):
        RunDirectory(tmp_path / "none").expect_checkpoint()
    with pytest.raises(UserError, match=r"neither checkpoint\.h5 nor config\.toml is there"):
        RunDirectory(tmp_path).expect_checkpoint()
    run.checkpoint.touch()
    run.expect_checkpoint()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(UserError, match=r"no such run directory \(Permission denied\)"):
        run.expect_checkpoint()


def test_an_edited_configuration_is_told_of(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    run.compare(config.located(SETTINGS))
    assert capsys.readouterr().err == ""
    recipe = run.path / "config.toml"
    recipe.write_text(config.dump(config.parse("", "test", ["train.epochs=7", "schedule.threads=2"])))
    run.compare(SETTINGS)
    output = capsys.readouterr().err
    assert output.count("\n") == 1 and "train.epochs = 7 (100), schedule.threads = 2 (1); the run continues" in output
    recipe.write_text("train = ")
    run.compare(SETTINGS)
    assert (
        "not valid TOML" in (output := capsys.readouterr().err) and "continues with the configuration in its" in output
    )


def test_another_working_directory_finds_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settled = config.parse("", "test", ["data.name=mnist", "data.path=here/mnist"])
    directory = RunDirectory(tmp_path / "run")
    directory.create(settled, {})
    kept = config.read(str(tmp_path / "run" / "config.toml"))
    assert kept.data.path == str(tmp_path / "here" / "mnist") and settled.data.path == "here/mnist"
    with pytest.raises(UserError, match=r"its data.path is .*here/mnist, which is not there \(looked from"):
        config.check_places(kept, "run")
    (tmp_path / "here" / "mnist").mkdir(parents=True)
    config.check_places(kept, "run")
    config.check_places(SETTINGS, "run")  # digits need no path
