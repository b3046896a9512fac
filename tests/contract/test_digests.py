"""Weights are what they were: every run, and every resumed checkpoint of earlier code, ends with recorded bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.contract.digests import (
    CHECKPOINTS,
    COMMON,
    RESUMED,
    RUNS,
    SCORES,
    digests,
    recorded,
    scores,
    settings_of,
    unpack,
)
from tests.helpers import ROOT

pytestmark = pytest.mark.mpi


def _assert_recorded(name: str, run: Path) -> None:
    expected, found = recorded()[name], digests(run)
    assert len(expected) > 4
    changed = [array for array in expected | found if expected.get(array) != found.get(array)]
    assert not changed, f"{name}: other bits than recorded in {', '.join(changed)}"


def test_every_run_and_checkpoint_is_recorded() -> None:
    assert recorded().keys() == RUNS.keys() | CHECKPOINTS.keys()
    packed = {file.name.partition(".")[0] for file in (ROOT / "tests" / "data").glob("*.h5.gz")}
    assert packed == CHECKPOINTS.keys()
    ends = [json.dumps(run) for run in recorded().values()]
    assert len(set(ends)) == len(ends), f"runs that give the same bits, beside {COMMON}"


@pytest.mark.parametrize("name", RUNS)
def test_a_run_has_the_recorded_bits(name: str, train_all) -> None:
    runs = {run: [*settings_of(run), "checkpoint.every=4"] for run in RUNS}  # the last one is compared
    trained = train_all(1, runs)(name)
    _assert_recorded(name, trained)
    assert scores(trained) == json.loads(SCORES.read_text())[name]


def test_checkpoints_of_earlier_code_are_resumed_to_the_recorded_bits(run: Run, tmp_path: Path) -> None:
    runs = {name: tmp_path / name for name in CHECKPOINTS}
    for name, directory in runs.items():
        unpack(name, directory)
        with pytest.raises(AssertionError, match="other bits"):  # it is only half done
            _assert_recorded(name, directory)
    done = run(1, "-c", RESUMED, json.dumps([str(directory) for directory in runs.values()]), seconds=300)
    assert done.returncode == 0, done.stderr
    for name, directory in runs.items():
        _assert_recorded(name, directory)
