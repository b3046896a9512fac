"""A run as it is watched: on a terminal, also through the launcher's pipe, in a log, and by TensorBoard."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.conftest import OURS, Run, mpiexec_of
from tests.helpers import DIGITS, records

pytestmark = pytest.mark.mpi


def on_a_terminal(command: list[str], cwd: Path, until: re.Pattern[str], seconds: float = 60) -> tuple[str, str]:
    """Return what `command` prints on a terminal of 100 columns until that matches, and after Ctrl-C is typed there."""
    process, terminal = pty.fork()
    if process == 0:  # pragma: no cover
        os.chdir(cwd)
        os.execvpe(command[0], command, os.environ | OURS | {"TERM": "xterm", "COLUMNS": "", "LINES": ""})
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    parts, deadline = ["", ""], time.monotonic() + seconds
    with suppress(OSError):  # which says that the other end is closed
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.2)[0]:
                parts[-1 if parts[1] else 0] += os.read(terminal, 65536).decode(errors="replace")
            if not parts[1] and until.search(parts[0]):
                parts[1] = " "
                os.write(terminal, b"\x03")
    os.close(terminal)
    os.waitpid(process, 0)
    return parts[0], parts[1]


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_terminal_shows_what_each_rank_does(ranks: int, tmp_path: Path) -> None:
    launcher = [*mpiexec_of(sys.executable), "-n", str(ranks)] if ranks else []
    train = [sys.executable, "-m", "ffmpi", "train", str(DIGITS), "--run", "run", "--set", "train.epochs=5000"]
    shown = r"epoch \d+/5000, [\d:]+ left\s+rank +host +owns +epoch +batch +busy +GFLOP/s\s+0 .*/29 +\d+ % +\d+\s+"
    shown += r"1 .*/29 +\d+ % +\d+" if ranks else ""
    before, after = on_a_terminal([*launcher, *train], tmp_path, re.compile(shown))
    assert re.search(shown, before), before
    assert "\x1b[?25l" in before and "\x1b[?25h" in after, "the cursor is to be there again"
    assert "interrupted by Ctrl-C" in after


def test_a_log_says_it_in_lines_and_tensorboard_in_files(ffmpi: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    options = ["--set", "train.epochs=6", "--log-every", "0.01", "--tensorboard"]
    done = ffmpi(2, "train", DIGITS, "--run", "run", *options)
    busy = r"epoch \d/6, (?:epoch [\d -]+, )?batch [\w/ -]+, busy \d+ %(?: \d+ %)?, GFLOP/s \d+( \d+)?, [\d:]+ left"
    assert re.search(f"^{busy}$", done.stdout, re.MULTILINE), done.stdout
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    found = dict(scalars(file))
    last = records(tmp_path / "run")[-1]
    assert found["test_accuracy/softmax", 6] == pytest.approx(last["accuracy"]["softmax"])
    assert found["loss/layer_2", 6] == pytest.approx(last["layers"][1]["loss"])
    assert found["gflops/rank_1", 6] == pytest.approx(last["ranks"][1]["gflops"])
    assert {step for _, step in found} == set(range(1, 7))


def scalars(file: Path) -> Iterator[tuple[tuple[str, int], float]]:
    """Yield name, step and value of each number in an event file: its records have a length and two checksums."""
    from tensorboardX.proto.event_pb2 import Event

    content, place = file.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = Event.FromString(content[place + 12 : place + 12 + length])
        place += 16 + length
        yield from (((value.tag, event.step), value.simple_value) for value in event.summary.value)


def test_quiet_says_the_result(ffmpi: Run, tmp_path: Path) -> None:
    done = ffmpi(2, "train", DIGITS, "--run", "run", "--set", "train.epochs=2", "--quiet", "--trace")
    (line,) = done.stdout.splitlines()
    assert not done.stderr
    assert re.fullmatch(r"test accuracy [\d.]+ % by softmax, [\d.]+ % by goodness; [\d.]+ s of training; .*h5", line)
    done = ffmpi(2, "resume", "run", "--quiet", "--json")
    assert not done.stdout and not done.stderr
