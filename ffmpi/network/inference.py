"""A trained network that only answers: scores, activations and goodness of images, with weights and no moments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from ..data import DataSet
from ..errors import UserError
from .activations import Activations, Inputs
from .classifier import Classifier
from .inputs import InputBuilder
from .layer import LabelledLayer, Layer
from .layout import LAYOUTS
from .methods import METHODS
from .parameters import Parameters
from .stages import name_of, sizes_of

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..data.info import DatasetInfo

#: Rows of a batch, if classes are no more: products of fewer are slower, more need more memory and are no faster.
ROWS = 256


class Inference:
    """The whole network on one rank, with memory for one batch, whatever the number of images.

    Images are (n, pixels) uint8 or float32, in the format of those that the network was trained on. What is said of one
    does not depend on those beside it. Layers count from 0. Methods raise UserError for what cannot be answered.

    Attributes
    ----------
    config, dataset : the configuration, resolved, and the sizes of the data
    blocks : all parameters, by their names in a checkpoint
    """

    def __init__(
        self, config: Config, dataset: DatasetInfo, blocks: Mapping[str, Parameters], rows: int = ROWS
    ) -> None:  # fmt: skip
        """Compute with `blocks`, all that `stages.every_block` declares; they may be a network's that learns on.

        rows : of a batch, at most; one image with every class fits in, whatever this is
        """
        self.config, self.dataset, self.blocks = config, dataset, blocks
        classes, sizes = dataset.classes, sizes_of(config, dataset)
        rows = max(rows, classes)
        self._rows, self._rule = rows, config.rule
        self._labelled = LAYOUTS[config.rule.layout].labelled
        self._layers: list[Layer] = []
        for index, inputs in enumerate(sizes[:-1]):
            names = config.rule.blocks(config, sizes[index + 1], classes)
            own = {name: blocks[name_of(index, name)] for name in ("", *names)}
            if index == 0 and self._labelled:
                layer: Layer = LabelledLayer(config, index, inputs, classes, rows, rows, learns=False, blocks=own)
            else:
                layer = Layer(config, index, inputs, classes, rows, learns=False, blocks=own)
            layer.workspace = config.rule.workspace(config, layer, rows, classes)
            self._layers.append(layer)
        outputs = config.rule.outputs(classes)
        self._outputs = [Activations(units, rows, outputs) for units in sizes[1:]]
        label_offset, value = dataset.pixels if config.data.label == "append" else 0, config.data.label_value
        assert value != "auto"  # see info.resolved
        self._inputs = Inputs(sizes[0], rows, label_offset, classes, value)
        self._head: Classifier | None = None
        if config.head_layers:
            of_layers = {layer: blocks[f"head/{layer}"] for layer in config.head_layers}
            self._head = Classifier(config, of_layers, classes, rows)

    @property
    def methods(self) -> tuple[str, ...]:
        """The ways to classify, the run's first one first."""
        return self.config.methods

    def images_at_once(self, method: str) -> int:
        """Return how many images are in a batch that is classified by `method`."""
        return self._rows // self._labels_each(method)

    def _labels_each(self, method: str) -> int:
        return self.dataset.classes if METHODS[method].stream == "goodness" else 1

    def scores(self, images: np.ndarray, method: str) -> np.ndarray:
        """Return what `method` says of each class, (n, classes) float32; the class is that of the greatest score."""
        if method not in self.methods:
            raise UserError(f"method {method!r}: not this network's; expected {' or '.join(map(repr, self.methods))}")
        stream, classes, last = METHODS[method].stream, self.dataset.classes, self._outputs[-1]
        each = self._labels_each(method)
        every = np.tile(np.arange(classes), (self._rows // classes, 1)) if each > 1 else None
        found = np.empty((len(images), classes), np.float32)
        for part, builder, samples in self._batches(images, each):
            count = len(samples)
            own = self._pass(builder, samples, None if every is None else every[:count], scored=stream != "softmax")
            if stream == "softmax":
                assert self._head is not None
                self._head.forward(dict(enumerate(self._outputs)), count)
                found[part] = self._head.logits(count)
            elif method == "last-layer":
                found[part] = own[-1]
            else:
                found[part] = last.score[: count * each].reshape(count, -1)
        return found

    def activations(self, images: np.ndarray, layer: int, labels: np.ndarray | None = None) -> np.ndarray:
        """Return what `layer` makes of each image, (n, units) float32, before it is normalised.

        labels : (n,) int64, the class that each image is shown with; None: every class, in equal parts
        """
        if not 0 <= layer < len(self._layers):
            raise UserError(f"layer {layer + 1}: not there; expected 1 to {len(self._layers)}")
        if labels is not None and not self._labelled:
            raise UserError("labels: this network is shown images without a label; expected none")
        found = np.empty((len(images), self._layers[layer].units), np.float32)
        for part, builder, samples in self._batches(images):
            shown = None if labels is None else self._classes(labels, len(images))[part, None]
            self._pass(builder, samples, shown, until=layer)
            found[part] = kernels.from_panels(self._outputs[layer].h, len(samples), found.shape[1])
        return found

    def goodness(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return what each layer says for the class in `labels` (n,) int64 of each image, (n, layers) float32.

        That is the goodness of the image shown with the class or, where layers have a classifier, the class's logit.
        """
        classes = self._classes(labels, len(images))
        found = np.empty((len(images), len(self._layers)), np.float32)
        for part, builder, samples in self._batches(images):
            shown, rows = classes[part], len(samples)
            self._pass(builder, samples, shown[:, None])
            for index, (layer, out) in enumerate(zip(self._layers, self._outputs, strict=True)):
                own = self._own(layer, out, rows)
                found[part, index] = own[:, 0] if own.shape[1] == 1 else own[np.arange(rows), shown]
        return found

    def layer_predictions(self, images: np.ndarray, method: str) -> np.ndarray:
        """Return the class that each layer tells by what it adds to `method`, and nothing else, (n, layers) int64.

        That is its goodness, its classifier's scores or, by softmax, the head's logits of its activities and the bias;
        -1 for a layer that adds nothing.
        """
        if method not in self.methods:
            raise UserError(f"method {method!r}: not this network's; expected {' or '.join(map(repr, self.methods))}")
        head, each = METHODS[method].stream == "softmax", self._labels_each(method)
        every = np.tile(np.arange(self.dataset.classes), (self._rows // each, 1)) if each > 1 else None
        found = np.full((len(images), len(self._layers)), -1, np.int64)
        for part, builder, samples in self._batches(images, each):
            count = len(samples)
            self._pass(builder, samples, None if every is None else every[:count])
            for index, (layer, out) in enumerate(zip(self._layers, self._outputs, strict=True)):
                if not head:
                    own = self._own(layer, out, count * each).reshape(count, -1)
                elif self._head and index in self._head.blocks:
                    self._head.forward_alone(index, out, count)
                    own = self._head.logits(count)
                else:
                    continue
                found[part, index] = own.argmax(axis=1)
        return found

    def outputs(self, images: np.ndarray, layers: range, labels: np.ndarray) -> Iterator[list[np.ndarray]]:
        """Yield what `layers` make of a batch of images after the other, each (rows, units) float32.

        labels : (n,) int64, the class that each image is shown with, if it is shown with one
        """
        classes = self._classes(labels, len(images))
        for part, builder, samples in self._batches(images):
            self._pass(builder, samples, classes[part, None], until=layers[-1])
            of = (self._outputs[layer] for layer in layers)
            yield [kernels.from_panels(out.h, len(samples), out.units) for out in of]

    def _own(self, layer: Layer, out: Activations, rows: int) -> np.ndarray:
        """Return what `layer` says of the first `rows` rows of its output, (rows, width) float32."""
        return self._rule.scores(layer, out, self._rule.partial(layer, out, rows)[0], rows)

    def _classes(self, labels: np.ndarray, count: int) -> np.ndarray:
        """Return `labels` as int64. Raises UserError if they are not one class an image."""
        if labels.shape != (count,):
            raise UserError(f"labels: have the shape {labels.shape}; expected ({count},), one an image")
        if count and not (labels.min() >= 0 and labels.max() < self.dataset.classes):
            raise UserError(
                f"labels: go from {labels.min()} to {labels.max()}; expected 0 to {self.dataset.classes - 1}"
            )
        return labels.astype(np.int64)

    def _batches(self, images: np.ndarray, labels: int = 1) -> Iterator[tuple[slice, InputBuilder, np.ndarray]]:
        """Yield parts of the images that, each with so many labels, fill a batch: with who writes them, and which."""
        if images.ndim != 2 or images.shape[1] != self.dataset.pixels or images.dtype not in (np.uint8, np.float32):
            found, pixels = f"{images.dtype} of shape {images.shape}", self.dataset.pixels
            raise UserError(f"images: are {found}; expected uint8 or float32 of shape (n, {pixels})")
        data = DataSet(np.ascontiguousarray(images), np.empty(0, np.uint8), self.dataset.shape, self.dataset.names)
        builder, size = InputBuilder(self.config, data, self.dataset.scaling), self._rows // labels
        for first in range(0, len(images), size):
            part = slice(first, min(first + size, len(images)))
            yield part, builder, np.arange(part.start, part.stop)

    def _pass(
        self, builder: InputBuilder, samples: np.ndarray, labels: np.ndarray | None, scored: bool = False,
        until: int = -1,
    ) -> list[np.ndarray | None]:  # fmt: skip
        """Pass `samples`, each with its `labels` (samples, any number) or none, through the layers up to `until`.

        Where they are to be `scored` the outputs have the scores, and what each layer says is returned.
        """
        if not self._labelled:
            builder.plain(samples, self._inputs)
            rows = len(samples)
        elif labels is None:
            builder.neutral(samples, self._inputs)
            rows = len(samples)
        else:
            builder.candidates(samples, labels, self._inputs)
            rows = labels.size
        own: list[np.ndarray | None] = []
        a: Activations = self._inputs
        for layer in self._layers[: until % len(self._layers) + 1]:
            out = self._outputs[layer.index]
            self._rule.forward(layer, a, out, rows, training=False)
            if scored:
                own.append(layer.score(a, out, rows))
            a = out
        return own
