"""Checkpoints of older formats, written by the code of their time, are still read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ffmpi.run.checkpoint import FORMAT, reading
from tests.conftest import Run
from tests.contract.digests import digests, recorded, unpack

pytestmark = pytest.mark.mpi


def test_a_file_of_format_1_is_resumed_to_the_recorded_bits(ffmpi: Run, tmp_path: Path) -> None:
    file = unpack("format-1", tmp_path / "old")
    with reading(file) as reader:
        header = reader.header
        assert (header.shape, header.train, header.chapter, header.id) == ((8, 8), 1437, 2, "")
    assert json.loads(ffmpi(0, "info", "old", "--json").stdout)["config"]["network"]["layers"] == [12, 10, 8]
    measured = json.loads(ffmpi(2, "evaluate", file, "--json").stdout)["accuracy"]
    assert measured["softmax"] == pytest.approx(20.0)  # as it was measured then
    told = ffmpi(2, "resume", "old").stderr
    assert told.count("in format 1, whose sums over units have another order: the run continues") == 1
    assert digests(tmp_path / "old") == recorded()["format-1"]
    with reading(file) as reader:
        assert (reader.header.id != "", reader.header.format) == (True, FORMAT)
