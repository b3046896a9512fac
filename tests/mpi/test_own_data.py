"""A network trained on people's own file, under their names and in their numbers, meets the same pictures in others."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from ffmpi import data
from tests.conftest import Run
from tests.helpers import DIGITS, records, sets

pytestmark = pytest.mark.mpi


def test_pictures_in_other_numbers_are_the_same_pictures(ffmpi: Run, tmp_path: Path) -> None:
    """Trained on floats of -1..1, called data and target: PNG and uint8 give the same classes and accuracies."""
    sets_of = {split: data.load("digits", None, split) for split in ("train", "test")}
    folder = tmp_path / "png"
    folder.mkdir()
    with h5py.File(tmp_path / "negative.h5", "w") as floats, h5py.File(tmp_path / "bytes.h5", "w") as same:
        for split, part in sets_of.items():
            assert part.images is not None
            images = part.images.reshape(-1, 8, 8)
            floats[f"{split}/data"], floats[f"{split}/target"] = np.float32(images / 127.5 - 1), part.classes
            same[f"{split}/data"], same[f"{split}/target"] = images[..., None], part.classes
        for index, image in enumerate(images[:60]):
            Image.fromarray(image).save(folder / f"{index:02}.png")
    trained = tmp_path / "run"
    names = sets("data.images=data", "data.labels=target")
    path = f"data.path={tmp_path / 'negative.h5'}"
    own = [*sets("data.name=hdf5", path, "train.epochs=6", "network.layers=[64,64]"), *names]
    ffmpi(0, "train", DIGITS, "--run", trained, *own)
    accuracy = records(trained)[-1]["accuracy"]
    assert accuracy["softmax"] > 85

    done = ffmpi(2, "evaluate", trained, "--json", *sets(f"data.path={tmp_path / 'bytes.h5'}"))
    assert json.loads(done.stdout)["accuracy"] == accuracy
    note = "pixels are uint8 of 0 to 255, converted to float32 of -1 to 1, on which the network is trained"
    assert done.stderr == f"ffmpi: note: {tmp_path / 'bytes.h5'}: {note}\n"

    done = ffmpi(0, "predict", trained, folder)
    from_floats = ffmpi(0, "predict", trained, tmp_path / "negative.h5", "--images", "test/data").stdout
    assert done.stderr == f"ffmpi: note: {folder}: {note}\n"
    assert [line.split("\t")[1:] for line in done.stdout.splitlines()] == [
        line.split("\t")[1:] for line in from_floats.splitlines()[:60]
    ]
