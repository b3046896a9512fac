"""Validation samples are never learnt from, and scored to the same numbers wherever a run is carried out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffmpi import data
from ffmpi.data.split import subset
from ffmpi.network import random
from tests.conftest import Run
from tests.contract.agreement import assert_survives_kill
from tests.helpers import DIGITS, arrays, assert_same_bits, records, sets

pytestmark = pytest.mark.mpi

SHARE = 0.1
COMMON = [f"data.validation={SHARE}", "network.layers=[64,50,32]", "train.epochs=4", "classify.goodness_every=1"]
COMMON += ["train.batch_size=80"]
CASES = {
    "pipeline": ["checkpoint.best=true"],
    "local": ["rule.name=local-softmax", "optimizer.name=adam"],
    "measured": ["data.standardise=pixel", "negatives.name=adaptive", "schedule.name=single-layer"],
    "by goodness": ["negatives.name=adaptive", "negatives.scores=goodness", "schedule.name=all-layers"],
    "by weights": ["schedule.name=single-layer", "schedule.exchange=weights"],
    "shards": ["schedule.name=federated", "shards.count=3", "train.epochs=6"],
}


def settings_of(case: str) -> list[str]:
    return [*COMMON, *CASES[case]]


def measured(run: Path) -> list[tuple[Any, ...]]:
    """Return what a run says of each chapter but for times."""
    return [(line["epoch"], line.get("validation"), line["accuracy"], line["samples"]) for line in records(run)]


@pytest.fixture
def alone(train_all):
    """Return the one-rank run of a case, made once."""
    return train_all(1, {case: settings_of(case) for case in CASES})


@pytest.mark.parametrize("case", CASES)
def test_the_same_on_three_ranks(case: str, alone, train_all) -> None:
    one, three = alone(case), train_all(3, {case: settings_of(case) for case in CASES})(case)
    assert_same_bits(one, three)
    assert measured(one) == measured(three)
    *before, last = records(one)
    methods = set(last["validation"])
    assert len(methods) == 2 and set(last["accuracy"]) == methods
    # The test samples are scored at the end only.
    assert all(set(line["validation"]) == methods and line["accuracy"] == {} for line in before)


def test_nothing_is_learnt_from_them(alone, ffmpi: Run, tmp_path: Path) -> None:
    """A set that never had the validation samples gives the same bits, its pixels' scale with them."""
    train, test = data.load("digits", None, "train"), data.load("digits", None, "test")
    count = len(train.classes)
    words = random.words(0, random.Purpose.VALIDATION, 0, count)
    kept = np.sort(np.argsort(words, kind="stable")[round(SHARE * count) :])
    rest = subset(train, kept)
    np.savez(
        tmp_path / "rest.npz",
        **{f"x_{name}": part.images.reshape(-1, 8, 8) for name, part in (("train", rest), ("test", test))},  # type: ignore[union-attr]
        **{f"y_{name}": part.classes for name, part in (("train", rest), ("test", test))},
    )
    for case in ("pipeline", "measured"):
        own = ["data.name=numpy", f"data.path={tmp_path / 'rest.npz'}", "data.validation=0", "checkpoint.best=false"]
        standardise = [] if case == "measured" else ["data.standardise=fixed"]
        run = tmp_path / case
        ffmpi(2, "train", DIGITS, "--run", run, *sets(*settings_of(case), *own, *standardise))
        assert_same_bits(alone(case), run)
        assert records(run)[-1]["accuracy"] == records(alone(case))[-1]["accuracy"]
        assert "validation" not in records(run)[-1]


def test_the_best_is_kept(alone, run: Run, tmp_path: Path) -> None:
    """Also when the run is killed and resumed elsewhere; what was saved is the state after that epoch."""
    directory = tmp_path / "run"
    assert_survives_kill(run, alone("pipeline"), directory, sets(*settings_of("pipeline")), 3, 2)
    accuracies = [line["validation"]["softmax"] for line in records(directory)]
    best = 1 + int(np.argmax(accuracies))
    kept, whole = (arrays(place, "checkpoint-best.h5") for place in (directory, alone("pipeline")))
    assert kept.keys() == whole.keys()
    for name, array in kept.items():
        np.testing.assert_array_equal(array, whole[name], err_msg=name)
    done = run(0, "-m", "ffmpi", "info", directory / "checkpoint-best.h5")
    assert f"epochs done: {best}\n" in done.stdout
    done = run(2, "-m", "ffmpi", "evaluate", directory / "checkpoint-best.h5", "--json", "--split", "validation")
    found = json.loads(done.stdout)
    assert (found["split"], found["samples"]) == ("validation", 144)
    assert found["accuracy"] == records(directory)[best - 1]["validation"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.validation=1437"], "data.validation = 1437: expected fewer than the 1437 training samples"),
        (["checkpoint.best=true"], "checkpoint.best = true: expected data.validation"),
    ],
)
def test_refusals(settings: list[str], message: str, run: Run) -> None:
    done = run(2, "-m", "ffmpi", "train", DIGITS, *sets(*settings))
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
