"""A network that only answers: as plain NumPy says, and the same for an image whatever is beside it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ffmpi import config, data
from ffmpi.config.registries import RULES
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.network.inference import Inference
from ffmpi.network.parameters import Parameters
from ffmpi.network.stages import every_block
from ffmpi.run import trained
from tests.contract.digests import unpack
from tests.unit.samples import refused

TEST = data.load("digits", None, "test")
assert TEST.images is not None
IMAGES, CLASSES = TEST.images[:100], TEST.classes[:100].astype(np.int64)
UNITS = [37, 20, 25]


@cache
def network(*settings: str, rows: int = 32) -> tuple[Inference, dict[str, Parameters]]:
    """Return a network of random weights, and its parameters by name: of none there are moments."""
    dataset = DatasetInfo(TEST.shape, TEST.names, 1, 0)
    found = resolved(config.parse("", "test", [f"network.layers={UNITS}", *settings]), dataset)
    blocks = {name: Parameters(block, learns=False) for name, block in every_block(found, dataset).items()}
    rng = np.random.default_rng(0)
    for parameters in blocks.values():
        assert {array.name for array in parameters.held} == {a.name for a in parameters.block.arrays if a.inference}
        for array in parameters.held:
            values = rng.standard_normal(array.shape).astype(np.float32) / 3
            parameters.set_array(array.name, abs(values) if array.nonnegative else values)
    return Inference(found, dataset, blocks, rows), blocks


def plain(blocks: dict[str, Parameters], shown: np.ndarray) -> list[np.ndarray]:
    """Return the activations of each layer for inputs (n, 74), pixels and label, in float64."""
    found, a = list[np.ndarray](), shown
    for layer in range(len(UNITS)):
        a = a / (np.sqrt(np.mean(a**2, axis=1, keepdims=True)) + 1e-8)
        parameters = blocks[f"layers/{layer}"]
        a = np.maximum(a @ parameters.array("weights").astype(float) + parameters.array("bias"), 0)
        found.append(a)
    return found


def squares_of(activations: list[np.ndarray]) -> list[np.ndarray]:
    """Return the goodness of each layer, (layers, n)."""
    return [np.sum(h**2, axis=1) for h in activations]


def test_pairs_are_answered_as_plain_numpy_does() -> None:
    made, blocks = network()
    pixels, one_hot = IMAGES / 255, np.eye(10)
    neutral = plain(blocks, np.hstack([pixels, np.full((100, 10), 0.1)]))
    shown = [plain(blocks, np.hstack([pixels, np.tile(one_hot[k], (100, 1))])) for k in range(10)]
    for layer, expected in enumerate(neutral):
        assert_allclose(made.activations(IMAGES, layer), expected, rtol=1e-4, atol=1e-4)
    labelled = plain(blocks, np.hstack([pixels, one_hot[CLASSES]]))
    assert_allclose(made.activations(IMAGES, 1, CLASSES), labelled[1], rtol=1e-4, atol=1e-4)
    assert_allclose(made.goodness(IMAGES, CLASSES), np.transpose(squares_of(labelled)), rtol=1e-4)
    goodness = [sum(np.sum(h**2, axis=1) for h in each[1:]) for each in shown]
    assert_allclose(made.scores(IMAGES, "goodness"), np.transpose(goodness), rtol=1e-4)
    logits = np.zeros((100, 10))
    for layer in (1, 2):
        h, head = neutral[layer], blocks[f"head/{layer}"]
        logits += h / (np.sqrt(np.mean(h**2, axis=1, keepdims=True)) + 1e-8) @ head.array("weights").astype(float)
        logits += head.array("bias")[None] * (layer == 1)
    assert_array_equal(made.layer_predictions(IMAGES, "goodness"), np.argmax([squares_of(h) for h in shown], axis=0).T)
    alone = made.layer_predictions(IMAGES, "softmax")
    assert (alone[:, 0] == -1).all()
    for layer in (1, 2):
        said = neutral[layer] @ blocks[f"head/{layer}"].array("weights").astype(float)
        said = said / (np.sqrt(np.mean(neutral[layer] ** 2, axis=1, keepdims=True)) + 1e-8)
        assert_array_equal(alone[:, layer], (said + blocks["head/1"].array("bias")).argmax(axis=1))
    assert_allclose(made.scores(IMAGES, "softmax") - blocks["head/2"].array("bias"), logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rule", list(RULES))
def test_an_answer_does_not_depend_on_the_images_beside_it(rule: str) -> None:
    made, _ = network(f"rule.name={rule}")
    alone, _ = network(f"rule.name={rule}", rows=1)
    for method in made.methods:
        scores = made.scores(IMAGES, method)
        assert scores.shape == (100, 10) and len(np.unique(scores, axis=0)) > 90
        assert_array_equal(alone.scores(IMAGES[7:30], method), scores[7:30])
        assert_array_equal(made.scores(np.asfortranarray(IMAGES[::-1]), method), scores[::-1])
    said = made.goodness(IMAGES, CLASSES)
    assert_array_equal(alone.goodness(IMAGES[90:], CLASSES[90:]), said[90:])
    for method in made.methods:
        each = made.layer_predictions(IMAGES, method)
        assert_array_equal(alone.layer_predictions(IMAGES[7:30], method), each[7:30])
        if method != "softmax":
            assert each.min() >= 0 and len(np.unique(each[:, 0])) > 1
    if "last-layer" in made.methods:
        assert_array_equal(each[:, 2], made.scores(IMAGES, "last-layer").argmax(axis=1))
        assert_array_equal(said[:, 2], made.scores(IMAGES, "last-layer")[np.arange(100), CLASSES])
    made_of = [np.vstack(parts) for parts in zip(*made.outputs(IMAGES, range(1, 3), CLASSES), strict=True)]
    shown = CLASSES if "last-layer" not in made.methods else None
    assert_array_equal(made_of[1], made.activations(IMAGES, 2, shown))
    assert [h.shape for h in made_of] == [(100, 20), (100, 25)]
    assert_array_equal(made.activations(IMAGES[50:], 2), made.activations(IMAGES, 2)[50:])
    for array in (made.scores(IMAGES[:0], made.methods[0]), made.activations(IMAGES[:0], 0)):
        assert len(array) == 0


def test_what_cannot_be_answered_is_refused() -> None:
    made, _ = network()
    for said in (made.scores, made.layer_predictions):
        refused(lambda said=said: said(IMAGES, "last-layer"), "'last-layer'", "expected 'softmax' or 'goodness'")
    refused(lambda: made.scores(IMAGES[:, :9], "softmax"), "uint8 of shape (100, 9)", "(n, 64)")
    refused(lambda: made.scores(IMAGES.astype(float), "softmax"), "float64", "expected uint8 or float32")
    refused(lambda: made.activations(IMAGES, 3), "layer 4", "expected 1 to 3")
    refused(lambda: made.goodness(IMAGES, CLASSES[1:]), "shape (99,)", "expected (100,)")
    refused(lambda: made.goodness(IMAGES, CLASSES - 1), "from -1 to 8", "expected 0 to 9")
    one, _ = network("rule.name=local-softmax")
    refused(lambda: one.activations(IMAGES, 0, CLASSES), "without a label")


def test_of_a_checkpoint_only_what_answers_need_is_read(tmp_path: Path) -> None:
    file = unpack("format-3-peers", tmp_path / "run")
    header, made = trained.load(str(tmp_path / "run"))
    assert header.chapter == 2 and made.methods == ("softmax", "goodness")
    scores = made.scores(IMAGES, "softmax")
    with h5py.File(file, "r+") as held:
        for name in (
            "layers/0/weights_m",
            "layers/1/weights_v",
            "layers/2/steps",
            "head/1/bias_m",
            "layers/0/peers/means",
        ):
            del held[name]
    assert_array_equal(trained.load(str(file))[1].scores(IMAGES, "softmax"), scores)
    with h5py.File(file, "r+") as held:
        held["layers/1/weights"][3, 2] += 1
    refused(lambda: trained.load(str(file)), file, "damaged: 'layers/1/weights'")
