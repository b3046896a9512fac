"""Real MNIST, minutes: FFMPI_MNIST names the directory with the four IDX files (ffmpi data mnist DIR --download)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from ffmpi import data
from tests.conftest import Run
from tests.helpers import ROOT, assert_same_bits, records, sets

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


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("recipe", ["mnist", "mnist-local-softmax"])
def test_exported_networks_classify_as_predict_does(recipe: str, mnist: str, ffmpi: Run, tmp_path: Path) -> None:
    """All 10,000 test images by every method: the same classes, and scores within 1e-4 of the greatest."""
    torch, runtime = pytest.importorskip("torch"), pytest.importorskip("onnxruntime")
    ffmpi(2, "train", ROOT / "runs" / f"{recipe}.toml", "--run", "run", *sets(mnist, "train.epochs=1"), seconds=900)
    images = data.load("mnist", os.environ["FFMPI_MNIST"], "test").images
    assert images is not None and len(images) == 10000
    images = images.reshape(-1, 28, 28)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["images"] = images
    for method in records(tmp_path / "run")[-1]["accuracy"]:
        done = ffmpi(2, "predict", "run", "images.h5", "--method", method, "--json")
        expected = np.array([json.loads(line)["scores"] for line in done.stdout.splitlines()], np.float32)
        for suffix in (".pt", ".onnx"):
            ffmpi(0, "export", "run", f"{method}{suffix}", "--method", method)
        module = torch.jit.load(tmp_path / f"{method}.pt")
        session = runtime.InferenceSession(tmp_path / f"{method}.onnx")
        parts = np.split(images, 10)
        found = {"torch": np.concatenate([module(torch.tensor(part)).numpy() for part in parts])}
        answers = [session.run(None, {"images": part}) for part in parts]
        found["onnx"] = np.concatenate([scores for scores, _ in answers])
        np.testing.assert_array_equal(np.concatenate([classes for _, classes in answers]), expected.argmax(axis=1))
        for name, scores in found.items():
            np.testing.assert_array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
            error, greatest = np.abs(scores - expected).max(), np.abs(expected).max()
            print(f"{recipe}, {method}, {name}: scores up to {greatest:.5g}, differ by at most {error:.2g}")
            assert error <= 1e-4 * greatest
