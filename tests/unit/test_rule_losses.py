"""Every learning rule against its formulas: what it reports and says of rows, and its update as a derivative.

`RULES_IN_NUMPY` has each rule once more, in float64 and as docs/design.md, section 3, writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ffmpi import config, kernels
from ffmpi.config.registries import RULES
from ffmpi.data.info import DatasetInfo
from ffmpi.errors import UserError
from ffmpi.network.activations import Activations
from ffmpi.network.layer import Layer
from ffmpi.network.layout import LAYOUTS
from ffmpi.rules import Rates, Targets
from ffmpi.runtime import setup

SAMPLES, CLASSES = 5, 3
#: Of all layers, of which the last is looked at; neither fills a panel, and the classes divide neither.
UNITS = [18, 23]


@dataclass
class Seen:
    """What a rule has to go by beside the activations.

    below : (rows, width) float64, the running score of the layers below; layer : the layer, with its own parameters
    """

    rule: Any
    layer: Layer
    classes: np.ndarray
    below: np.ndarray


class Formulas(NamedTuple):
    """A rule's loss of each row of activations h (rows, units), and what it says of rows, (rows, width)."""

    losses: Callable[[np.ndarray, Seen], np.ndarray]
    scores: Callable[[np.ndarray, Seen], np.ndarray]
    settings: Sequence[list[str]] = ([],)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def cross_entropy(logits: np.ndarray, seen: Seen) -> np.ndarray:
    chosen: np.ndarray = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), seen.classes]
    return chosen


# -- Goodness ---------------------------------------------------------------------------------------------------------
def goodness(h: np.ndarray, seen: Seen) -> np.ndarray:
    squares: np.ndarray = (h**2).sum(axis=1, keepdims=True)
    return squares / (1 if seen.rule.goodness == "sum" else h.shape[1])


def goodness_losses(h: np.ndarray, seen: Seen) -> np.ndarray:
    above = goodness(h, seen)[:, 0] - seen.rule.threshold * h.shape[1]
    return softplus(np.concatenate([-above[:SAMPLES], above[SAMPLES:]]))


def joint_losses(h: np.ndarray, seen: Seen) -> np.ndarray:
    """Return the losses by layer collaboration."""
    above = (goodness(h, seen) + seen.below)[:, 0] - seen.rule.threshold * sum(UNITS)
    return softplus(np.concatenate([-above[:SAMPLES], above[SAMPLES:]]))


# -- SymBa ------------------------------------------------------------------------------------------------------------
def mean_squares(h: np.ndarray, seen: Seen) -> np.ndarray:
    squares: np.ndarray = (h**2).mean(axis=1, keepdims=True)
    return squares


def behind(h: np.ndarray, seen: Seen) -> np.ndarray:
    """Return alpha times how far each sample's positive row is behind the negative one."""
    g = mean_squares(h, seen)[:, 0]
    found: np.ndarray = seen.rule.alpha * (g[SAMPLES:] - g[:SAMPLES])
    return found


def symba_losses(h: np.ndarray, seen: Seen) -> np.ndarray:
    return np.tile(softplus(behind(h, seen)), 2)


def swish_losses(h: np.ndarray, seen: Seen) -> np.ndarray:
    v = behind(h, seen)
    return np.tile(v * sigmoid(v), 2)


# -- Local softmax ----------------------------------------------------------------------------------------------------
def logits(h: np.ndarray, seen: Seen) -> np.ndarray:
    block = seen.layer.blocks["classifier"]
    norm = np.sqrt((h**2).mean(axis=1, keepdims=True)) + seen.layer.config.network.normalise.epsilon
    found: np.ndarray = h / norm @ block.array("weights") + block.array("bias")
    return found


# -- Class groups -----------------------------------------------------------------------------------------------------
def groups(h: np.ndarray, seen: Seen) -> np.ndarray:
    group = np.arange(h.shape[1]) * CLASSES // h.shape[1]
    return np.stack([(h[:, group == k] ** 2).mean(axis=1) for k in range(CLASSES)], axis=1)


RULES_IN_NUMPY = {
    "goodness": Formulas(goodness_losses, goodness, ([], ["rule.goodness=mean", "rule.threshold=0.03"])),
    "collaboration": Formulas(
        joint_losses, goodness, (["rule.threshold=0.3"], ["rule.goodness=mean", "rule.threshold=0.01"])
    ),
    "symba": Formulas(symba_losses, mean_squares, ([], ["rule.alpha=0.5"])),
    "swish": Formulas(swish_losses, mean_squares, ([], ["rule.alpha=20"])),
    "local-softmax": Formulas(lambda h, seen: cross_entropy(logits(h, seen), seen), logits, (["head.init=uniform"],)),
    "class-groups": Formulas(lambda h, seen: cross_entropy(groups(h, seen), seen), groups),
}


class Case:
    """A layer with its input, both at random, that learns by a rule: one step of SGD without momentum."""

    def __init__(self, name: str, settings: list[str], learning_rate: float) -> None:
        more = [f"rule={name}", f"network.layers={UNITS}", "optimizer=sgd", "optimizer.momentum=0", *settings]
        c = config.parse("", "test", [*more, "optimizer.weight_decay=0", "network.normalise.epsilon=0.01"])
        rng, self.rule, index = np.random.default_rng(3), c.rule, len(UNITS) - 1
        self.rows, inputs = SAMPLES * LAYOUTS[c.rule.layout].rows, UNITS[-2]
        self.layer = Layer(c, index, inputs, CLASSES, self.rows, learns=True)
        self.layer.workspace = c.rule.workspace(c, self.layer, self.rows, CLASSES)
        self.layer.initialise()
        self.layer.parameters.set_array("bias", rng.normal(size=UNITS[-1]).astype(np.float32) / 2)
        outputs = c.rule.outputs(CLASSES)
        a, self.out = Activations(inputs, self.rows, outputs), Activations(UNITS[-1], self.rows, outputs)
        self.a = rng.normal(size=(self.rows, inputs)).astype(np.float32)
        a.h[:, : self.rows], a.total[: self.rows] = kernels.to_panels(self.a), (self.a**2).sum(axis=1)
        a.score[: self.rows] = rng.normal(size=(self.rows, a.score.shape[1]))
        self.w, self.b = (self.layer.parameters.array(part).astype(float) for part in ("weights", "bias"))
        classes = rng.integers(0, CLASSES, SAMPLES)
        self.seen = Seen(c.rule, self.layer, classes, a.score[: self.rows].astype(float))
        self.rule.forward(self.layer, a, self.out, self.rows, True)
        sums = self.rule.partial(self.layer, self.out, self.rows)[0]
        self.scores = self.rule.scores(self.layer, self.out, sums, self.rows).copy()
        told = Targets(SAMPLES, 0, *((np.arange(SAMPLES), classes) if c.rule.needs_labels else (None, None)))
        sums = self.rule.partial(self.layer, self.out, self.rows)[0]
        self.loss = self.rule.learn(self.layer, a, self.out, sums, told, Rates(learning_rate, 0.0))

    def activations(self) -> np.ndarray:
        """Return the layer's activations by its formula."""
        a = self.a.astype(float)
        a /= np.sqrt((a**2).mean(axis=1, keepdims=True)) + 0.01
        return np.maximum(a @ self.w + self.b, 0)


CASES = [(name, settings) for name, rule in RULES_IN_NUMPY.items() for settings in rule.settings]


#: Rules of which the loss of a row is not all that they go by, or whose activations are no ReLU's: they have tests of
#: their own, with derivatives, in the files test_*.py named so.
ELSEWHERE = {"peer-normalisation", "local-error"}


def test_every_rule_is_here() -> None:
    assert {*RULES_IN_NUMPY, *ELSEWHERE} == set(RULES)
    assert all(Path(__file__).with_name(f"test_{name.replace('-', '_')}.py").exists() for name in ELSEWHERE)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_losses_and_scores(name: str, settings: list[str]) -> None:
    formulas, case = RULES_IN_NUMPY[name], Case(name, settings, 0.0)
    h = case.activations()
    assert case.loss.rows == case.rows and 0 < case.loss.active <= case.rows
    assert_allclose(case.loss.loss, formulas.losses(h, case.seen).sum(), rtol=1e-5)
    assert case.scores.dtype == np.float32
    assert_allclose(case.scores, formulas.scores(h, case.seen), rtol=1e-5, atol=1e-6)
    assert_array_equal(case.layer.parameters.array("weights"), case.w)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_the_update_goes_along_the_derivative(name: str, settings: list[str]) -> None:
    """Of the mean loss of the rows by the layer's weights and bias."""
    formulas, rate, step = RULES_IN_NUMPY[name], 16.0, 1e-5
    case = Case(name, settings, rate)
    for part, array in (("weights", case.w), ("bias", case.b)):
        found = (array - case.layer.parameters.array(part)) / rate
        numerical = np.empty_like(array)
        for place in np.ndindex(array.shape):
            kept, both = array[place], []
            for moved in (kept + step, kept - step):
                array[place] = moved
                both.append(formulas.losses(case.activations(), case.seen).mean())
            array[place] = kept
            numerical[place] = (both[0] - both[1]) / (2 * step)
        assert np.abs(numerical).max() > 1e-3
        assert_allclose(found, numerical, rtol=1e-4, atol=1e-4 * np.abs(numerical).max())


def test_a_group_without_units_is_refused() -> None:
    settled = config.parse("", "test", ["rule=class-groups", "network.layers=[12, 9]"])
    setup.check(settled, DatasetInfo((8, 8), tuple("123456789"), 10, 10))
    with pytest.raises(UserError, match=r"network.layers = \[12, 9\]: with rule.name = .*at least 10 units"):
        setup.check(settled, DatasetInfo((8, 8), tuple("1234567890"), 10, 10))
