"""The rule interface: what a rule declares and asks for reaches it, whichever rule it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from msgspec import structs
from numpy.testing import assert_array_equal

from ffmpi import config
from ffmpi.config.schema import Config
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.data.split import load
from ffmpi.errors import UserError
from ffmpi.network.parameters import Array, Block, Parameters
from ffmpi.network.stages import declared
from ffmpi.rules.goodness import Goodness
from ffmpi.runtime.model import RankModel
from ffmpi.runtime.sizes import spec_of
from ffmpi.runtime.worker import Worker
from ffmpi.schedule import schedule_of

SCHEDULES = ["pipeline", "sequential", "all-layers", "single-layer", "federated"]


class Counting(Goodness, frozen=True, kw_only=True, tag="counting"):
    """Goodness that counts epochs in a parameter of the layer, and hands on what lower layers say while it learns."""

    scores_training: ClassVar[bool] = True
    finishes: ClassVar[bool] = True

    def blocks(self, config: Config, units: int, classes: int) -> dict[str, Block]:
        layer = Array("epochs", (1,), learnt=False, scope="layer")
        unit = Array("peers", (units,), learnt=False, inference=False, start=0.5, nonnegative=True)
        return {"counts": Block((layer, unit))}

    def workspace(self, config: Config, layer: Any, rows: int, classes: int) -> Any:
        return SimpleNamespace(**super().workspace(config, layer, rows, classes)._asdict(), seen=[])

    def learn(self, layer: Any, a: Any, out: Any, sums: np.ndarray, targets: Any, rates: Any) -> Any:
        assert len(sums) == 0
        total = out.total[: 2 * targets.count].copy()
        below = a.score[: len(total), 0].copy() if layer.index else np.zeros(len(total), np.float32)
        layer.workspace.seen.append((below, out.score[: len(total), 0] - below, total, targets.epoch))
        return super().learn(layer, a, out, sums, targets, rates)

    def epoch_partial(self, layer: Any) -> np.ndarray:
        return np.full((layer.tree.count, 1), layer.own_units, np.float32)

    def finish(self, layer: Any, sums: np.ndarray, epoch: int) -> None:
        assert sums == [layer.units]
        found = layer.blocks["counts"]
        assert found.array("epochs") == [epoch]
        found.set_array("epochs", found.array("epochs") + 1)


def trained(name: str) -> RankModel:
    """Return the model of one rank after two chapters of two epochs on the digits with the rule above."""
    settings = [f"schedule.name={name}", "network.layers=[20,30]", "train.epochs=4", "train.chapters=2"]
    settled = structs.replace(config.parse("", "test", settings), rule=Counting())
    train, test = load(settled, "train", images=True), load(settled, "test", images=True)
    dataset = DatasetInfo(train.shape, train.names, len(train.classes), len(test.classes))
    settled = resolved(settled, dataset)
    schedule = schedule_of(name, spec_of(settled, dataset, 1))
    model = RankModel(settled, dataset, schedule, 0, {0: train}, {"test": test})
    model.initialise()
    Worker(SimpleNamespace(rank=0, size=1), model, schedule).execute(schedule.steps(0))
    return model


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_a_rule_declares_is_there_under_every_schedule(name: str) -> None:
    model = trained(name)
    names = {"layers/0", "layers/0/counts", "layers/1", "layers/1/counts", "head/1"}
    assert model.all_states.keys() == names
    for index, layer in model.layers.items():
        counts = model.states(index)[f"layers/{index}/counts"]
        assert counts.array("epochs") == [4]
        assert_array_equal(counts.array("peers"), np.full(layer.units, 0.5, np.float32))
        assert {epoch for *_, epoch in layer.workspace.seen} == {0, 1, 2, 3}
        for below, own, total, _ in layer.workspace.seen:
            # The first layer does not count for classification; what it hands on is zero.
            assert_array_equal(own, total if index == 1 else np.zeros_like(total))
            assert not below.any()


def test_declarations() -> None:
    model = trained("pipeline")
    blocks = declared(model.config, model.dataset, 1)
    assert blocks["layers/1/counts"].shapes() == {"epochs": (1,), "peers": (30,)}
    copy = model.copies(1)["layers/1/counts"]
    assert copy.panels.keys() == {"epochs"}, "only what inference needs travels with weights"
    whole = Parameters(blocks["layers/1/counts"])
    assert len(copy.plain) == len(whole.plain) < len(whole.flat)
    assert [array.name for array in blocks["layers/1/counts"].stored() if array.nonnegative] == ["peers"]


def test_feedback_that_nothing_carries_is_refused() -> None:
    class Backwards(Goodness, frozen=True, kw_only=True, tag="backwards"):
        feedback: ClassVar[Any] = "above"

    settled = config.parse("", "test", [])
    assert Goodness().conflict(settled) == ""
    told = Backwards().conflict(settled)
    assert (
        told == "rule.name = 'backwards': needs feedback from 'above', which schedule.name = 'pipeline' does not carry"
    )
    with pytest.raises(UserError, match="expected one of"):
        config.parse("", "test", ["rule.name=backwards"])
