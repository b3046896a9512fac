"""Which checkpoint is kept as the best on validation, from one save to the next and over a resume."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ffmpi import config
from ffmpi.data.info import DatasetInfo
from ffmpi.data.split import partition
from ffmpi.errors import UserError
from ffmpi.run.best import Best
from ffmpi.run.directory import RunDirectory
from ffmpi.run.writer import Writer

SETTINGS = config.parse("", "test", ["data.validation=9", "checkpoint.best=true", "train.epochs=10"])
DATASET = DatasetInfo((2, 2), ("cat", "dog"), 30, 10)


def record(epoch: int, **accuracies: float) -> dict[str, Any]:
    return {"epoch": epoch, "seconds": 1.0, "accuracy": {}, "ranks": [], "validation": accuracies}


def save(directory: RunDirectory, best: Best, epoch: int, before: str = "") -> str:
    writer = Writer(directory.checkpoint, SETTINGS, DATASET, epoch, before, best.takes(epoch))
    writer.create({"layers/0/weights": (2, 2)})
    writer.write("layers/0/weights", np.full((2, 2), epoch, np.float32))
    writer.commit()
    return writer.id


def kept(directory: RunDirectory) -> int:
    with h5py.File(directory.best) as file:
        assert file.attrs["chapter"] == file["layers/0/weights"][0, 0]
        return int(file.attrs["chapter"])


@pytest.mark.parametrize("links", [True, False])
def test_the_first_of_the_best_is_kept(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that are saved after they were measured, by the first method; also where files have one name only."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError()))
    directory = RunDirectory(tmp_path)
    best, identity = Best(directory, SETTINGS), ""
    assert "no checkpoint was kept" in str(best)
    softmax = {1: 50.0, 2: 70.0, 3: 70.0, 5: 60.0}
    for epoch in range(1, 6):
        found = record(epoch, **({"softmax": softmax[epoch]} if epoch in softmax else {}), goodness=10.0 * epoch)
        best.note(found)
        directory.append(found)
        identity = save(directory, best, epoch, identity)
    assert kept(directory) == 2 and best.epoch == 2
    assert str(best) == f"best validation accuracy 70.00 % by softmax, after epoch 2; {directory.best}"
    again = Best(directory, SETTINGS)
    assert (again.epoch, again.accuracy) == (2, 70.0)
    again.note(record(6, softmax=70.0))
    save(directory, again, 6, identity)
    assert kept(directory) == 2


def test_one_that_is_ahead_of_the_run_is_made_again(tmp_path: Path) -> None:
    """A kill between the two files leaves the best one of a chapter that the metrics will have again."""
    directory = RunDirectory(tmp_path)
    best = Best(directory, SETTINGS)
    best.note(record(3, softmax=90.0))
    identity = save(directory, best, 3)
    directory.metrics.write_text(json.dumps(record(2, softmax=80.0)) + "\n")
    again = Best(directory, SETTINGS)
    again.note(record(3, softmax=90.0))
    save(directory, again, 3, identity)
    assert kept(directory) == 3 and again.accuracy == 90.0


def test_partition() -> None:
    """Every sample is on one side; the draw decides, and neither the classes nor the number of others."""
    words = np.array([5, 1, 9, 3, 7, 0, 2, 8], np.uint64)

    def cut(value: str) -> list[list[int]]:
        return [part.tolist() for part in partition(config.parse("", "test", [f"data.validation={value}"]), words)]

    assert cut("3") == [[0, 2, 3, 4, 7], [1, 5, 6]]
    assert cut("0.25") == [[0, 2, 3, 4, 6, 7], [1, 5]]
    assert cut("0.01") == [[0, 1, 2, 3, 4, 6, 7], [5]]
    for value in ("8", "0.99"):
        with pytest.raises(UserError, match="expected fewer than the 8 training samples"):
            cut(value)
