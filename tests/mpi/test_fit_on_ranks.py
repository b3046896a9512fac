"""ffmpi.fit inside a job: the bits of `ffmpi train` on any number of ranks, and errors that end on all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ffmpi.run.trace import Trace
from tests.conftest import Run
from tests.helpers import DIGITS, arrays, sets

pytestmark = pytest.mark.mpi

#: Trains on the arrays of a file, to the weights in another; prints what this rank sees of errors in between.
FIT = """
import sys
import numpy as np
import ffmpi

file, out, config = sys.argv[1:]
held = np.load(file)
train, test = ((held[f"x_{split}"], held[f"y_{split}"]) for split in ("train", "test"))
config = ffmpi.read_config(config, "data.standardise='set'", "train.epochs=6", "network.layers=[30,20,20]")

def fail(record):
    if record["epoch"] == 2:
        raise ZeroDivisionError("of this rank's")

def rank():
    from mpi4py import MPI
    return MPI.COMM_WORLD.rank

for arguments in ({"callbacks": fail}, {"config": {"train": {"epochs": 1 + rank()}}}, {"config": {"rule": "none"}}):
    try:
        ffmpi.fit(*train, **({"config": config} | arguments))
    except Exception as error:
        sys.stderr.write(f"rank {rank()}: {type(error).__name__}: {error}\\n")
network = ffmpi.fit(*train, config, test=test)
ends = lambda record: record["epoch"] == 2
early = ffmpi.fit(*train, config, callbacks=ends, run=f"{out}-early", trace=True)
from mpi4py import MPI
comm = MPI.COMM_WORLD
halves = comm.Split(comm.rank % 2)
alone = ffmpi.fit(*train, config, comm=halves)
np.savez(f"{out}-{rank()}.npz", early=early.parameters["layers/2/weights"], epochs=len(early.history),
         alone=alone.parameters["layers/2/weights"], accuracy=network.history[-1]["accuracy"]["softmax"],
         **{f"all/{name}": array for name, array in network.parameters.items()})
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sklearn.datasets import load_digits  # which takes a second

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.uint8)
    file = tmp_path_factory.mktemp("digits") / "digits.npz"
    train = {"x_train": images[:1437], "y_train": labels[:1437]}
    np.savez(file, x_test=images[1437:], y_test=labels[1437:], **train)
    return file


@pytest.mark.parametrize("ranks", [1, 3])
def test_fit_has_the_bits_of_train_and_errors_reach_all_ranks(ranks: int, digits: Path, run: Run, ffmpi: Run) -> None:
    done = run(ranks, "-c", FIT, digits, digits.parent / str(ranks), DIGITS)
    assert done.returncode == 0, done.stderr
    told = set(done.stderr.splitlines())
    assert "rank 0: ZeroDivisionError: of this rank's" in told
    assert all(
        f"rank {rank}: UserError: rank 0 has ended with an error, which it raises" in told for rank in range(1, ranks)
    )
    assert sum("rule.name = 'none': expected one of" in line for line in told) == ranks
    assert sum("config: CRC-32" in line and "but CRC-32" in line for line in told) == (ranks if ranks > 1 else 0)

    trained = digits.parent / "trained"
    if not trained.exists():
        changes = sets(
            "data.name=numpy",
            f"data.path={digits}",
            "data.standardise=set",
            "train.epochs=6",
            "network.layers=[30,20,20]",
        )
        ffmpi(2, "train", DIGITS, "--run", trained, *changes)
    expected = arrays(trained)
    for rank in range(ranks):
        found = np.load(f"{digits.parent / str(ranks)}-{rank}.npz")
        names = [name.removeprefix("all/") for name in found if name.startswith("all/")]
        assert len(names) > 6
        for name in names:
            np.testing.assert_array_equal(found[f"all/{name}"], expected[name], err_msg=name)
        np.testing.assert_array_equal(found["alone"], expected["layers/2/weights"])
        assert found["epochs"] == 2 and (found["early"] != expected["layers/2/weights"]).any()
        assert found["accuracy"] > 50
    trace = Trace.read(f"{digits.parent / str(ranks)}-early")
    assert trace.ranks == ranks and trace.spans["epoch"].max() in (1, 2) and "broken off" in trace.note
