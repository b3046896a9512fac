"""A batch's way is short: the Python calls, and the files they lie in, that one more batch of a training takes.

A Python call is one of a function that the interpreter runs. A compiled kernel is none, though Numba tells the profiler
of it as of one: it counts among the calls here all the same, but its file does not.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

from tests.conftest import Run
from tests.helpers import DIGITS

BATCH = 20
#: At most so many calls a batch, and so many files of Python, of the pipeline with three layers and a head on one rank.
CALLS, FILES = 80, 10

#: Trains on each of the data sets, and prints the calls of Python functions by file while the steps were carried out.
COUNT = """
import json, sys
from collections import Counter
from numba.core.dispatcher import Dispatcher
from ffmpi.commands import train
from ffmpi.run.progress import Output
from ffmpi.runtime import mpi
from ffmpi.runtime.worker import Worker

toml, settings, *runs = json.loads(sys.argv[1])
execute = Worker.execute

def watched(worker, steps):
    found = Counter()
    modules = [module for name, module in sys.modules.items() if name.startswith("ffmpi.kernels.")]
    compiled = {it.__code__ for module in modules for it in vars(module).values() if isinstance(it, Dispatcher)}
    def note(frame, event, argument):
        if event == "call":
            code = frame.f_code
            found["compiled" if code in compiled else code.co_filename, code.co_qualname] += 1
    worker.on_report = lambda chapter, measurements: None  # what there is to warn of differs from run to run
    worker.on_save = lambda chapter: None  # and so does how long a disk takes
    sys.setprofile(note)
    try:
        execute(worker, steps)
    finally:
        sys.setprofile(None)
    counts.append([[*name, count] for name, count in found.items()])

def main(comm):
    for path, run, optimiser in runs:
        train.train(comm, toml, run, [*settings, f"data.path={path}", f"optimizer.name={optimiser}"], Output(True))

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
    sets = {batches: str(_data(tmp_path / f"{batches}.h5", batches)) for batches in (6, 7)}
    optimisers = ["sgd", "adam"]  # one whose steps are alike, and one whose steps are not
    # The first of three runs warms up.
    runs = [
        (sets[batches], f"{name}-{number}", name) for name in optimisers for number, batches in enumerate((6, 6, 7))
    ]
    done = run(0, "-c", COUNT, json.dumps([str(DIGITS), settings, *runs]))
    assert done.returncode == 0, done.stderr
    found = [Counter({(file, name): n for file, name, n in each}) for each in json.loads(done.stdout)]
    for optimiser, fewer, longer in zip(optimisers, found[1::3], found[2::3], strict=True):
        assert not fewer - longer
        calls = longer - fewer
        files = {file for file, _ in calls} - {"compiled"}
        each = "\n".join(f"{count:6}  {file}: {name}" for (file, name), count in calls.most_common())
        told = f"{optimiser}: {calls.total()} calls in {len(files)} files:\n{each}"
        assert calls["compiled", "forward"] and calls["compiled", "update"], told  # so they were told from other calls
        assert calls.total() <= CALLS and len(files) <= FILES, told
