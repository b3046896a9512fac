"""The paper's chapter algorithm has one result, whichever schedule, exchange and number of ranks carry it out."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import h5py
import pytest

from ffmpi import config, data
from ffmpi.shards import divide
from tests.conftest import DIGITS, Run, Start, assert_same_bits

pytestmark = pytest.mark.mpi

ADAPTIVE = ["train.epochs=8", "train.chapters=8", "negatives.kind=adaptive"]
CASES = {
    "random": ["train.epochs=6", "train.chapters=3"],
    "fixed": ["train.epochs=4", "negatives.kind=fixed", "train.shuffle=false", "optimizer.name=adam", "train.batch=37"],
    "every batch": ["train.epochs=6", "train.chapters=2", "negatives.redraw=batch"],
    "by softmax": [*ADAPTIVE, "negatives.lag=2"],
    "by goodness": [*ADAPTIVE, "negatives.scores=goodness", "negatives.lag=3", "classify.goodness_every=3"],
    "local softmax": ["train.epochs=6", "train.chapters=3", "rule.name=local-softmax", "optimizer.name=adam"],
    "whole batch": ["train.epochs=6", "train.chapters=1", "train.batch=2000"],  # as DFF
    "headless": ["train.epochs=3", 'classify.methods=["goodness"]'],
}
PLACES = [(2, "all-layers", ""), (3, "single-layer", "activations"), (2, "single-layer", "weights")]
#: Cases that add little elsewhere, or cannot be there.
ONLY = {"fixed": "all-layers", "headless": "single-layer", "whole batch": "single-layer"}
MORE = [(4, "all-layers", ""), (4, "single-layer", "activations"), (4, "single-layer", "weights")]


def options(case: str, name: str, *more: str) -> list[str]:
    """Return the command line of a case under schedule `name`; no layer is like another."""
    settings = ["network.layers=[64,50,32]", *CASES[case], f"schedule.name={name}", *more]
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture
def reference(train_once):
    """Return the sequential run of a case, made once."""
    return lambda case: train_once(case, 0, *options(case, "sequential"))


@pytest.mark.parametrize(
    ("case", "ranks", "name", "exchange"),
    [(case, *place) for case in CASES for place in PLACES if ONLY.get(case, place[1]) == place[1]]
    + [("by goodness", *place) for place in MORE],
)
def test_every_schedule_gives_the_sequential_bits(
    case: str, ranks: int, name: str, exchange: str, reference, ffmpi: Run, tmp_path: Path
) -> None:
    more = [f"schedule.exchange={exchange}"] if exchange else []
    if ranks == 4:
        more += ["schedule.depth=1"]
    ffmpi(ranks, "train", DIGITS, "--run", tmp_path / "run", *options(case, name, *more))
    assert_same_bits(reference(case), tmp_path / "run")


def test_one_shard_is_all_layers(reference, ffmpi: Run, tmp_path: Path) -> None:
    ffmpi(1, "train", DIGITS, "--run", tmp_path / "run", *options("random", "federated"))
    assert_same_bits(reference("random"), tmp_path / "run")


def test_shards_by_file(ffmpi: Run, tmp_path: Path) -> None:
    """Each shard from a file that only its rank opens gives the bits of the same shards cut out of one set."""
    train, test = (data.load("digits", None, split) for split in ("train", "test"))
    cut = ["schedule.name=federated", "shards.count=2", "shards.by=class", "shards.sizes=[2,1]"]
    parts = divide(config.read(str(DIGITS), cut), train.classes)
    for name, split, samples in [("1", train, parts[0]), ("2", train, parts[1]), ("held-out", test, slice(None))]:
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.attrs["classes"] = 10
            group = file.create_group("test" if split is test else "train")
            group["images"], group["labels"] = split.images[samples].reshape(-1, 8, 8), split.classes[samples]
    files = [
        "schedule.name=federated", "data.name=hdf5", f"data.path={tmp_path}/{{shard}}.h5", "shards.count=2",
        "shards.by=file", f"shards.held_out={tmp_path}/held-out.h5",
    ]  # fmt: skip
    more = ["train.epochs=3"]
    ffmpi(1, "train", DIGITS, "--run", tmp_path / "cut", *options("random", "federated", *cut, *more))
    ffmpi(2, "train", DIGITS, "--run", tmp_path / "files", *options("random", "federated", *files, *more))
    assert_same_bits(tmp_path / "cut", tmp_path / "files")
    one, other = (
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1]) for name in ("cut", "files")
    )
    assert one["accuracy"] == other["accuracy"]
    done = ffmpi(2, "evaluate", tmp_path / "files", "--json")
    assert json.loads(done.stdout)["accuracy"] == one["accuracy"]


def test_shards_may_be_on_any_ranks(ffmpi: Run, tmp_path: Path) -> None:
    shards = ["shards.count=3", "shards.by=class", "shards.sizes=[3, 1, 2]"]
    for ranks in (1, 3):
        ffmpi(ranks, "train", DIGITS, "--run", tmp_path / str(ranks), *options("random", "federated", *shards))
    assert_same_bits(tmp_path / "1", tmp_path / "3")


@pytest.mark.parametrize(
    ("case", "before", "after"),
    [
        ("by softmax", (2, "all-layers"), 3),
        ("every batch", (1, "sequential"), 3),
        ("by goodness", (3, "single-layer"), 2),
        ("local softmax", (2, "single-layer"), 3),
        ("random", (2, "federated"), 1),
    ],
)
def test_same_bits_after_kill_and_resume(
    case: str, before: tuple[int, str], after: int, start: Start, ffmpi: Run, tmp_path: Path
) -> None:
    ranks, name = before
    more = ["train.epochs=24", "train.chapters=12", "network.layers=[128,100,64]"]
    if name == "federated":
        more += ["shards.count=2"]
    ffmpi(1, "train", DIGITS, "--run", tmp_path / "whole", *options(case, name, *more))
    directory = tmp_path / "run"
    job = start(ranks, "-m", "ffmpi", "train", DIGITS, "--run", directory, *options(case, name, *more))
    deadline = time.monotonic() + 60
    while not (directory / "checkpoint.h5").exists():
        assert time.monotonic() < deadline and job.process.poll() is None
        time.sleep(0.002)
    os.kill(job.rank_pid(ranks - 1), signal.SIGKILL)
    assert job.wait().returncode != 0
    other = ["--set", "schedule.name=single-layer"] if name == "sequential" else []
    ffmpi(after, "resume", directory, *other)
    assert_same_bits(tmp_path / "whole", directory)
    assert len((directory / "metrics.jsonl").read_text().splitlines()) == 12


def test_negatives_chosen_for_each_batch_of_the_pipeline(ffmpi: Run, tmp_path: Path) -> None:
    """The neutral inputs run ahead of their lessons by `lag` batches, on however many ranks."""
    each = ["negatives.kind=adaptive", "negatives.redraw=batch", "negatives.lag=3", "train.epochs=3", "train.batch=70"]
    for ranks in (1, 2, 4):
        settings = [part for setting in each for part in ("--set", setting)]
        ffmpi(ranks, "train", DIGITS, "--run", tmp_path / str(ranks), *settings)
    assert_same_bits(tmp_path / "1", tmp_path / "2")
    assert_same_bits(tmp_path / "1", tmp_path / "4")
