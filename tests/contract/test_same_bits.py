"""The promise: a run's weights depend on its configuration and its seed, and on nothing else."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tests.conftest import OTHER_PYTHON, Run
from tests.contract.agreement import assert_agrees_with_plain_numpy, assert_survives_kill
from tests.helpers import DIGITS, assert_same_bits, sets

pytestmark = pytest.mark.mpi

#: Configurations as different as the settings allow; no size in the second one fills a vector or a batch.
CONFIGURATIONS = {
    "hinton": ["train.epochs=3"],
    "uneven": [
        "train.epochs=2", "network.layers=[50,33,70]", "train.batch_size=37", "optimizer.name=adam",
        "optimizer.learning_rate=0.003",
        "optimizer.weight_decay=0.01", "rule.goodness=mean", "rule.threshold=0.02", "network.normalise=l2",
        "network.init=uniform", "negatives.name=fixed", "train.shuffle=false", "head.init=uniform", "head.bias=false",
        "head.normalise=false", "head.optimizer.name=adam", "head.optimizer.learning_rate=0.001", "data.label=overlay",
        "data.mean=0.3", "data.std=0.4", "classify.goodness_every=1", "classify.goodness_layers=[1,3]",
    ],
    "local": [
        "train.epochs=2", "rule.name=local-softmax", "network.layers=[50,70,33]", "train.batch_size=37",
        "optimizer.name=adam", "optimizer.learning_rate=0.003", "head.init=uniform",
    ],
    "gentle": [
        "train.epochs=4", "network.layers=[112,96,80]", "train.batch_size=80",
        "optimizer.learning_rate=0.001", "negatives.name=adaptive", "head.step=epoch",
        "data.standardise=pixel",
    ],
    "hard": [
        "train.epochs=4", "network.layers=[112,96,80]", "train.batch_size=80",
        "optimizer.learning_rate=0.001", "negatives.name=adaptive", "negatives.scores=goodness",
        "data.standardise=set", "data.label=overlay", "data.label_value=3",
    ],
    "batchwise": [
        "train.epochs=4", "network.layers=[112,96,80]", "train.batch_size=80",
        "optimizer.learning_rate=0.001", "negatives.name=adaptive", "negatives.resample=batch",
        "negatives.lag=3",
    ],
    "moved": [
        "train.epochs=4", "train.chapters=2", "optimizer.learning_rate=0.001", "network.layers=[50,33]",
        "augment=[{name='shift',pixels=1},'flip']", "negatives.name=adaptive", "negatives.scores=goodness",
        "data.standardise=pixel", "network.input_transforms=[{name='dropout', probability=0.2}]",
    ],
    "dropout": [
        "train.epochs=4", "network.layers=[112,96,80]", "train.batch_size=80",
        "optimizer.learning_rate=0.001", "network.transforms=[{name='dropout', probability=0.3}]",
        "negatives.name=adaptive", "negatives.resample=batch", "negatives.lag=2", "data.standardise=pixel",
    ],
    "collaboration": [
        "train.epochs=3", "optimizer.learning_rate=0.001", "rule.name=collaboration", "network.layers=[50,33,40]",
        "negatives.name=adaptive", "negatives.scores=goodness", "classify.goodness_every=1",
    ],
    "swish": ["train.epochs=2", "rule.name=swish", "network.layers=[50,33]", "optimizer.name=adam"],
    "groups": ["train.epochs=2", "rule.name=class-groups", "network.layers=[50,33]", "optimizer.name=adam"],
    "headless": ["train.epochs=4", "train.chapters=2", 'classify.methods=["goodness"]', "train.batch_size=200"],
}  # fmt: skip


def options(name: str, *more: str) -> list[str]:
    """Return the command line of a configuration."""
    return sets(*CONFIGURATIONS[name], *more)


@pytest.fixture
def reference(train_all):
    """Return the one-rank run of a configuration, made once."""
    return train_all(1, CONFIGURATIONS)


PLACES = [
    ("hinton", 3, ["schedule.depth=1"]),
    ("hinton", 4, []),
    ("hinton", 2, ["schedule.threads=2", "schedule.depth=7"]),
    ("hinton", 0, ["schedule.threads=2"]),
    ("uneven", 4, ["schedule.depth=2"]),
    ("gentle", 3, ["schedule.shared_memory=false"]),
    ("hard", 3, []),
    ("moved", 3, ["schedule.shared_memory=false"]),
    ("headless", 3, []),
    ("dropout", 3, []),
    ("local", 3, []),
    # More ranks than layers: every layer is cut.
    ("uneven", 5, []),
    ("batchwise", 5, ["schedule.shared_memory=false"]),
    ("collaboration", 5, []),
    ("groups", 5, []),
    ("swish", 5, []),
    ("hinton", 8, []),
    ("local", 8, ["schedule.shared_memory=false"]),
    ("dropout", 8, []),
    ("hard", 8, ["schedule.depth=1"]),
]


@pytest.mark.parametrize(("name", "ranks", "more"), PLACES)
def test_same_bits_on_any_ranks_threads_and_buffers(
    name: str, ranks: int, more: list[str], reference, train_all
) -> None:
    runs = {one: [*CONFIGURATIONS[one], *others] for one, count, others in PLACES if count == ranks}
    assert_same_bits(reference(name), train_all(ranks, runs)(name))


@pytest.mark.skipif(not OTHER_PYTHON, reason="only one MPI vendor: set FFMPI_TEST_OTHER_PYTHON for another environment")
def test_same_bits_with_another_mpi(reference, ffmpi: Run, tmp_path: Path) -> None:
    ffmpi(2, "train", DIGITS, "--run", tmp_path / "run", *options("hinton"), python=OTHER_PYTHON)
    assert_same_bits(reference("hinton"), tmp_path / "run")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names x86 processors")
@pytest.mark.parametrize(
    ("processor", "features", "names"),
    [
        pytest.param("haswell", "+avx,+avx2,+fma", ["hinton", "uneven", "local"], marks=pytest.mark.perf),
        pytest.param("x86-64", "+sse2", ["uneven"], marks=pytest.mark.slow),
    ],
)
def test_same_bits_with_narrower_vectors(
    processor: str, features: str, names: list[str], reference, train_all, tmp_path: Path
) -> None:
    """A cluster of unlike machines: the other run uses whatever vectors this one has. It compiles every kernel anew."""
    target = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    other = train_all(2, {name: CONFIGURATIONS[name] for name in names}, **target)
    for name in names:
        assert_same_bits(reference(name), other(name))


# In the others losses are so great that what a rounding changes grows a hundred times with each layer.
@pytest.mark.parametrize(
    "name", ["uneven", "local", "gentle", "hard", "batchwise", "moved", "dropout", "collaboration", "swish", "groups"]
)
def test_plain_numpy_agrees(name: str, reference) -> None:
    assert_agrees_with_plain_numpy(reference(name))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("hinton", 2, 3),
        ("gentle", 3, 1),
        ("hard", 2, 5),
        pytest.param("hinton", 1, 2, marks=pytest.mark.slow),
        pytest.param("moved", 2, 1, marks=pytest.mark.slow),
    ],
)
def test_same_bits_after_kill_and_resume(
    name: str, before: int, after: int, reference, run: Run, tmp_path: Path
) -> None:
    more = ["--set", "schedule.depth=1"]
    assert_survives_kill(run, reference(name), tmp_path / "run", options(name), before, after, *more)
