"""Metrics as TensorBoard's event files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ffmpi.errors import UserError
from ffmpi.run.tensorboard import EventFiles, check, scalars


def record(epoch: int) -> dict[str, object]:
    rank = {"seconds": 1.0, "gflops": 4.0, "waiting_share": 0.5, "peak_bytes": 1e6}
    return {
        "epoch": epoch, "samples_per_second": 10.0, "layers": [{"loss": 0.5 / epoch}], "head": {"loss": 0.25},
        "accuracy": {"goodness": 80.0 + epoch}, "validation": {"softmax": 70.0}, "ranks": [rank, rank | {"seconds": 0}],
    }  # fmt: skip


def test_a_resumed_run_forgets_what_it_measures_again(tmp_path: Path) -> None:
    """By the mark that TensorBoard looks for, in a file that it reads last."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    from tensorboardX.record_writer import masked_crc32c

    directory = tmp_path / "tensorboard"
    for first, epochs in ((0, (1, 2, 3)), (2, (3, 4))):
        files = EventFiles(directory, first)
        for epoch in epochs:
            files.chapter(record(epoch))
        files.close()
    before, after = sorted(directory.iterdir())
    assert before.name.endswith(".00000000") and after.name.endswith(".00000002")
    content, place, events = after.read_bytes(), 0, []
    while place < len(content):
        length = int.from_bytes(content[place : place + 8], "little")
        data = content[place + 12 : place + 12 + length]
        assert int.from_bytes(content[place + 12 + length : place + 16 + length], "little") == masked_crc32c(data)
        events.append(event_pb2.Event.FromString(data))
        place += 16 + length
    assert events[1].session_log.status == event_pb2.SessionLog.START and events[1].step == 3
    third = {value.tag: value.simple_value for event in events if event.step == 3 for value in event.summary.value}
    assert third == {
        "samples_per_second": 10.0, "validation_accuracy/softmax": 70.0, "test_accuracy/goodness": 83.0,
        "loss/layer_1": pytest.approx(0.5 / 3), "loss/head": 0.25, "gflops/rank_0": 4.0, "waiting_share/rank_0": 0.5,
        "peak_bytes/rank_0": 1e6,
    }  # fmt: skip


def test_of_many_ranks_their_hosts_are_written() -> None:
    row = {"seconds": 1.0, "gflops": 40.0, "waiting_share": 0.5, "peak_bytes": 1e7, "host": "node7", "ranks": 20}
    found = dict(scalars(record(1) | {"ranks": [row]}))
    assert found["gflops/node7"] == 40.0 and not [name for name in found if "rank" in name]


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: cannot be written to"):
        EventFiles(tmp_path / "file", 0)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match="--tensorboard: needs tensorboardX; expected it installed by pip install"):
        check()
