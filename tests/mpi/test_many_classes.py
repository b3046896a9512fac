"""As many classes as there may be: learnt by every rule, told by every method, kept and sent in two bytes each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ffmpi.config.registries import RULES
from ffmpi.data.labels import MOST_CLASSES
from tests.conftest import Run
from tests.contract.agreement import assert_survives_kill
from tests.helpers import DIGITS, assert_same_bits, records, sets

pytestmark = pytest.mark.mpi

CLASSES = 300  # more than a byte can tell apart
LEARNS = [
    "data.name=hdf5", "train.batch_size=30", "train.epochs=2", "optimizer.name=adam", "optimizer.learning_rate=0.002",
    "head.optimizer.name=adam", "head.optimizer.learning_rate=0.003", "network.layers=[320,320]",
]  # fmt: skip
#: What some rules need to learn as fast as the others.
OWN = {
    "class-groups": ["network.layers=[600,600]", "optimizer.learning_rate=0.01", "train.epochs=3"],
    "collaboration": ["train.epochs=5"],
}
NEGATIVES = ["rule.name=goodness", "negatives.name=adaptive", "network.layers=[100,100]", "data.label=append"]


def write(path: Path, classes: int, train: int, test: int) -> Path:
    """Write one picture of 8 x 8 for each class, seen several times with noise."""
    rng = np.random.default_rng(classes)
    pictures = rng.random((classes, 64))
    with h5py.File(path, "w") as file:
        for split, count in (("train", train), ("test", test)):
            labels = rng.permutation(np.arange(count) % classes)
            pixels = pictures[labels] + rng.normal(0, 0.1, (count, 64))
            file[f"{split}/images"] = (pixels.clip(0, 1) * 255).astype(np.uint8).reshape(-1, 8, 8)
            file[f"{split}/labels"] = labels.astype(np.float32)
    return path


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("many") / "samples.h5", CLASSES, 6 * CLASSES, CLASSES // 2)


def test_every_rule_tells_many_classes(train_all: Callable[..., Callable[[str], Path]], samples: Path) -> None:
    base = [*LEARNS, f"data.path={samples}"]
    runs = train_all(2, {rule: [*base, f"rule.name={rule}", *OWN.get(rule, [])] for rule in RULES})
    for rule in RULES:
        accuracy = records(runs(rule))[-1]["accuracy"]
        assert max(accuracy.values()) >= (20 if rule == "class-groups" else 98), (rule, accuracy)  # a guess: 0.33
    assert min(records(runs("collaboration"))[-1]["accuracy"].values()) >= 98  # also by goodness, among all classes


@pytest.mark.slow
def test_negatives_among_many_classes(
    train_all: Callable[..., Callable[[str], Path]], run: Run, tmp_path: Path
) -> None:  # fmt: skip
    """Chosen by either score, on one rank or two, before and after a kill: all the same, also those beyond a byte."""
    samples = write(tmp_path / "samples.h5", CLASSES, 2 * CLASSES, 60)
    base = [*LEARNS, *NEGATIVES, f"data.path={samples}"]
    kinds = {f"by {kind}": [*base, f"negatives.scores={kind}"] for kind in ("softmax", "goodness")}
    one, two = train_all(1, kinds), train_all(2, kinds)
    for kind in kinds:
        assert_same_bits(one(kind), two(kind))
    assert_survives_kill(run, one("by softmax"), tmp_path / "killed", sets(*kinds["by softmax"]), 2, 1)


@pytest.mark.slow
def test_the_most_classes_that_there_may_be(ffmpi: Run, tmp_path: Path) -> None:
    """Trained, evaluated and asked on any ranks; their predictions are not cut to a byte."""
    file, trained = write(tmp_path / "samples.h5", MOST_CLASSES, 4 * MOST_CLASSES, MOST_CLASSES // 2), tmp_path / "run"
    learns = [*LEARNS, f"data.path={file}", "rule.name=local-softmax", "network.layers=[100,100]"]
    ffmpi(2, "train", DIGITS, "--run", trained, *sets(*learns))
    accuracy = records(trained)[-1]["accuracy"]
    assert accuracy["last-layer"] >= 98
    told = json.loads(ffmpi(2, "evaluate", trained, "--json").stdout)
    matrix = np.array(told["confusion"]["last-layer"])
    assert told["accuracy"] == accuracy and matrix.shape == (MOST_CLASSES, MOST_CLASSES)
    assert matrix.sum() == MOST_CLASSES // 2 and 100 * matrix.trace() / matrix.sum() == accuracy["last-layer"]
    lines = ffmpi(0, "predict", trained, file, "--images", "test/images").stdout.splitlines()
    with h5py.File(file) as held:
        right = [int(line.split("\t")[1]) == label for line, label in zip(lines, held["test/labels"], strict=True)]
    assert 100 * np.mean(right) == accuracy["last-layer"]
