"""Runs on samples with weights agree with plain NumPy, on one rank and on three, in every schedule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ffmpi import data
from tests.contract.agreement import assert_agrees_with_plain_numpy
from tests.helpers import assert_same_bits, records

pytestmark = pytest.mark.mpi

COMMON = ["data.name=hdf5", "data.standardise=fixed", "network.layers=[48,40,32]", "train.batch_size=60"]
#: Where whole batches count nothing: in the order of the file.
IN_ORDER = "train.shuffle=false"
CASES = {
    "goodness": ["train.epochs=3", "optimizer.name=adam", "optimizer.learning_rate=0.002"],
    "none in a batch": ["train.epochs=2", IN_ORDER],
    "none in a chapter's batch": ["train.epochs=3", IN_ORDER, "schedule.name=sequential", "head.step=epoch"],
    "chosen": ["train.epochs=3", "negatives.name=adaptive", "negatives.resample=batch"],
    "local-softmax": ["train.epochs=3", "rule.name=local-softmax", "schedule.name=sequential"],
    "local-softmax in order": ["train.epochs=2", "rule.name=local-softmax", IN_ORDER],
}
#: Other schedules of the paper's chapters, which must do the same.
PLACES = {"none in a chapter's batch": "all-layers", "local-softmax": "single-layer"}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write digits with weights: some count several times, some not at all, such as all of two batches in a row."""
    path = tmp_path_factory.mktemp("weighted") / "digits.h5"
    with h5py.File(path, "w") as file:
        for split in ("train", "test"):
            part = data.load("digits", None, split)
            assert part.images is not None
            file[f"{split}/images"], file[f"{split}/labels"] = part.images.reshape(-1, 8, 8), part.classes
        count = len(file["train/labels"])
        weights = np.random.default_rng(0).choice([0, 0.5, 1, 3], count)
        weights[120:240] = 0
        file["train/often"], file["train/once"] = weights, np.ones(count, np.uint8)
    return path


@pytest.fixture
def runs(train_all: Callable[..., Callable[[str], Path]], samples: Path) -> Callable[[int], Callable[[str], Path]]:
    """Return ``runs(ranks)(case)``, the directory of a run."""
    base = [*COMMON, f"data.path={samples}"]

    def settings(case: str, ranks: int) -> list[str]:
        place = [f"schedule.name={PLACES[case]}"] if ranks > 1 and case in PLACES else []
        rest = [one for one in CASES[case] if not (place and one.startswith("schedule.name"))]
        return [*base, "data.weights=often", *rest, *place]

    def train(ranks: int) -> Callable[[str], Path]:
        other = {"once": [*base, "train.epochs=2", "data.weights=once"], "without": [*base, "train.epochs=2"]}
        return train_all(ranks, {case: settings(case, ranks) for case in CASES} | (other if ranks == 1 else {}))

    return train


@pytest.mark.parametrize("case", CASES)
def test_weights_agree_with_plain_numpy(case: str, runs: Callable[[int], Callable[[str], Path]]) -> None:
    assert_agrees_with_plain_numpy(runs(1)(case))


@pytest.mark.parametrize("case", CASES)
def test_weights_are_the_same_on_three_ranks(case: str, runs: Callable[[int], Callable[[str], Path]]) -> None:
    assert_same_bits(runs(1)(case), runs(3)(case))


def test_all_that_count_once_give_the_bits_of_none(runs: Callable[[int], Callable[[str], Path]]) -> None:
    assert_same_bits(runs(1)("once"), runs(1)("without"))
    times = "seconds", "samples_per_second", "ranks"
    one, other = ([{k: v for k, v in each.items() if k not in times} for each in records(runs(1)(name))]
                  for name in ("once", "without"))  # fmt: skip
    assert one == other
