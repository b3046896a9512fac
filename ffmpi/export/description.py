"""A trained network as numbers and a few operations, the same for every rule: what the formats are written from.

An input v is slope x pixel + offset, zero beyond the pixels, to which each row of `labels` is added: one row that shows
no label or all classes alike, or a row for each class. Then, layer after layer, with f v a row divided by its norm,

    v = leaky ReLU((f v) weights + bias)

and the scores, with the norm of the score, are the sum over the layers that have one of

    (f v)^power weights + bias,

reshaped to a number for each class. The batch normalisation of a layer that has learnt is a factor and a summand for
each unit, and therefore part of its weights and its bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from .. import __version__
from ..config.schema import Config
from ..data.info import DatasetInfo
from ..data.pixels import PixelFormat
from ..data.scaling import slope_and_offset
from ..errors import UserError
from ..network.layout import LAYOUTS
from ..network.methods import METHODS
from ..network.normalisations import Norm
from ..network.parameters import Parameters
from ..network.stages import name_of, sizes_of
from ..rules import BatchNorm, Linear, Squares

#: Of the names of arrays and the metadata in the files; raised when what is there changes its meaning.
VERSION = 1


class Score(NamedTuple):
    """What a layer adds to the scores of its rows v, (f v)^power weights + bias.

    weights : (units, width) float32, bias : (width,) float32; width is 1 where each row shows another class
    norm : that a row is divided by, if any
    """

    weights: np.ndarray
    bias: np.ndarray
    power: int
    norm: Norm | None


class Layer(NamedTuple):
    """A layer of `units`, leaky ReLU((f v) weights + bias).

    weights : (inputs, units) float32, bias : (units,) float32
    norm : that a row of the input is divided by, if any
    negative_slope : of the activation function below zero
    """

    weights: np.ndarray
    bias: np.ndarray
    norm: Norm | None
    negative_slope: float
    score: Score | None


class Network(NamedTuple):
    """A network that classifies by one method.

    Attributes
    ----------
    classes : their names
    shape, pixels : of an image, and which numbers its pixels are
    slope, offset : (pixels,) float32
    labels : (rows of an image, inputs) float32, zero where pixels are not
    layers : up to the last that has a score
    """

    config: Config
    method: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    pixels: PixelFormat
    slope: np.ndarray
    offset: np.ndarray
    labels: np.ndarray
    layers: tuple[Layer, ...]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by their names in a file, where layers count from 1."""
        found = {"inputs/slope": self.slope, "inputs/offset": self.offset, "inputs/labels": self.labels}
        for number, layer in enumerate(self.layers, 1):
            found |= {f"layers/{number}/weights": layer.weights, f"layers/{number}/bias": layer.bias}
            if layer.score:
                found |= {f"scores/{number}/weights": layer.score.weights, f"scores/{number}/bias": layer.score.bias}
        return found

    def metadata(self) -> dict[str, Any]:
        """Return all that is no array, as JSON has it."""
        return {
            "format": VERSION,
            "ffmpi": __version__,
            "method": self.method,
            "classes": list(self.classes),
            "shape": list(self.shape),
            "pixels": msgspec.to_builtins(self.pixels),
            "layers": [
                {
                    "norm": layer.norm and layer.norm._asdict(),
                    "negative_slope": layer.negative_slope,
                    "score": layer.score
                    and {"power": layer.score.power, "norm": layer.score.norm and layer.score.norm._asdict()},
                }
                for layer in self.layers
            ],
            "config": msgspec.to_builtins(self.config),
        }


def describe(config: Config, dataset: DatasetInfo, blocks: Mapping[str, Parameters], method: str) -> Network:
    """Return the network of `blocks`, which are called as in a checkpoint, as it classifies by `method`.

    `config` is resolved; the type of the pixels is known. Raises UserError if it has no such method.
    """
    if method not in config.methods:
        raise UserError(f"method {method!r}: not this network's; expected {' or '.join(map(repr, config.methods))}")
    assert dataset.pixel_format is not None
    scores = _scores(config, dataset.classes, blocks, method)
    formula, sizes = config.rule.formula(dataset.classes), sizes_of(config, dataset)
    layers = []
    for index in range(max(scores) + 1):
        weights, bias = (blocks[name_of(index, "")].array(name) for name in ("weights", "bias"))
        if formula.batch_norm:
            weights, bias = _folded(weights, bias, formula.batch_norm, blocks[name_of(index, formula.batch_norm.block)])
        norm = config.network.normalise.norm(sizes[index])
        layers.append(Layer(weights, bias, norm, formula.negative_slope, scores.get(index)))
    none = np.empty((0, dataset.pixels), dataset.pixel_format.dtype)
    slope, offset = slope_and_offset(config, dataset.scaling, none)
    labels = _labels(config, dataset, METHODS[method].stream, sizes[0])
    covered = (labels[:, : dataset.pixels] != 0).any(axis=0)  # by the label
    slope[covered] = offset[covered] = 0
    return Network(
        config, method, dataset.names, dataset.shape, dataset.pixel_format, slope, offset, labels, tuple(layers)
    )  # fmt: skip


def _labels(config: Config, dataset: DatasetInfo, stream: str, inputs: int) -> np.ndarray:
    """Return what stands in the label's place of each row that shows an image in batches of `stream`."""
    classes, value = dataset.classes, config.data.label_value
    assert value != "auto"  # see info.resolved
    if not LAYOUTS[config.rule.layout].labelled:
        return np.zeros((1, inputs), np.float32)
    shown = np.eye(classes) if stream == "goodness" else np.full((1, classes), 1 / classes)
    first = dataset.pixels if config.data.label == "append" else 0
    labels = np.zeros((len(shown), inputs), np.float32)
    labels[:, first : first + classes] = value * shown
    return labels


def _folded(
    weights: np.ndarray, bias: np.ndarray, batch_norm: BatchNorm, block: Parameters
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return weights and bias that do what these and the batch normalisation after them do."""
    gain, shift, mean, variance = (
        block.array(name).astype(np.float64) for name in ("gain", "shift", "mean", "variance")
    )  # fmt: skip
    factor = gain / np.sqrt(variance + batch_norm.epsilon)
    return (weights * factor).astype(np.float32), ((bias - mean) * factor + shift).astype(np.float32)


def _scores(config: Config, classes: int, blocks: Mapping[str, Parameters], method: str) -> dict[int, Score]:
    """Return what layers, by index from 0, add to the scores."""
    adds = METHODS[method].adds
    if adds == "head":
        return {layer: _linear(config, layer, blocks[f"head/{layer}"]) for layer in config.head_layers}
    chosen = (len(config.network.layers) - 1,) if adds == "last" else config.rule.score_layers(config)
    scores = config.rule.formula(classes).scores
    if isinstance(scores, Linear):
        return {layer: _linear(config, layer, blocks[name_of(layer, scores.block)]) for layer in chosen}
    return {layer: _squares(scores, config.network.layers[layer]) for layer in chosen}


def _linear(config: Config, layer: int, block: Parameters) -> Score:
    norm = config.network.normalise.norm(config.network.layers[layer]) if config.head.normalise else None
    return Score(block.array("weights"), block.array("bias"), 1, norm)


def _squares(scores: Squares, units: int) -> Score:
    group = np.arange(units) * scores.groups // units
    weights = (group[:, None] == np.arange(scores.groups)).astype(np.float32)
    if scores.mean:
        weights /= weights.sum(axis=0)
    return Score(weights, np.zeros(scores.groups, np.float32), 2, None)
