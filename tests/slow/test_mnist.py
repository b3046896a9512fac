"""Real MNIST, minutes: FFMPI_MNIST names the directory with the four IDX files (ffmpi data mnist DIR --download)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.helpers import ROOT, assert_same_bits, records

pytestmark = [pytest.mark.slow, pytest.mark.mpi]
RECIPE = ROOT / "runs" / "mnist.toml"


@pytest.fixture
def mnist() -> str:
    """Return the setting that names the data."""
    directory = os.environ.get("FFMPI_MNIST")
    assert directory, "set FFMPI_MNIST to the directory with the four MNIST files"
    return f"data.path={Path(directory).resolve()}"


def test_mnist_reaches_its_accuracy_within_its_memory(mnist: str, ffmpi: Run, tmp_path: Path) -> None:
    ffmpi(2, "train", RECIPE, "--run", "run", "--set", mnist, seconds=900)
    last = records(tmp_path / "run")[-1]
    assert min(last["accuracy"].values()) >= 97.0
    for rank in last["ranks"]:
        assert 0.5 * rank["priced_bytes"] <= rank["peak_bytes"] <= rank["priced_bytes"]


def test_mnist_has_the_same_bits_on_one_to_four_ranks(mnist: str, ffmpi: Run, tmp_path: Path) -> None:
    for ranks in (1, 2, 3, 4):
        ffmpi(ranks, "train", RECIPE, "--run", f"run{ranks}", "--set", mnist, "--set", "train.epochs=2", seconds=900)
    for ranks in (2, 3, 4):
        assert_same_bits(tmp_path / "run1", tmp_path / f"run{ranks}")


def test_local_softmax_reaches_its_accuracy(mnist: str, ffmpi: Run, tmp_path: Path) -> None:
    ffmpi(1, "train", ROOT / "runs" / "mnist-local-softmax.toml", "--run", "run", "--set", mnist, seconds=900)
    last = records(tmp_path / "run")[-1]
    assert last["accuracy"]["all-layers"] >= 98.5
