"""A batch's way is short: the Python calls, and the files they lie in, that one more batch of a training takes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

from tests.conftest import Run
from tests.helpers import DIGITS

BATCH = 20
#: At most so many Python calls a batch, in so many files, of the pipeline with three layers and a head on one rank.
CALLS, FILES = 298, 33

#: Trains on each of the data sets, and prints the calls of Python functions by file while the steps were carried out.
COUNT = """
import json, sys
from collections import Counter
from ffmpi.commands import train
from ffmpi.runtime import mpi
from ffmpi.runtime.worker import Worker

toml, settings, *runs = json.loads(sys.argv[1])
execute = Worker.execute

def watched(worker, steps):
    found = Counter()
    def note(frame, event, argument):
        if event == "call":
            found[f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}"] += 1
    sys.setprofile(note)
    try:
        execute(worker, steps)
    finally:
        sys.setprofile(None)
    counts.append(found)

def main(comm):
    for path, run in runs:
        train.train(comm, toml, run, [*settings, f"data.path={path}"], True)

Worker.execute, counts = watched, []
mpi.run(main)
print(json.dumps(counts))
"""


def _data(path: Path, batches: int) -> Path:
    """Make a data set with so many training batches, and the same test samples whatever their number."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for split, count in (("train", batches * BATCH), ("test", 3 * BATCH)):
            file[f"{split}/images"] = rng.integers(0, 256, (count, 8, 8), np.uint8)
            file[f"{split}/labels"] = np.arange(count) % 10
    return path


def test_one_more_batch_takes_few_calls(run: Run, tmp_path: Path) -> None:
    settings = ["data.name=hdf5", "train.epochs=1", "train.shuffle=false", "network.layers=[24,24,24]"]
    settings.append(f"train.batch_size={BATCH}")
    sets = {batches: _data(tmp_path / f"{batches}.h5", batches) for batches in (6, 7)}
    runs = [(str(sets[batches]), f"{number}") for number, batches in enumerate((6, 6, 7))]  # the first warms up
    done = run(0, "-c", COUNT, json.dumps([str(DIGITS), settings, *runs]))
    assert done.returncode == 0, done.stderr
    _, fewer, longer = map(Counter, json.loads(done.stdout.splitlines()[-1]))
    assert not fewer - longer
    calls = longer - fewer
    files = {name.partition(":")[0] for name in calls}
    told = "\n".join(f"{count:6}  {name}" for name, count in calls.most_common())
    assert any("forward" in name for name in calls)
    assert calls.total() <= CALLS and len(files) <= FILES, f"{calls.total()} calls in {len(files)} files:\n{told}"
