"""A user's own images learn with nothing set but their path, and are used as they were learnt."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from ffmpi import data
from tests.conftest import Run
from tests.helpers import ROOT, arrays, assert_same_bits, records, sets

pytestmark = pytest.mark.mpi

OWN = ROOT / "runs" / "own-images.toml"
SHORT = ["network.layers=[200,200]", "train.epochs=10", "optimizer.learning_rate=0.01"]


def write(path: Path, number: str, offset: float, factor: float) -> Path:
    """Write digits as numbers of another kind: offset + factor * pixel."""
    with h5py.File(path, "w") as file:
        for split in ("train", "test"):
            part = data.load("digits", None, split)
            assert part.images is not None
            pixels = part.images.reshape(-1, 8, 8)
            file[f"{split}/images"] = pixels if number == "u1" else (offset + factor * pixels).astype(number)
            file[f"{split}/labels"] = part.classes.astype(np.int64)
    return path


def test_pixels_of_any_kind_learn_alike(ffmpi: Run, tmp_path: Path) -> None:
    """Bytes, floats around 0 and floats far off: the same accuracy, also when the network is used on other ranks."""
    found = []
    for index, kind in enumerate([("u1", 0.0, 1.0), ("f4", -1.0, 1 / 127.5), ("f8", 5000.0, 40.0)]):
        file, run = write(tmp_path / f"{index}.h5", *kind), tmp_path / f"run{index}"
        ffmpi(index, "train", OWN, "--run", run, *sets(f"data.path={file}", *SHORT))
        found.append(records(run)[-1]["accuracy"])
    assert min(min(accuracy.values()) for accuracy in found) > 90
    for method in ("softmax", "goodness"):
        values = [accuracy[method] for accuracy in found]
        assert max(values) - min(values) <= 1.5, values
    assert json.loads(ffmpi(2, "evaluate", run, "--json").stdout)["accuracy"] == found[-1]
    assert arrays(run)["inputs/mean"] > 5000
    settings_used = json.loads(ffmpi(0, "info", run, "--json").stdout)["config"]["data"]
    assert (settings_used["standardise"], settings_used["label"]) == ("set", "append") and settings_used[
        "label_value"
    ] > 1


def test_shards_are_measured_together(ffmpi: Run, tmp_path: Path) -> None:
    """Figures of shards in files of their own are those of all samples, on any number of ranks."""
    file = write(tmp_path / "whole.h5", "f4", 3.0, 0.5)
    federated = ["schedule.name=federated", "shards.count=2", "network.layers=[30,30]", "train.epochs=2"]
    with h5py.File(file) as whole:
        images, labels = whole["train/images"][()], whole["train/labels"][()]
        for shard in (1, 2):
            with h5py.File(tmp_path / f"part{shard}.h5", "w") as part:
                part.attrs["classes"] = 10
                part["images"], part["labels"] = images[shard - 1 :: 2], labels[shard - 1 :: 2]
    paths = [f"data.path={tmp_path}/part{{shard}}.h5", "shards.by=file", f"shards.test_path={file}"]
    for ranks in (1, 2):
        ffmpi(ranks, "train", OWN, "--run", f"run{ranks}", *sets(*federated, *paths))
    assert_same_bits(tmp_path / "run1", tmp_path / "run2")
    found = arrays(tmp_path / "run2")
    np.testing.assert_allclose(found["inputs/mean"], images.mean(), rtol=1e-6)
    np.testing.assert_allclose(found["inputs/std"], images.std(), rtol=1e-5)
