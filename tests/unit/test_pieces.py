"""Pieces of layers: whatever a layer computes, and learns, its pieces compute and learn, bit for bit."""

from __future__ import annotations

from itertools import combinations, pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from numpy.testing import assert_array_equal

from ffmpi import config, kernels
from ffmpi.config.registries import RULES
from ffmpi.config.schema import Config
from ffmpi.network.activations import Activations, Inputs
from ffmpi.network.classifier import Classifier, classifier_block, logits_size
from ffmpi.network.layer import LabelledLayer, Layer, blocks_of
from ffmpi.network.layout import LAYOUTS
from ffmpi.network.parameters import Parameters
from ffmpi.network.tree import finish_of
from ffmpi.rules import Rates, Targets
from ffmpi.runtime.flow import Flow
from ffmpi.schedule import steps as s

INPUTS, CLASSES, SAMPLES = 37, 11, 6
F = np.float32
#: Every way to cut four panels, and some for thirteen.
CUTS = [(50, list(cut)) for count in (1, 2, 3) for cut in combinations((1, 2, 3), count)]
CUTS += [(203, [7]), (203, [1, 2, 5, 12]), (203, [3, 4, 8, 11])]
SETTINGS = {
    "local-error": [["rule.similarity=0.3"], []],
    "goodness": [["network.init=uniform"], ["optimizer.name=adam", "rule.goodness=mean"]],
    "local-softmax": [["head.init=uniform", "head.normalise=true"], ["head.normalise=false"]],
}
EVERY = [(rule, settings) for rule in RULES for settings in SETTINGS.get(rule, [[]])]


def settled(rule: str, layers: list[int], *settings: str) -> Config:
    return config.parse("", "test", [f"rule.name={rule}", f"network.layers={layers}", *settings])


class Piece:
    """A piece of a layer, or a whole one, with what it computes of a batch."""

    def __init__(self, c: Config, index: int, panels: range | None) -> None:
        layout, self.rule = LAYOUTS[c.rule.layout], c.rule
        self.rows = SAMPLES * layout.rows
        arguments: dict[str, Any] = {"learns": True, "panels": panels}
        if index == 0 and layout.labelled:
            self.layer: Layer = LabelledLayer(c, 0, INPUTS, CLASSES, self.rows, SAMPLES, **arguments)
        else:
            self.layer = Layer(c, index, INPUTS, CLASSES, self.rows, **arguments)
        self.layer.workspace = self.rule.workspace(c, self.layer, self.rows, CLASSES)
        self.layer.initialise()
        self.out = Activations(self.layer.own_units, self.rows, self.rule.outputs(CLASSES))
        self.loss: Any = None

    def forward(self, a: Activations, training: bool) -> np.ndarray:
        """Return the nodes of the sums of squares."""
        self.rule.forward(self.layer, a, self.out, self.rows, training)
        found: np.ndarray = self.layer.totals[:, : self.rows].copy()
        return found

    def learn(self, a: Activations, total: np.ndarray, sums: np.ndarray, targets: Targets) -> None:
        self.out.total[: self.rows] = total
        self.loss = self.rule.learn(self.layer, a, self.out, sums.copy(), targets, Rates(0.1, 0.2))

    def scores(self, total: np.ndarray, sums: np.ndarray) -> np.ndarray:
        self.out.total[: self.rows] = total
        return self.rule.scores(self.layer, self.out, sums.copy(), self.rows).copy()


def inputs_of(c: Config, index: int, epoch: int) -> Activations:
    """Return an input of the layer, a batch of an epoch."""
    rng, layout = np.random.default_rng(epoch), LAYOUTS[c.rule.layout]
    v = np.maximum(rng.standard_normal((SAMPLES * layout.rows, INPUTS)), 0).astype(F)
    if index == 0 and layout.labelled:
        a: Activations = Inputs(INPUTS, SAMPLES, 0, CLASSES, 1.0)
        assert isinstance(a, Inputs)
        v = v[:SAMPLES]
        v[:, :CLASSES] = 0
        a.source = np.tile(np.arange(SAMPLES), 2)
        a.labels = np.concatenate([np.arange(SAMPLES), np.arange(SAMPLES) + 3]) % CLASSES
    else:
        a = Activations(INPUTS, len(v), c.rule.outputs(CLASSES))
        a.score[:] = 0.5
    a.h[:, : len(v)], a.total[: len(v)] = kernels.to_panels(v), (v * v).sum(axis=1)
    return a


def finished(nodes: list[np.ndarray], cuts: list[int], panels: int) -> np.ndarray:
    every = np.ascontiguousarray(np.concatenate(nodes))
    found = np.empty(every.shape[1], F)
    kernels.add_nodes(every, finish_of(cuts, panels), found)
    return found


def same_sums(found: np.ndarray, expected: np.ndarray, rows: int) -> None:
    """Compare a rule's sums: logits first, of which rows that only pad the others are anything."""
    size = logits_size(rows, CLASSES) if len(expected) >= logits_size(rows, CLASSES) else 0
    shape = -1, kernels.padded_rows(rows), 16
    assert_array_equal(found[:size].reshape(shape)[:, :rows], expected[:size].reshape(shape)[:, :rows])
    assert_array_equal(found[size:], expected[size:])


def same_parameters(whole: dict[str, Parameters], part: dict[str, Parameters]) -> None:
    for name, block in part.items():
        for array in ("steps",) * (block.block.optimizer is not None) + tuple(a.name for a in block.held):
            assert_array_equal(block.array(array), whole[name].array(array)[block.span(array)], f"{name} {array}")


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize(("units", "cuts"), CUTS)
@pytest.mark.parametrize(("rule", "settings"), EVERY)
def test_pieces_learn_what_the_layer_learns(
    rule: str, settings: list[str], units: int, cuts: list[int], index: int
) -> None:
    c = settled(rule, [units] if index == 0 else [INPUTS, units], *settings)
    panels = kernels.panels_of(units)
    whole, pieces = Piece(c, index, None), [Piece(c, index, range(*ends)) for ends in pairwise([0, *cuts, panels])]
    assert whole.layer.whole and not any(piece.layer.whole for piece in pieces)
    for piece in pieces:
        same_parameters(whole.layer.blocks, piece.layer.blocks)
    before = {name: block.flat.copy() for name, block in whole.layer.blocks.items()}
    for epoch in range(3):
        a = inputs_of(c, index, epoch)
        classes = np.random.default_rng(epoch).integers(0, CLASSES, SAMPLES)
        targets = Targets(SAMPLES, epoch, np.arange(SAMPLES), classes)
        total = whole.forward(a, True)[0]
        assert_array_equal(finished([piece.forward(a, True) for piece in pieces], cuts, panels), total)
        nodes = [piece.rule.learning_partial(piece.layer, piece.out, targets, piece.rows).copy() for piece in pieces]
        sums = whole.rule.learning_partial(whole.layer, whole.out, targets, whole.rows)[0].copy()
        size = whole.rule.share_size(units, whole.rows, CLASSES, learning=True)
        assert sums.shape == (size,)
        assert [found.shape for found in nodes] == [(piece.layer.tree.count, size) for piece in pieces]
        if size:
            same_sums(finished(nodes, cuts, panels), sums, whole.rows)
        whole.learn(a, total, sums, targets)
        for piece in pieces:
            own = whole.out.h[piece.layer.panels.start : piece.layer.panels.stop, : whole.rows]
            assert_array_equal(piece.out.h[:, : piece.rows], own)
            piece.learn(a, total, sums, targets)
            assert structs.replace(piece.loss, flop=0.0) == structs.replace(whole.loss, flop=0.0)
            same_parameters(whole.layer.blocks, piece.layer.blocks)
        assert sum(piece.loss.flop for piece in pieces) == pytest.approx(whole.loss.flop)
    assert all((block.flat != before[name]).any() for name, block in whole.layer.blocks.items())
    total = whole.forward(a, False)[0]
    assert_array_equal(finished([piece.forward(a, False) for piece in pieces], cuts, panels), total)
    sums = whole.rule.partial(whole.layer, whole.out, whole.rows)[0].copy()
    nodes = [piece.rule.partial(piece.layer, piece.out, piece.rows).copy() for piece in pieces]
    assert len(sums) == whole.rule.share_size(units, whole.rows, CLASSES, learning=False)
    if len(sums):
        same_sums(finished(nodes, cuts, panels), sums, whole.rows)
    for piece in pieces:
        assert_array_equal(piece.scores(total, sums), whole.scores(total, sums))


@pytest.mark.parametrize("step", ["batch", "epoch"])
@pytest.mark.parametrize("settings", [["head.init=uniform"], ["head.normalise=false", "head.bias=false"]])
@pytest.mark.parametrize("cuts", [{0: [1], 1: [2, 3], 2: []}, {0: [], 1: [1], 2: [1, 2, 3, 5]}])
def test_a_head_on_pieces(step: str, settings: list[str], cuts: dict[int, list[int]]) -> None:
    """Each piece makes its nodes of the logits; one rank, with a piece of the first layer, makes the error for all."""
    layers = [20, 60, 90]
    c = settled("goodness", layers, f"head.step={step}", "head.optimizer.learning_rate=0.1", *settings)
    blocks = {k: classifier_block(c, units, CLASSES) for k, units in enumerate(layers)}
    whole = Classifier(c, {k: Parameters(block) for k, block in blocks.items()}, CLASSES, SAMPLES)
    owned = [(k, range(*ends)) for k in blocks for ends in pairwise([0, *cuts[k], kernels.panels_of(layers[k])])]
    pieces = [
        Classifier(c, {k: Parameters(blocks[k], part=part)}, CLASSES, SAMPLES, layers=list(blocks)) for k, part in owned
    ]
    for classifier in (whole, *pieces):
        classifier.initialise()
    for batch in range(3):
        rng = np.random.default_rng(batch)
        rows = SAMPLES - batch % 2
        inputs = {k: Activations(units, SAMPLES, {}) for k, units in enumerate(layers)}
        for k, a in inputs.items():
            v = np.maximum(rng.standard_normal((rows, layers[k])), 0).astype(F)
            a.h[:, :rows], a.total[:rows] = kernels.to_panels(v), (v * v).sum(axis=1)
        labels = rng.integers(0, CLASSES, rows)
        whole.forward(inputs, rows)
        expected = whole.loss(labels)
        nodes: dict[int, list[np.ndarray]] = {k: [] for k in blocks}
        own = []
        for (k, part), piece in zip(owned, pieces, strict=True):
            mine = Activations(16 * len(part), SAMPLES, {})
            mine.h[:], mine.total[:] = inputs[k].h[part.start : part.stop], inputs[k].total
            own.append({k: mine})
            nodes[k].append(piece.partial(k, mine.h, rows).copy())
            assert nodes[k][-1].shape[1] == logits_size(rows, CLASSES)
        raw = {k: finished(found, cuts[k], kernels.panels_of(layers[k])) for k, found in nodes.items()}
        home = pieces[0]
        home.complete(raw, {k: a.total for k, a in inputs.items()}, rows)
        assert_array_equal(home.logits(rows), whole.logits(rows))
        assert home.loss(labels) == expected
        for classifier, known in ((whole, inputs), *zip(pieces, own, strict=True)):
            made = whole if classifier is whole else home
            classifier.error, classifier.scales = made.error, made.scales
            if step == "epoch":
                classifier.accumulate(known, rows, 1 / 3)
            else:
                classifier.step(known, rows, 0.1)
    if step == "epoch":
        for classifier in (whole, *pieces):
            classifier.step_on_epoch(0.1)
    for (k, _), piece in zip(owned, pieces, strict=True):
        same_parameters({"": whole.blocks[k]}, {"": piece.blocks[k]})


@pytest.mark.parametrize("rule", list(RULES))
def test_a_piece_has_memory_for_itself_only(rule: str) -> None:
    c, units = settled(rule, [INPUTS, 203]), 203
    for name, block in blocks_of(c, INPUTS, units, CLASSES).items():
        whole, part = Parameters(block), Parameters(block, part=range(3, 5))
        assert part.flat.size <= whole.flat.size * (2 / 13) + 64, name  # and what is the layer's, once
        for array in block.stored():
            values = np.random.default_rng(len(array.name)).random(whole.array(array.name).shape, F)
            whole.set_array(array.name, values)
            part.set_array(array.name, values[part.span(array.name)])
            assert_array_equal(part.array(array.name), values[part.span(array.name)])
        same_parameters({"": whole}, {"": part.copy()})
        assert part.span("steps") == ()


@pytest.mark.parametrize(("rows", "shared", "waited"), [(20, False, [0]), (20, True, []), (10, False, [])])
def test_larger_batches_wait_for_what_leaves_their_buffer(rows: int, shared: bool, waited: list[int]) -> None:
    """In memory of its own a rank's piece of the last batch would lie where those of a larger one come."""
    last, batch, found = s.Batch("train", 0), s.Batch("train", 1), list[int]()
    slot = SimpleNamespace(batch=last, rows=10, shared=shared, views={rows: "views"}, now=None)
    flow: Any = SimpleNamespace(
        rings={0: SimpleNamespace(slots=[slot])},
        batches=SimpleNamespace(contents={batch: SimpleNamespace(rows=rows)}),
        links={"out": SimpleNamespace(wait=found.append)},
        _leaving={0: ["out"]},
    )
    Flow._offer(flow, 0, 0, batch)
    assert found == waited
    assert (slot.batch, slot.rows, slot.now) == (batch, rows, "views")
