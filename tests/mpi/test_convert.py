"""Training on a converted set, with the settings that the command prints, gives the weights of the original."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ffmpi.commands.convert import convert
from ffmpi.data import Fields
from tests.conftest import Run
from tests.helpers import DIGITS, assert_same_bits, records, sets
from tests.unit.test_data_convert import FIELDS, write

pytestmark = pytest.mark.mpi

NAMES = ["digits", "mnist", "hdf5", "numpy", "csv", "folder"]  # the other two are much larger, or read as mnist is


def test_the_same_weights(train_all, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {}
    for name in NAMES:
        (tmp_path / name).mkdir()
        place, target = write(name, tmp_path / name), tmp_path / f"{name}.h5"
        fields = FIELDS.get(name, Fields())
        convert(name, str(place) if place else None, str(target), False, True, *vars(fields).values())
        told = json.loads(capsys.readouterr().out)["settings"]
        common = ["train.epochs=1", "network.layers=[32,32]", "train.batch_size=10"]
        own = [f"data.name={name}", f"data.path={place or ''}", f"data.images={fields.images}"]
        own += [f"data.labels={fields.labels}", f"data.weights={fields.weights}"]
        runs |= {name: [*common, *own], f"{name}-converted": [*common, *told]}
    found = train_all(1, runs)
    for name in NAMES:
        assert_same_bits(found(name), found(f"{name}-converted"))
        assert records(found(name))[-1]["accuracy"] == records(found(f"{name}-converted"))[-1]["accuracy"]


def test_on_the_command_line(ffmpi: Run, run: Run, tmp_path: Path) -> None:
    done = ffmpi(0, "data", "convert", "digits", "set.h5", "--compress")
    first, second = done.stdout.splitlines()
    assert first == "set.h5: 1437 training and 360 test samples of shape 8 x 8, 10 classes"
    assert second.endswith("train with --set data.name=hdf5 --set data.path=set.h5 --set data.standardise=fixed")
    ffmpi(1, "train", DIGITS, "--run", "run", *second.split("train with ")[1].split(), *sets("train.epochs=1"))
    for arguments, message in (
        (["digits", "set.h5"], "set.h5: is there already"),
        (["digits", "a", "b", "c"], "found 3 places after 'digits'"),
        (["digits"], "Missing argument"),
    ):
        done = run(0, "-m", "ffmpi", "data", "convert", *arguments)
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
