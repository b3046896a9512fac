"""What a federated run puts on the wire: layers, measurements and checkpoints, never anything made of samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.helpers import DIGITS, sets

pytestmark = pytest.mark.mpi

#: Runs the command line with every array that leaves a rank noted down.
WATCH = """
import json, pickle, sys
import numpy as np
from mpi4py import MPI
from ffmpi import cli
from ffmpi import launcher
from ffmpi.runtime import mpi

WORDS = "send", "bcast", "gather", "scatter", "reduce", "alltoall", "scan"

class Watched(MPI.Intracomm):
    def Isend(self, array, *args):
        sent.append((args[1], str(array.dtype), array.size, array.tobytes()))
        return super().Isend(array, *args)

def watched(name):
    def call(self, *args, **options):
        collective.append(pickle.dumps([[array.tobytes() for array in args if isinstance(array, np.ndarray)], args]))
        return getattr(MPI.Intracomm, name)(self, *args, **options)
    return call

others = [name for name in dir(MPI.Intracomm) if any(word in name.lower() for word in WORDS) and name != "Isend"]
for name in others:
    if not name.endswith("_init"):
        setattr(Watched, name, watched(name))

sent, collective = [], []
begin = mpi.start
mpi.start = lambda: Watched(begin())
try:
    cli.app(sys.argv[2:], standalone_mode=False)
finally:
    from ffmpi import data
    images = data.load("digits", None, "train").images
    rows = {image.tobytes() for image in images}
    rows |= {(image / np.float32(255)).astype(np.float32).tobytes() for image in images}
    found = sum(row in message for message in [*collective, *(message for *_, message in sent)] for row in rows)
    notes = {"tags": [[tag, dtype, size] for tag, dtype, size, _ in sent], "images": found, "others": len(collective)}
    open(f"{sys.argv[1]}.{launcher.launched_rank()}", "w").write(json.dumps(notes))
"""


def test_only_layers_travel(ffmpi: Run, run: Run, tmp_path: Path) -> None:
    script = tmp_path / "watch.py"
    script.write_text(WATCH)
    settings = [
        "schedule.name=federated", "shards.count=2", "shards.by=class", "train.epochs=6", "network.layers=[32,40]",
    ]  # fmt: skip
    options = sets(*settings)
    command = [script, tmp_path / "notes", "train", DIGITS, "--run", tmp_path / "run", *options]
    done = run(2, *command)
    assert done.returncode == 0, done.stderr
    inputs, classes = 64 + 10, 10
    padded = {inputs: 80, 32: 32, 40: 48, classes: 16}

    def state(rows: int, units: int) -> int:
        """Weights, bias and one moment of each, and the number of updates; all padded to 16."""
        return 2 * (padded[rows] + 1) * padded[units] + 16

    links = 2 * 3  # both ranks' two layers and head
    allowed = {state(inputs, 32), state(32, 40), state(40, classes)}
    for rank in range(2):
        notes = json.loads((tmp_path / f"notes.{rank}").read_text())
        assert notes["images"] == 0 and notes["tags"] and notes["others"] > 1
        layers = [size for tag, dtype, size in notes["tags"] if tag < links and dtype == "float32"]
        others = [(tag, dtype) for tag, dtype, size in notes["tags"] if tag >= links]
        assert set(layers) == allowed
        assert len(layers) + len(others) == len(notes["tags"])
        # Beyond the layers: one array of sums a chapter, and on the rank of the last one its checkpoint.
        assert all(rank == 1 for tag, dtype in others)
