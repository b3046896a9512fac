"""What is told of the learning: measured records of networks that learn and of networks that do not."""

from __future__ import annotations

from typing import Any

import pytest

from ffmpi import config
from ffmpi.data.info import DatasetInfo
from ffmpi.run.health import Finding, findings

DATASET = DatasetInfo((8, 8), tuple("0123456789"), 1437, 360)
#: (loss, goodness of positives, of negatives, percent of the pairs told apart), as measured on 3 x 256 units.
BEGUN = [(21.9, 243.0, 239.7, 66), (33.6, 240.2, 236.3, 66), (27.4, 248.9, 247.2, 60)]
LEARNT = [(0.0323, 264.6, 240.1, 100), (0.0185, 272.3, 224.4, 100), (0.02, 280.7, 218.3, 100)]
BLIND = [(0.811, 256.02, 255.98, 61), (1.18, 256.0, 256.0, 67), (1.16, 256.0, 255.9, 68)]
OWN = ("data.name=hdf5", "data.path=own.h5")


def settings(*changes: str) -> config.Config:
    changed = ["network.layers=[256,256,256]", "train.epochs=60", "train.batch_size=50", *changes]
    return config.parse("", "test", changed)


def record(epoch: int, layers: list[Any], head: float = 99.0, **accuracy: float) -> dict[str, Any]:
    names = "loss", "positive_goodness", "negative_goodness", "pairwise_accuracy"
    return {
        "epoch": epoch,
        "layers": [dict(zip(names, map(float, layer), strict=True)) for layer in layers],
        "head": {"loss": 1.0, "training_accuracy": head},
        "accuracy": accuracy,
    }


def found(now: dict[str, Any], *changes: str, began: Any = None, dataset: DatasetInfo = DATASET) -> list[Finding]:
    chosen = settings(*changes)
    first = record(1, BEGUN) if began is None else began
    return findings(now, first, chosen, dataset, last=now["epoch"] == chosen.train.epochs)


def test_a_network_that_learns_is_not_complained_of() -> None:
    assert found(record(1, BEGUN, head=9)) == []  # measured from the first batch on
    assert found(record(2, [*BEGUN[:2], (44.2, 239.5, 230.3, 50)])) == []  # 29 steps are few
    assert found(record(60, LEARNT, softmax=98.9, goodness=97.8)) == []
    assert found(record(5, [(8.2, 261.6, 247.4, 63.0)] * 3)) == []


def test_layers_that_see_nothing_of_the_label() -> None:
    """Found by how they rank pairs: their losses are near that of guessing, log 2, as those of layers that learn."""
    told = found(record(60, BLIND, softmax=98.3, goodness=31.4), *OWN, "data.standardise=fixed")
    assert [(finding.kind, finding.who) for finding in told] == [("undecided", f"layer {n}") for n in (1, 2, 3)]
    assert "told apart in 61 % of the pairs" in str(told[0]) and "data.standardise = 'set'" in told[0].cure
    assert {finding.cure for finding in told[1:]} == {"fix layer 1 first"}
    (upper,) = found(record(6, [LEARNT[0], LEARNT[1], (2.5, 255.4, 255.4, 53)]))
    assert upper.who == "layer 3" and upper.cure.startswith("lower optimizer.learning_rate = 0.01")
    (lowest,) = found(record(6, [(2.5, 255.4, 255.4, 53), *LEARNT[1:]]), "data.label_value=0.5")
    assert lowest.cure.startswith("raise data.label_value = 0.5")


def test_a_layer_that_hardly_moves_needs_a_higher_rate() -> None:
    began = record(1, [(62.6, 130.8, 130.3, 52)] * 3)
    told = found(record(10, [(61.6, 132.8, 132.3, 54)] * 3), "optimizer.learning_rate=1e-6", began=began)
    assert told[0].kind == "undecided" and told[0].cure.startswith("raise optimizer.learning_rate = 1e-06")


def test_pairs_that_are_hardly_told_apart_need_a_higher_rate() -> None:
    began = record(1, [(0.693, 0.5, 0.5, 51)] * 3)
    told = found(record(10, [(0.686, 0.51, 0.5, 57)] * 3), "rule=symba", began=began)
    assert told[0].kind == "undecided" and told[0].cure.startswith("raise optimizer.learning_rate = 0.01")


def test_dead_layers_and_losses_of_the_order_of_the_threshold() -> None:
    dead, far = (128.0, 0.0, 0.0, 0), (170.0, 144.6, 144.2, 52)
    assert [finding.kind for finding in found(record(1, [dead, far, far]))] == ["dead"]  # the others only begin
    told = found(record(2, [far, (128.0, 2.4e-7, 1.2e-4, 0), LEARNT[2]], head=9), "optimizer.learning_rate=1")
    assert [finding.kind for finding in told] == ["loss", "dead"]
    assert str(told[0]).startswith("layer 1: loss 170, of the order of 256, which is large: goodness 144.6 of")
    assert "lower optimizer.learning_rate = 1" in str(told[0])
    # With the mean of squares and the paper's threshold the same share of 0.01 x 2000 counts.
    paper = ["preset=paper", "network.layers=[2000]", "train.epochs=4", "train.chapters=4"]
    assert [finding.kind for finding in found(record(2, [(9.9, 0.1, 0.1, 70)]), *paper)] == ["loss"]
    assert found(record(2, [(3.0, 18.0, 12.0, 90)]), *paper) == []
    assert "'rms'" in found(record(2, [(9.9, 0.1, 0.1, 70)]), *paper)[0].cure


@pytest.mark.parametrize(("classes", "blind", "sound"), [(2, 54.0, 60.0), (10, 18.0, 20.0), (100, 1.5, 2.5)])
def test_classifiers_near_chance(classes: int, blind: float, sound: float) -> None:
    dataset = DatasetInfo((8, 8), tuple(map(str, range(classes))), 1437, 10**6)
    (head,) = found(record(6, LEARNT, head=blind), dataset=dataset)
    assert (head.kind, head.who) == ("chance", "softmax head") and "head.optimizer.learning_rate = 0.1" in head.cure
    assert found(record(6, LEARNT, head=sound), dataset=dataset) == []
    layers = [{"loss": 2.3, "squares": 100.0, "training_accuracy": accuracy} for accuracy in (sound, blind, blind)]
    local: dict[str, Any] = {"epoch": 6, "accuracy": {}, "layers": layers}
    told = found(local, "rule.name=local-softmax", began=local, dataset=dataset)
    assert [finding.who for finding in told] == ["layer 2", "layer 3"] and told[1].cure == "fix layer 2 first"


def test_a_dead_layer_with_a_classifier() -> None:
    layers = [{"loss": 2.3, "squares": squares, "training_accuracy": 99.0} for squares in (100.0, 0.0)]
    local: dict[str, Any] = {"epoch": 1, "accuracy": {}, "layers": layers}
    (dead,) = found(local, "rule.name=local-softmax", began=local)
    assert (dead.kind, dead.who, dead.cure) == ("dead", "layer 2", "lower optimizer.learning_rate = 0.01")


def test_a_head_that_steps_once_an_epoch_has_time() -> None:
    slow = "head.step=epoch", "schedule.name=sequential", "train.epochs=200"
    assert found(record(60, LEARNT, head=12.0), *slow) == []
    assert [finding.who for finding in found(record(120, LEARNT, head=12.0), *slow)] == ["softmax head"]


def test_accuracies_near_chance_after_the_last_chapter() -> None:
    five = DatasetInfo((8, 8), tuple("01234"), 500, 200)
    assert found(record(59, LEARNT, softmax=20.0), dataset=five) == []
    (softmax,) = found(record(60, LEARNT, softmax=23.0, goodness=40.0), dataset=five)
    assert str(softmax).startswith("softmax: test accuracy 23.00 %; 20 % is chance; likely cure: ")


def test_records_of_older_versions_have_no_pairs() -> None:
    old = record(60, BLIND)
    for layer in old["layers"]:
        del layer["pairwise_accuracy"]
    assert found(old) == []


def test_layers_of_a_rule_that_measures_nothing() -> None:
    """Their losses have no scale that is known; what the head and the accuracies say is still told."""
    bare = [{"loss": 600.0, "active": 1.0}] * 3
    now = {"epoch": 60, "layers": bare, "head": {"loss": 2.3, "training_accuracy": 10.0}, "accuracy": {}}
    assert [finding.who for finding in found(now, began=now)] == ["softmax head"]
