"""Recorded digests: what small runs ended with, bit for bit, so that no change of the code changes them unseen.

``python -m tests.contract.digests --record`` trains or resumes all the runs and writes ``digests.json`` and
``scores.json``. Do so only where weights are meant to change, and say why in the commit. ``--freeze NAME`` writes a new
one of `CHECKPOINTS`, once and for all.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ffmpi import data
from ffmpi.config.aliases import array_name
from ffmpi.run import trained
from ffmpi.run.header import FORMAT
from tests.conftest import SEVERAL
from tests.helpers import DIGITS, ROOT, arrays, records

RECORD = Path(__file__).with_name("digests.json")
#: Of what the networks of `RUNS` say of the test samples.
SCORES = Path(__file__).with_name("scores.json")

#: What all runs have in common: the digits, sizes that fill neither a vector nor a batch, a rate that teaches gently,
#: so that no loss is decided by a rounding.
COMMON = ["train.epochs=3", "network.layers=[30,21,26]", "train.batch_size=90", "optimizer.learning_rate=0.001"]

_ADAPTIVE = "negatives.name=adaptive"
_BY_GOODNESS = [_ADAPTIVE, "negatives.scores=goodness"]
_LOCAL = ["rule.name=local-softmax"]
_ADAM = ["optimizer.name=adam", "optimizer.learning_rate=0.003"]
_PAPER = ["network.normalise=l2", "network.init=uniform", "rule.goodness=mean", "rule.threshold=0.02", *_ADAM]

#: The runs by name, each with what it sets beside `COMMON`.
RUNS: dict[str, list[str]] = {
    # Batch by batch.
    "pipeline": [],
    "pipeline-fixed": ["negatives.name=fixed", "train.shuffle=false"],
    "pipeline-random-batch": ["negatives.resample=batch", "train.epochs=4", "train.chapters=2"],
    "pipeline-adaptive-softmax": [_ADAPTIVE],
    "pipeline-adaptive-goodness": [*_BY_GOODNESS, "classify.goodness_every=1", "classify.goodness_layers=[1,3]"],
    "pipeline-adaptive-batch": [_ADAPTIVE, "negatives.resample=batch", "negatives.lag=3"],
    "pipeline-l2-adam-mean": [*_PAPER, "optimizer.weight_decay=0.01", "data.label=overlay", "data.mean=0.3",
        "data.std=0.4"],
    "pipeline-no-head": ['classify.methods=["goodness"]', "train.epochs=4", "train.chapters=2", "network.layers=[40]"],
    "pipeline-head-epoch": ["head.step=epoch", "data.standardise=pixel", "data.label=overlay", "data.label_value=3"],
    "pipeline-head-adam": [
        "head.optimizer.name=adam", "head.optimizer.learning_rate=0.001", "head.init=uniform", "head.bias=false",
        "head.normalise=false", "data.standardise=set", "seed=7",
    ],
    "pipeline-local": [*_LOCAL],
    "pipeline-local-adam": [*_LOCAL, *_ADAM, "head.init=uniform", "network.normalise=l2", 'learning_rate.constant=0.0'],
    "pipeline-peers": ["rule.name=peer-normalisation", "rule.goodness=mean", "rule.threshold=0.3"],
    "pipeline-symba": ["rule.name=symba", *_ADAM],
    "all-layers-swish": ["rule.name=swish", "schedule.name=all-layers", *_ADAM],
    "pipeline-class-groups": ["rule.name=class-groups", *_ADAM],
    "single-layer-class-groups": [
        "rule.name=class-groups", "schedule.name=single-layer", "network.normalise=none", *_ADAM,
    ],
    "pipeline-collaboration": ["rule.name=collaboration", "rule.threshold=0.5"],
    "single-layer-collaboration": [
        "rule.name=collaboration", "schedule.name=single-layer", *_PAPER, *_BY_GOODNESS, "network.transforms=dropout",
    ],
    "pipeline-moved": ["augment=['shift',{name='crop',padding=1},'flip']", _ADAPTIVE],
    "pipeline-nesterov-cosine": [
        "optimizer.name=nesterov", "learning_rate.name=cosine", "learning_rate.minimum=0.1", "data.validation=0.1",
    ],
    "pipeline-local-lion-steps": [
        *_LOCAL, "optimizer.name=lion", "optimizer.weight_decay=0.1", "learning_rate.name=steps",
        "learning_rate.milestones=[1,2]", "learning_rate.warmup=1", "head.optimizer.name=nesterov",
        "network.normalise=none",
    ],
    "pipeline-constant": ["learning_rate.name=constant", "train.epochs=2", "learning_rate.warmup=1"],
    "pipeline-dropout": ["network.transforms=dropout", "data.standardise=set"],
    "pipeline-images-dropout": ["network.input_transforms=dropout", _ADAPTIVE, "negatives.resample=batch"],
    "pipeline-local-error": ["rule.name=local-error", "rule.similarity=0.3", *_ADAM, "head.normalise=false"],
    # Chapter by chapter.
    "sequential": ["schedule.name=sequential"],
    "sequential-long-chapters": ["schedule.name=sequential", "train.epochs=4", "train.chapters=2"],
    "sequential-random-batch": [
        "schedule.name=sequential", "negatives.resample=batch", "train.epochs=4", "train.chapters=2",
    ],
    "sequential-local": ["schedule.name=sequential", *_LOCAL, 'classify.methods=["all-layers"]'],
    "single-layer-activations": ["schedule.name=single-layer", "negatives.name=fixed"],
    "single-layer-weights-adaptive-goodness": [
        "schedule.name=single-layer", "schedule.exchange=weights", *_BY_GOODNESS,
    ],
    "single-layer-local": [
        "schedule.name=single-layer", *_LOCAL, "train.shuffle=false", 'classify.methods=["last-layer"]',
    ],
    "sequential-dropout": ["schedule.name=sequential", "network.transforms=[{name='dropout', probability=0.4}]"],
    "all-layers": ["schedule.name=all-layers", *_PAPER],
    "all-layers-adaptive-softmax": ["schedule.name=all-layers", _ADAPTIVE, "negatives.lag=2", "head.step=epoch"],
    "all-layers-adaptive-goodness": ["schedule.name=all-layers", *_BY_GOODNESS, *_ADAM],
    "all-layers-local": ["schedule.name=all-layers", *_LOCAL, "data.standardise=set"],
    "all-layers-moved": [
        "schedule.name=all-layers", *_LOCAL, "augment=['flip',{name='shift',pixels=1}]", "train.epochs=4",
        "train.chapters=2",
    ],
    "all-layers-local-error": ["schedule.name=all-layers", "rule.name=local-error", "network.transforms=dropout"],
    "federated": ["schedule.name=federated", "shards.count=2", "shards.by=class"],
    "federated-local-sizes": ["schedule.name=federated", *_LOCAL, "shards.count=3", "shards.sizes=[2,1,1]"],
}  # fmt: skip

#: The checkpoints in ``tests/data``, each written by the code of its time when half of its run was done (format-1-batch
#: by 4afc743, those of format 2 by 7e6c7e2), with their settings. Those of the format of today, resumed, end with the
#: bits that the run has; up to format 3 sums over units had another order.
CHECKPOINTS: dict[str, list[str]] = {
    "format-1": ["train.epochs=4", "network.layers=[12,10,8]", _ADAPTIVE, *_ADAM, "optimizer.weight_decay=0.001"],
    "format-1-batch": [
        "train.epochs=4", "network.layers=[12,10,8]", _ADAPTIVE, "negatives.resample=batch", "negatives.lag=2",
        "optimizer.learning_rate=0.001", "network.normalise=l2",
    ],
    "format-2-local-softmax": [
        "train.epochs=4", "network.layers=[12,10,8]", "rule.name=local-softmax", *_ADAM, "optimizer.weight_decay=0.001",
        "data.standardise=pixel",
    ],
    "format-2-all-layers": [
        "train.epochs=6", "network.layers=[12,10,8]", "schedule.name=all-layers", _ADAPTIVE, "negatives.lag=2",
        "optimizer.learning_rate=0.001", "data.standardise=set", "head.optimizer.name=adam",
        "head.optimizer.learning_rate=0.001",
    ],
    "format-3-peers": [
        "train.epochs=4", "network.layers=[12,10,8]", "rule.name=peer-normalisation", *_ADAM,
        "network.transforms=dropout", "network.normalise=none", "data.validation=0.2",
    ],
    "format-4-local-error": [
        "train.epochs=4", "network.layers=[40,10,50]", "rule.name=local-error", "rule.similarity=0.3",
        "optimizer.learning_rate=0.001", "schedule.name=single-layer",
    ],
}  # fmt: skip


def settings_of(name: str) -> list[str]:
    """Return the settings of the run or of the checkpoint `name`."""
    return CHECKPOINTS[name] if name in CHECKPOINTS else [*COMMON, *RUNS[name]]


#: The format of the checkpoints whose arrays were recorded.
RECORDED = 2


def canonical(name: str) -> str:
    """Return the recorded name of the array that checkpoints now call `name`."""
    return array_name(name, RECORDED)


def digests(run: Path) -> dict[str, str]:
    """Return what a run ended with, by recorded name.

    Of each array in its checkpoint type, shape and the first half of the SHA-256; of each classifier the accuracy.
    """
    found = dict(sorted((canonical(name), _digest(value)) for name, value in arrays(run).items()))
    if (run / "metrics.jsonl").exists():
        accuracy = records(run)[-1]["accuracy"]
        found |= {f"accuracy/{method}": f"{percent:.4f} %" for method, percent in accuracy.items()}
    return found


def scores(run: Path) -> dict[str, str]:
    """Return by method the digest of what a run's network says of the test digits."""
    images, network = data.load("digits", None, "test").images, trained.load(str(run))[1]
    assert images is not None
    return {method: _digest(network.scores(images, method)) for method in network.methods}


def _digest(value: np.ndarray) -> str:
    assert value.dtype.byteorder in "=|<"
    sha256 = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    return f"{value.dtype.name} {'x'.join(map(str, value.shape)) or 'number'} {sha256[:32]}"


def unpack(name: str, directory: Path) -> Path:
    """Make `directory` a run directory with the checkpoint `name` of ``tests/data``, and return its path."""
    directory.mkdir()
    file = directory / "checkpoint.h5"
    with gzip.open(ROOT / "tests" / "data" / f"{name}.h5.gz") as packed, file.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    return file


def recorded() -> dict[str, dict[str, str]]:
    """Return the recorded digests of all runs."""
    runs: dict[str, dict[str, str]] = json.loads(RECORD.read_text())["runs"]
    return runs


#: Resumes each of the runs, one after another.
RESUMED = """
import json, sys
from ffmpi.commands import train
from ffmpi.run.progress import Output
from ffmpi.runtime import mpi

def main(comm):
    for run in json.loads(sys.argv[1]):
        train.resume(comm, run, [], Output(as_json=True))

mpi.run(main)
"""


def record() -> None:
    """Train all runs on one rank, resume the checkpoints of older formats, and write the digests down."""
    older = [name for name in CHECKPOINTS if int(name.split("-")[1]) < FORMAT]
    with tempfile.TemporaryDirectory() as place:
        runs = {str(Path(place, name)): settings_of(name) for name in [*RUNS, *CHECKPOINTS] if name not in older}
        subprocess.run([sys.executable, "-c", SEVERAL, DIGITS, json.dumps(runs)], check=True, cwd=ROOT)
        resumed = [str(unpack(name, Path(place, name)).parent) for name in older]
        subprocess.run([sys.executable, "-c", RESUMED, json.dumps(resumed)], check=True, cwd=ROOT)
        found = {name: digests(Path(place, name)) for name in [*RUNS, *CHECKPOINTS]}
        said = {name: scores(Path(place, name)) for name in RUNS}
    RECORD.write_text(json.dumps({"recorded": _circumstances(), "runs": found}, indent=1) + "\n")
    SCORES.write_text(json.dumps(said, indent=1) + "\n")


#: Keeps a copy of the checkpoint that is written when half of a run is done.
_HALF = """
import shutil
from ffmpi.run import checkpoint
from ffmpi.run.writer import Writer

def commit(writer, wait=True, commit=Writer.commit):
    commit(writer)
    with checkpoint.reading(writer._path) as reader:
        half = 2 * reader.header.chapter == reader.header.config.chapters
    if half:
        shutil.copy(writer._path, writer._path.with_name("half.h5"))
    return True

Writer.commit = commit
"""


def freeze(name: str) -> None:
    """Train the run of the checkpoint `name`, and put what it has when half is done into ``tests/data``."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place, name)
        command = [sys.executable, "-c", _HALF + SEVERAL, DIGITS, json.dumps({str(run): settings_of(name)})]
        subprocess.run(command, check=True, cwd=ROOT)
        packed = ROOT / "tests" / "data" / f"{name}.h5.gz"
        packed.write_bytes(gzip.compress((run / "half.h5").read_bytes(), mtime=0))


def _circumstances() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%h", "--", "ffmpi", "kernels"], check=True, cwd=ROOT, capture_output=True,
        text=True,
    )  # fmt: skip
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {processors[0].partition(': ')[2] if processors else 'unknown'}",
        "vectors": "AVX-512 and AVX2 (NUMBA_CPU_NAME=haswell, NUMBA_CPU_FEATURES=+avx,+avx2,+fma) give the same bits",
    }


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--record"]:
            record()
        case ["--freeze", name] if name in CHECKPOINTS:
            freeze(name)
        case _:
            sys.exit(__doc__)
