"""What is printed: whole numbers in narrow terminals, ranges, and an output that cannot be written to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from ffmpi import config, errors
from ffmpi.cli import app, options
from ffmpi.commands.table import table
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.errors import ranges, why_missing
from ffmpi.run import progress
from ffmpi.runtime.sizes import spec_of
from ffmpi.schedule import schedule_of
from tests.helpers import ROOT
from tests.unit.test_table import make


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], ""), ([3], "3"), ([1, 2], "1, 2"), ([1, 2, 3], "1 to 3"), ([1, 3, 4, 6, 7, 8, 9], "1, 3, 4, 6 to 9"),
        (range(1, 201), "1 to 200"),
    ],
)  # fmt: skip
def test_ranges(numbers: list[int], expected: str) -> None:
    assert ranges(numbers) == expected


def numbers(*directories: Path, width: int, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], str]:
    """Return all numbers that `table` prints for a terminal or, with a width of 0, into a pipe, and its text."""
    with pytest.MonkeyPatch.context() as context:
        console = (lambda **options: Console(**options, force_terminal=True, width=width)) if width else Console
        context.setattr("ffmpi.commands.table.Console", console)
        table([str(directory) for directory in directories], as_json=False, as_markdown=False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert not width or max(map(len, text.splitlines())) <= width
    return sorted(re.findall(r"\d+(?:\.\d+)?", text)), text


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_narrow_table_cuts_no_number(width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directories = [
        make(tmp_path / "run-with-a-long-name", 100, "train.epochs=100", "seed=1234567"),
        make(tmp_path / "paper", 100, "preset=paper", "data.name=mnist", "schedule.name=all-layers"),
    ]
    whole, text = numbers(*directories, width=0, capsys=capsys)
    assert "…" not in text and len(text.partition("\n\n")[0].splitlines()) == 4
    narrow, text = numbers(*directories, width=width, capsys=capsys)
    assert narrow == whole and "…" not in text and "1234567" in narrow


def test_a_long_name_is_whole_in_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = make(tmp_path / ("x" * 240), 1, "train.epochs=1")
    _, text = numbers(directory, width=0, capsys=capsys)
    assert "x" * 240 + ", softmax" in text


def told(layers: int, ranks: int, *, width: int = 80) -> progress.Progress:
    dataset = DatasetInfo((8, 8), ("a", "b"), 300, 100)
    settled = resolved(config.parse("", "test", [f"network.layers={[20] * layers}", "train.epochs=2"]), dataset)
    schedule = schedule_of("pipeline", spec_of(settled, dataset, ranks))
    made = progress.Progress(settled, dataset, schedule, ["node"] * ranks, progress.Output())
    made.console.width = width
    return made


def record(layers: int, ranks: int) -> dict[str, object]:
    layer = {"loss": 0.5, "positive_goodness": 2.0, "negative_goodness": 1.0}
    rank = {"seconds": 12345.678, "computing": 12345.678, "waiting": 1234.567, "gflops": 1234.0, "waiting_share": 0.5}
    rank |= {"peak_bytes": 123456 * 2.0**20, "priced_bytes": 234567 * 2.0**20}
    return {
        "epoch": 1, "seconds": 1.0, "samples_per_second": 10.0, "layers": [layer] * layers, "ranks": [rank] * ranks,
        "accuracy": {"softmax": 90.0},
    }  # fmt: skip


def test_two_hundred_layers(capsys: pytest.CaptureFixture[str]) -> None:
    display = told(200, 2)
    display.start(Path("run"), 0)
    display.chapter(record(200, 2), [])
    text = capsys.readouterr().out
    first, last = (display.who.duties([rank]) for rank in range(2))
    assert re.fullmatch(r"layers 1 to \d+ \+ part of the head", first)
    assert re.fullmatch(r"layers \d+ to 200 \+ part of the head", last)
    assert "layers 200 x 20" in text and "loss 0.500 to 0.500 in layers 1 to 200" in text
    assert max(map(len, text.splitlines())) < 300


def test_the_last_table_cuts_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    display = told(200, 2)
    display.console = Console(highlight=False, force_terminal=True, width=80)
    display.chapter(record(200, 2), [])
    capsys.readouterr()
    display.finish(SimpleNamespace(checkpoint=Path("run/checkpoint.h5")))
    text = capsys.readouterr().out
    assert text.count("12345.68 s") == text.count("1234.57 s") == text.count("123456 MB") == 2 and "…" not in text


def test_a_run_goes_on_without_its_output(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    monkeypatch.setattr(progress, "silence", lambda: None)
    display = told(2, 1)
    with open("/dev/full", "w") as full:
        display.console = Console(file=full)
        for _ in range(2):
            display.chapter(record(2, 1), [])
        full_descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(full_descriptor, full.fileno())
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "No space left on device); the run continues" in err


@pytest.mark.parametrize(
    ("command", "output", "status", "expected"),
    [
        ("data", ">/dev/full", 2, "ffmpi: the output cannot be written (No space left on device)"),
        ("data", ">&- 2>&- <&-", 0, ""),
        ("--help", "| :", 0, ""),
    ],
)
def test_an_output_that_cannot_be_written_to(command: str, output: str, status: int, expected: str) -> None:
    line = f"{sys.executable} -m ffmpi {command} {output}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=100, cwd=ROOT / "tests")
    assert done.returncode == status and done.stderr.startswith(expected), done.stderr
    assert done.stderr.count("\n") == bool(expected)


def test_home_in_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert options.PLACE.convert("~/run", None, None) == "/home/ann/run"
    for command in (app.commands[name] for name in ("train", "resume", "evaluate", "predict", "info", "table", "data")):
        for parameter in command.params:
            if parameter.name in ("config", "run", "runs", "checkpoint", "path") or (
                command.name == "predict" and parameter.name == "images"
            ):
                assert parameter.type is options.PLACE, (command.name, parameter.name)


def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    assert why_missing(tmp_path) == "" and why_missing(tmp_path / "none") == "no such file"
    assert "null" in why_missing("a\0b")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        locked = Path(folder, "locked")
        locked.mkdir()
        (locked / "checkpoint.h5").write_text("")
        (locked / "config.toml").write_text("")
        locked.chmod(0)
        # Root may read everything; nobody may not even import, so that comes first.
        program = (
            "import os, sys\nfrom ffmpi.commands import info, table\nfrom ffmpi.__main__ import main\n"
            f"if os.geteuid() == 0:\n    os.setuid(65534)\nsys.argv[1:] = ['info', '{locked}/checkpoint.h5']\nmain()"
        )
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        locked.chmod(0o755)
    assert done.returncode == 2 and "checkpoint.h5: cannot be opened (Permission denied)" in done.stderr, done.stderr
