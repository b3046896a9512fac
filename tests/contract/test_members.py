"""Every member of every family trains to the same bits on one rank and on two, and to others than its siblings.

The members come from the registries: who adds one is tested here.
"""

from __future__ import annotations

import numpy as np
import pytest

from ffmpi.config.describe import families
from ffmpi.config.registries import AUGMENTATIONS, RULES, SCHEDULES, TRANSFORMS
from tests.helpers import arrays, assert_same_bits

pytestmark = pytest.mark.mpi

COMMON = ["train.epochs=2", "network.layers=[24,20,16]", "train.batch_size=150", "optimizer.learning_rate=0.002"]
COMMON += ["checkpoint.every=2"]  # what is in the last one is compared
#: What members need to be told, since their defaults are for nobody.
NEEDED = {
    "learning_rate.steps": ["learning_rate.milestones=[1]"],
    "schedule.federated": ["shards.count=2"],
    # In two epochs the default is constant, and half a cosine falls as a line does.
    "learning_rate.linear": ["learning_rate.constant=0"],
    "learning_rate.cosine": ["learning_rate.minimum=0.1"],
}


def _chosen(table: str, name: str) -> list[str]:
    return [f"{table}.name={name}", *NEEDED.get(f"{table}.{name}", [])]


#: Each rule under each schedule; and each other member by itself, where layers learn in turn.
RUNS = {
    f"{rule} {schedule}": [*COMMON, *_chosen("rule", rule), *_chosen("schedule", schedule)]
    for rule in RULES
    for schedule in SCHEDULES
}
BESIDE = {
    table: {name: f"{table} {name}" for name in family.registry}
    for table, family in families().items()
    if table not in ("rule", "schedule", "head.optimizer")
}
RUNS |= {
    run: [*COMMON, "schedule.name=all-layers", *_chosen(table, name)]
    for table, runs in BESIDE.items()
    for name, run in runs.items()
}
BESIDE["augment"] = {name: f"augment {name}" for name in AUGMENTATIONS}
RUNS |= {run: [*COMMON, "schedule.name=all-layers", f"augment={name}"] for name, run in BESIDE["augment"].items()}
BESIDE["network.transforms"] = {name: f"network.transforms {name}" for name in ("[]", *TRANSFORMS)}
RUNS |= {
    run: [*COMMON, "schedule.name=all-layers", f"network.transforms={name}"]
    for name, run in BESIDE["network.transforms"].items()
}
OF_IMAGES = {name: f"network.input_transforms {name}" for name in TRANSFORMS}
RUNS |= {
    run: [*COMMON, "schedule.name=all-layers", f"network.input_transforms={name}"] for name, run in OF_IMAGES.items()
}
BESIDE["network.input_transforms"] = OF_IMAGES | {"[]": "network.transforms []"}
#: Moved images, shown with labels that the network chooses by what it says of them.
MOVED = ["augment=['shift', 'flip']", "negatives.name=adaptive", "negatives.scores=goodness"]
RUNS |= {
    f"moved {name}": [*COMMON, *MOVED, *_chosen("schedule", name)]
    for name, schedule in SCHEDULES.members().items()
    if not schedule.sharded
}
#: The schedules of one algorithm, which one rank carries out in the same way.
CHAPTERS = [name for name, schedule in SCHEDULES.members().items() if schedule.algorithm == "chapters"]


def _alone(run: str) -> str:
    """Return the run on one rank that has the bits of `run`: of those that differ by such a schedule, one."""
    first, _, last = run.rpartition(" ")
    return f"{first} {CHAPTERS[0]}" if last in CHAPTERS else run


ALONE = {run: RUNS[run] for run in dict.fromkeys(map(_alone, RUNS))}
SHARED = {run: settings for run, settings in RUNS.items() if not run.endswith(" sequential")}


def test_schedules_of_one_algorithm() -> None:
    assert sorted(CHAPTERS) == ["all-layers", "sequential", "single-layer"] and CHAPTERS[0] == "sequential"


@pytest.mark.parametrize("case", SHARED)
def test_two_ranks_give_the_bits_of_one(case: str, train_all) -> None:
    assert_same_bits(train_all(0, ALONE)(_alone(case)), train_all(2, SHARED)(case))


@pytest.mark.parametrize("table", BESIDE)
def test_every_member_has_an_effect(table: str, train_all) -> None:
    weights = {
        name: {key: value for key, value in arrays(train_all(0, ALONE)(run)).items() if "weights" in key}
        for name, run in BESIDE[table].items()
    }
    names = list(weights)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            assert any(not np.array_equal(value, weights[other].get(key)) for key, value in weights[one].items()), (
                f"{one} and {other}"
            )
