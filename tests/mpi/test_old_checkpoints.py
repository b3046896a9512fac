"""Checkpoints of older formats, written by the code of their time, are still read."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from ffmpi.run.checkpoint import reading
from tests.conftest import Run
from tests.helpers import DIGITS, ROOT, assert_same_bits, sets

pytestmark = pytest.mark.mpi

#: What the file was trained with, and stopped after two chapters.
SETTINGS = sets(
    "train.epochs=4", "network.layers=[12,10,8]", "negatives.kind=adaptive", "optimizer.name=adam",
    "optimizer.rate=0.003", "optimizer.decay=0.001",
)  # fmt: skip


def old(directory: Path) -> Path:
    """Put the file of format 1 into a new run directory."""
    directory.mkdir()
    file = directory / "checkpoint.h5"
    with gzip.open(ROOT / "tests" / "data" / "format-1.h5.gz") as packed, file.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    return file


def test_a_file_of_format_1_goes_on_to_the_same_bits(ffmpi: Run, tmp_path: Path) -> None:
    file, undisturbed = old(tmp_path / "old"), tmp_path / "undisturbed"
    with reading(file) as reader:
        header = reader.header
        assert (header.shape, header.train, header.chapter, header.id) == ((8, 8), 1437, 2, "")
    assert json.loads(ffmpi(0, "info", "old", "--json").stdout)["config"]["network"]["layers"] == [12, 10, 8]
    measured = json.loads(ffmpi(2, "evaluate", file, "--json").stdout)["accuracy"]
    assert measured["softmax"] == pytest.approx(20.0)  # as it was measured then
    ffmpi(2, "resume", "old")
    ffmpi(1, "train", DIGITS, "--run", undisturbed, *SETTINGS)
    assert_same_bits(undisturbed, tmp_path / "old")
    with reading(file) as reader:
        assert reader.header.id != ""  # of the format of today
