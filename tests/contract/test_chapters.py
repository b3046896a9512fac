"""The paper's chapter algorithm has one result, whichever schedule, exchange and number of ranks carry it out."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from ffmpi import config, data
from ffmpi.data.split import divide
from tests.conftest import Run
from tests.contract.agreement import assert_agrees_with_plain_numpy, assert_survives_kill
from tests.helpers import DIGITS, assert_same_bits, records, sets

pytestmark = pytest.mark.mpi

ADAPTIVE = ["train.epochs=8", "train.chapters=8", "negatives.name=adaptive"]
CASES = {
    "random": ["train.epochs=6", "train.chapters=3"],
    "fixed": ["train.epochs=4", "negatives.name=fixed", "train.shuffle=false", "optimizer.name=adam",
        "train.batch_size=37"],
    "every batch": ["train.epochs=6", "train.chapters=2", "negatives.resample=batch", "head.step=epoch",
        "augment=['shift']"],
    "by softmax": [*ADAPTIVE, "negatives.lag=2"],
    "by goodness": [*ADAPTIVE, "negatives.scores=goodness", "negatives.lag=3", "classify.goodness_every=3"],
    "local softmax": ["train.epochs=6", "train.chapters=3", "rule.name=local-softmax", "optimizer.name=adam"],
    "dropout": ["train.epochs=6", "train.chapters=3", "network.transforms=[{name='dropout', probability=0.2}]",
        "optimizer.learning_rate=0.003"],
    "collaboration": [
        "train.epochs=6", "train.chapters=3", "rule.name=collaboration", "optimizer.learning_rate=0.001",
        "network.transforms=[{name='dropout', probability=0.2}]", "network.input_transforms=dropout",
    ],
    "symba": ["train.epochs=4", "train.chapters=2", "rule.name=symba", "optimizer.name=adam"],
    "dff": [
        "train.epochs=6", "train.chapters=1", "train.batch_size=2000", "train.shuffle=false",
        "learning_rate.constant=1.0",
        "data.label=overlay", "data.label_value=2.8215", "data.mean=0.1307", "data.std=0.3081",
        "network.normalise=l2", "network.normalise.epsilon=1e-4", "network.init=uniform", "rule.goodness=mean",
        "rule.threshold=0.04", "negatives.name=fixed", "optimizer.name=adam", "optimizer.learning_rate=0.03",
        "optimizer.weight_decay=0", 'classify.methods=["goodness"]', "classify.goodness_layers=[1,2,3]",
    ],
    "headless": ["train.epochs=3", 'classify.methods=["goodness"]'],
}  # fmt: skip
#: Digits in files of their own are own data, whose pixels would be measured.
FIXED = "data.standardise=fixed"
PLACES = [(2, "all-layers", ""), (3, "single-layer", "activations"), (2, "single-layer", "weights")]
#: Cases that add little elsewhere, or cannot be there.
ONLY = {
    "fixed": "all-layers",
    "headless": "single-layer",
    "dff": "single-layer",
    "collaboration": "single-layer",
    "symba": "all-layers",
}
#: On as many ranks as there are, with one buffer a link.
MOST = [(4, "all-layers", ""), (4, "single-layer", "activations"), (4, "single-layer", "weights")]


ALL = [
    (case, *place)
    for case in CASES
    for place in (MOST if case == "by goodness" else PLACES)
    if ONLY.get(case, place[1]) == place[1]
]


def settings_of(case: str, name: str, *more: str) -> list[str]:
    """Return the settings of a case under schedule `name`; no layer is like another."""
    return ["network.layers=[64,50,32]", "train.batch_size=80", *CASES[case], f"schedule.name={name}", *more]


def options(case: str, name: str, *more: str) -> list[str]:
    """Return the command line of a case under schedule `name`."""
    return sets(*settings_of(case, name, *more))


@pytest.fixture
def reference(train_all):
    """Return the sequential run of a case, made once."""
    return train_all(0, {case: settings_of(case, "sequential") for case in CASES})


@pytest.mark.parametrize(("case", "ranks", "name", "exchange"), ALL)
def test_every_schedule_gives_the_sequential_bits(
    case: str, ranks: int, name: str, exchange: str, reference, train_all
) -> None:
    runs = {}
    for one, count, schedule, how in ALL:
        more = [f"schedule.exchange={how}"] if how else []
        if count == ranks:
            more += ["schedule.depth=1"] if count == 4 else []
            runs[f"{one}, {schedule} {how}"] = settings_of(one, schedule, *more)
    assert_same_bits(reference(case), train_all(ranks, runs)(f"{case}, {name} {exchange}"))


def test_one_shard_is_all_layers(reference, ffmpi: Run, tmp_path: Path) -> None:
    ffmpi(1, "train", DIGITS, "--run", tmp_path / "run", *options("random", "federated"))
    assert_same_bits(reference("random"), tmp_path / "run")


def write(path: Path, samples: data.DataSet, group: str, part: np.ndarray | slice = slice(None)) -> None:
    """Write a part of digits into a file of its own."""
    assert samples.images is not None
    with h5py.File(path, "w") as file:
        file.attrs["classes"] = 10
        file[f"{group}/images"] = samples.images[part].reshape(-1, 8, 8)
        file[f"{group}/labels"] = samples.classes[part]


def test_shards_by_file(ffmpi: Run, tmp_path: Path) -> None:
    """Each shard from a file that only its rank opens gives the bits of the same shards cut out of one set."""
    train, test = (data.load("digits", None, split) for split in ("train", "test"))
    cut = ["schedule.name=federated", "shards.count=2", "shards.by=class", "shards.sizes=[2,1]"]
    parts = divide(config.read(str(DIGITS), cut), train.classes, np.arange(len(train.classes)))
    for shard, part in enumerate(parts, 1):
        write(tmp_path / f"{shard}.h5", train, "train", part)
    write(tmp_path / "test.h5", test, "test")
    files = [
        "schedule.name=federated", "data.name=hdf5", f"data.path={tmp_path}/{{shard}}.h5", "shards.count=2", FIXED,
        "shards.by=file", f"shards.test_path={tmp_path}/test.h5",
    ]  # fmt: skip
    more = ["train.epochs=3"]
    ffmpi(1, "train", DIGITS, "--run", tmp_path / "cut", *options("random", "federated", *cut, *more))
    ffmpi(2, "train", DIGITS, "--run", tmp_path / "files", *options("random", "federated", *files, *more))
    assert_same_bits(tmp_path / "cut", tmp_path / "files")
    one, other = (records(tmp_path / name)[-1] for name in ("cut", "files"))
    assert one["accuracy"] == other["accuracy"]
    whole, parts = (
        json.loads((tmp_path / name / "environment.json").read_text())["data"]["splits"]["train"]
        for name in ("cut", "files")
    )
    assert parts["mean"] == pytest.approx(whole["mean"]) and parts["std"] == pytest.approx(whole["std"])
    assert all(parts[key] == whole[key] for key in ("samples", "dtype", "least", "greatest", "per_class"))
    done = ffmpi(2, "evaluate", tmp_path / "files", "--json")
    assert json.loads(done.stdout)["accuracy"] == one["accuracy"]


def test_one_shard_by_file_is_everybodys(reference, ffmpi: Run, tmp_path: Path) -> None:
    write(tmp_path / "1.h5", data.load("digits", None, "train"), "train")
    write(tmp_path / "test.h5", data.load("digits", None, "test"), "test")
    files = [
        "shards.by=file", "data.name=hdf5", f"data.path={tmp_path}/{{shard}}.h5", FIXED,
        f"shards.test_path={tmp_path}/test.h5",
    ]  # fmt: skip
    ffmpi(2, "train", DIGITS, "--run", tmp_path / "run", *options("random", "federated", *files))
    assert_same_bits(reference("random"), tmp_path / "run")


def test_shards_may_be_on_any_ranks(ffmpi: Run, tmp_path: Path) -> None:
    shards = ["shards.count=3", "shards.by=class", "shards.sizes=[3, 1, 2]"]
    for ranks in (1, 3):
        ffmpi(ranks, "train", DIGITS, "--run", tmp_path / str(ranks), *options("random", "federated", *shards))
    assert_same_bits(tmp_path / "1", tmp_path / "3")


@pytest.mark.parametrize("case", CASES)
def test_plain_numpy_agrees(case: str, reference) -> None:
    assert_agrees_with_plain_numpy(reference(case))


@pytest.mark.parametrize(
    ("case", "before", "after"),
    [
        ("by softmax", (2, "all-layers"), 3),
        pytest.param("every batch", (1, "sequential"), 3, marks=pytest.mark.slow),
        ("by goodness", (3, "single-layer"), 2),
        pytest.param("local softmax", (2, "single-layer"), 3, marks=pytest.mark.slow),
        ("random", (2, "federated"), 1),
    ],
)
def test_same_bits_after_kill_and_resume(
    case: str, before: tuple[int, str], after: int, reference, train_once, run: Run, tmp_path: Path
) -> None:
    ranks, name = before
    settings, whole = options(case, name), reference(case)
    if name == "federated":
        settings += sets("shards.count=2", "train.chapters=6")
        whole = train_once("federated", 1, *settings)
    more = sets("schedule.name=single-layer") if name == "sequential" else []
    assert_survives_kill(run, whole, tmp_path / "run", settings, ranks, after, *more)


def test_negatives_chosen_for_each_batch_of_the_pipeline(ffmpi: Run, tmp_path: Path) -> None:
    """The neutral rows run ahead of what is learnt from by `lag` batches, on however many ranks."""
    each = [
        "negatives.name=adaptive",
        "negatives.resample=batch",
        "negatives.lag=3",
        "train.epochs=3",
        "train.batch_size=70",
    ]
    for ranks in (1, 2, 4):
        ffmpi(ranks, "train", DIGITS, "--run", tmp_path / str(ranks), *sets(*each))
    assert_same_bits(tmp_path / "1", tmp_path / "2")
    assert_same_bits(tmp_path / "1", tmp_path / "4")
