"""Images that are read window by window give the bits of images in memory, on any number of ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ffmpi import data
from tests.conftest import Run
from tests.contract.agreement import assert_survives_kill
from tests.helpers import DIGITS, assert_same_bits, records, sets

pytestmark = pytest.mark.mpi

COMMON = ["data.window=300", "data.standardise=set", "network.layers=[64,50,32]", "train.epochs=3", "train.chapters=3"]
COMMON += ["train.batch_size=80"]  # which does not divide a window
CASES = {
    "pipeline": ["data.validation=0.1", "classify.goodness_every=1"],
    "moved": [
        "augment=[{name='shift',pixels=1}]",
        "network.input_transforms=dropout",
        "rule.name=local-softmax",
        "optimizer.name=adam",
    ],
    "ahead": ["negatives.name=adaptive", "negatives.resample=batch", "negatives.lag=2"],
    "by goodness": ["negatives.name=adaptive", "negatives.scores=goodness", "schedule.name=all-layers"],
    "by weights": ["schedule.name=single-layer", "schedule.exchange=weights", "negatives.resample=batch"],
    "shards": ["schedule.name=federated", "shards.count=3", "data.window=130", "data.standardise=pixel"],
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the digits as NumPy files, and as HDF5 in chunks, test images with a channel that training has not."""
    folder = tmp_path_factory.mktemp("sets")
    with h5py.File(folder / "set.h5", "w") as file:
        for split in ("train", "test"):
            part = data.load("digits", None, split)
            assert isinstance(part.images, np.ndarray)
            images = part.images.reshape(-1, 8, 8)
            np.save(folder / f"x_{split}.npy", images)
            np.save(folder / f"y_{split}.npy", part.classes)
            shown = images if split == "train" else images[..., None]
            file.create_dataset(f"{split}/images", data=shown, chunks=(30, *shown.shape[1:]), compression="gzip")
            file[f"{split}/labels"] = part.classes
    return {"numpy": folder, "hdf5": folder / "set.h5"}


def settings_of(case: str, name: str, path: Path) -> list[str]:
    return [*COMMON, *CASES[case], f"data.name={name}", f"data.path={path}"]


@pytest.fixture
def trained(paths, train_all):
    """Return ``trained(ranks, case)``, the run of a case: on no ranks from memory on one, else from HDF5."""

    def train(ranks: int, case: str) -> Path:
        name = "hdf5" if ranks else "numpy"
        able = [one for one in CASES if one != "shards" or ranks != 2]  # three shards are for one rank or three
        runs = {f"{one}-{name}": settings_of(one, name, paths[name]) for one in able}
        return train_all(ranks or 1, runs)(f"{case}-{name}")

    return train


def measured(run: Path) -> list[dict[str, Any]]:
    """Return what a run says of each chapter but for times."""
    return [{key: line.get(key) for key in ("epoch", "accuracy", "validation", "samples")} for line in records(run)]


@pytest.mark.parametrize(
    ("case", "ranks"), [(case, ranks) for ranks in (1, 2, 3) for case in CASES if (case, ranks) != ("shards", 2)]
)
def test_the_bits_of_images_in_memory(case: str, ranks: int, trained) -> None:
    assert_same_bits(trained(0, case), trained(ranks, case))
    assert measured(trained(0, case)) == measured(trained(ranks, case))
    for name in ("numpy", "hdf5"):  # what was measured before the start, too
        found = json.loads((trained(name == "hdf5", case) / "environment.json").read_text())
        assert found["data"] == json.loads((trained(ranks, case) / "environment.json").read_text())["data"]


def test_the_window_is_part_of_the_recipe(trained, paths, ffmpi: Run, tmp_path: Path) -> None:
    """Another window gives other weights, and one for all samples those without windows."""
    own = settings_of("moved", "hdf5", paths["hdf5"])
    for window in (0, 2000):
        ffmpi(1, "train", DIGITS, "--run", tmp_path / str(window), *sets(*own, f"data.window={window}"))
    assert_same_bits(tmp_path / "0", tmp_path / "2000")
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        assert_same_bits(tmp_path / "0", trained(1, "moved"))


def test_after_a_kill_and_evaluated(trained, paths, run: Run, tmp_path: Path) -> None:
    settings = sets(*settings_of("pipeline", "hdf5", paths["hdf5"]))
    assert_survives_kill(run, trained(0, "pipeline"), tmp_path / "run", settings, 2, 3)
    for split in ("test", "validation"):
        done = run(2, "-m", "ffmpi", "evaluate", tmp_path / "run", "--json", "--split", split)
        key = "accuracy" if split == "test" else split
        assert json.loads(done.stdout)["accuracy"] == records(trained(0, "pipeline"))[-1][key], done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.window=49"], "data.window = 49: expected at least 50, the samples of a batch"),
        (
            ["data.window=120", *CASES["ahead"]],
            "data.window = 120: expected at least 150, the samples of a batch and of the 2 before it",
        ),
    ],
)
def test_refusals(settings: list[str], message: str, run: Run) -> None:
    done = run(2, "-m", "ffmpi", "train", DIGITS, *sets(*settings))
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
