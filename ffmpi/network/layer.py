"""A layer: weights, bias and optimiser state, and the two things it does with a batch."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from .. import kernels
from ..config.schema import Config, Network
from . import random
from .learning_rates import LearningRate
from .optimisers import Optimiser

_WHOLE = slice(None)


class Activations:
    """What one layer puts out for a batch: the unit in which data moves inside a rank and between ranks.

    Everything lies in one float32 array, so that a single message carries it.

    Attributes
    ----------
    flat : (size,) float32, the memory itself
    h : (panels, pitch, 16) float32, activities before normalisation
    total : (pitch,) float32, sum of squared activities of each row
    score : (pitch, width) float32, what the layers up to this one say for classification: the sum of their goodness
        (width 1), or of their classifiers' logits (width = classes)
    """

    def __init__(self, units: int, rows: int, width: int = 1) -> None:
        panels, pitch = kernels.panels_of(units), kernels.padded_rows(rows)
        margin = -(-pitch // kernels.LANES) * kernels.LANES
        size = panels * pitch * kernels.LANES
        self.units = units
        self.flat = kernels.zeros(size + (1 + width) * margin)
        self.h = self.flat[:size].reshape(panels, pitch, kernels.LANES)
        self.total = self.flat[size : size + margin]
        self.score = self.flat[size + margin :].reshape(margin, width)


class Inputs(Activations):
    """The first layer's input: images once each, and the rows that show them with labels, if there are labels.

    Attributes
    ----------
    source : (rows,) int64, the image of each row
    labels : (rows,) int64, the class it shows, or kernels.NEUTRAL
    label_offset, classes : where the labels stand among the inputs; these are zero in `h` and missing in `total`
    value : float32, what stands in the place of the class shown
    """

    def __init__(self, inputs: int, samples: int, label_offset: int, classes: int, value: float) -> None:
        super().__init__(inputs, samples)
        self.label_offset, self.classes, self.value = label_offset, classes, np.float32(value)
        self.source = self.labels = np.empty(0, np.int64)


class Normalisation:
    """Each row's factor, made from the sums of squares that come with the activities (design, section 4: rms, l2)."""

    def __init__(self, network: Network, units: int, rows: int) -> None:
        """Make room for `rows` rows of `units` activities."""
        self.eps = np.float32(network.normalise.epsilon)
        self.divisor = np.float32(network.normalise.divisor(units))
        self.scale = kernels.zeros(kernels.padded_rows(rows))

    def of(self, a: Activations, rows: int) -> np.ndarray:
        """Return the factors of the first `rows` rows, (pitch,) float32; the next call overwrites them."""
        kernels.row_scale(a.total, rows, self.divisor, self.eps, self.scale)
        return self.scale

    def of_labelled(self, a: Inputs) -> np.ndarray:
        """Return the factors of the rows that show images with their labels."""
        kernels.row_scale_labelled(a.total, a.source, a.labels, a.classes, a.value, self.divisor, self.eps, self.scale)
        return self.scale


class Parameters:
    """Weights (panels), bias, their moments and the number of updates. Used by layers and by classifiers.

    Everything lies in one float32 array, weights and bias first, so that a single message carries all or only these.
    SGD has no second moments: then they are the first ones again, and neither touched nor saved.

    Attributes
    ----------
    flat : (size,) float32, the memory itself; plain : the part of it that a forward needs, w and bias
    w : (unit panels, inputs padded, 16) float32; bias : (unit panels, 16) float32
    moments : first and second moment of w, then of bias, shaped like them
    """

    def __init__(self, inputs: int, units: int, optimizer: Optimiser | None) -> None:
        """Make parameters of zeros with no history; without an optimizer they have no moments and cannot learn."""
        self.inputs, self.units, self._optimizer = inputs, units, optimizer
        rows, lanes = kernels.panels_of(inputs) * kernels.LANES, kernels.LANES
        shapes = [(kernels.panels_of(units), rows, lanes), (kernels.panels_of(units), lanes)]
        sets = 1 if optimizer is None else 1 + optimizer.moments
        sizes = [math.prod(shape) for shape in shapes]
        self.flat = kernels.zeros(sets * sum(sizes) + lanes)
        self.plain = self.flat[: sum(sizes)]
        parts = np.split(self.flat, np.cumsum(sizes * sets))
        views = [part.reshape(shape) for part, shape in zip(parts[:-1], shapes * sets, strict=True)]
        self.w, self.bias, m, mb = (views * 2)[:4]
        v, vb = views[4:] if sets == 3 else (m, mb)
        self.moments = (m, v, mb, vb)
        self._steps = parts[-1].view(np.int64)

    def copy(self) -> Parameters:
        """Return the same numbers in memory of their own."""
        made = Parameters(self.inputs, self.units, self._optimizer)
        made.flat[:] = self.flat
        return made

    @property
    def steps(self) -> int:
        """The number of updates."""
        return int(self._steps[0])

    @steps.setter
    def steps(self, count: int) -> None:
        self._steps[0] = count

    @staticmethod
    def shapes_of(inputs: int, units: int, optimizer: Optimiser) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of what a checkpoint holds; all float32 but `steps`, int64."""
        matrix, row = (inputs, units), (units,)
        shapes = {"steps": (), "weights": matrix, "bias": row, "weights_m": matrix, "bias_m": row}
        return shapes | ({"weights_v": matrix, "bias_v": row} if optimizer.moments == 2 else {})

    def _panels(self) -> dict[str, np.ndarray]:
        m, v, mb, vb = self.moments
        return {"weights": self.w, "bias": self.bias, "weights_m": m, "weights_v": v, "bias_m": mb, "bias_v": vb}

    def array(self, name: str, part: slice = _WHOLE) -> np.ndarray:
        """Return what a checkpoint holds under `name`, row-major; of a matrix only the rows in `part`."""
        if name == "steps":
            return np.array(self.steps, np.int64)
        panels = self._panels()[name]
        if panels.ndim == 2:
            return panels.reshape(-1)[: self.units].copy()
        start, stop, _ = part.indices(self.inputs)
        return kernels.from_panels(panels, stop - start, self.units, start)

    def set_array(self, name: str, value: np.ndarray) -> None:
        """Take over what `array` returned, whole; padding stays zero."""
        if name == "steps":
            self.steps = int(value)
            return
        panels = self._panels()[name]
        if panels.ndim == 2:
            panels.reshape(-1)[: self.units] = value
        else:
            panels[:] = kernels.to_panels(value, pitch=panels.shape[1])

    def step(
        self, optimizer: Optimiser, rate: float, a: np.ndarray, scale: np.ndarray, c: np.ndarray, z: np.ndarray,
        **options: Any,
    ) -> int:  # fmt: skip
        """Take one optimiser step along dW = (scale c a)^T z and return how many rows took part: `kernels.update`."""
        kind, constants = self._next_step(optimizer, rate)
        return kernels.update(kind, a, scale, c, z, self.w, self.bias, self.moments, constants, **options)

    def _next_step(self, optimizer: Optimiser, rate: float) -> tuple[int, np.ndarray]:
        """Count one more step, and return the optimiser's kind and the constants of this step."""
        self._steps[0] += 1
        return optimizer.kind, _constants(optimizer, int(self._steps[0]) if optimizer.by_step else 0, rate)

    def zero_gradient(self) -> tuple[np.ndarray, np.ndarray]:
        """Return room for gradients to be added up: of the weights and of the bias, shaped like them."""
        return kernels.zeros(*self.w.shape), kernels.zeros(*self.bias.shape)

    def add_gradient(
        self, gradient: tuple[np.ndarray, np.ndarray], a: np.ndarray, scale: np.ndarray, c: np.ndarray, z: np.ndarray
    ) -> None:
        """Add dW = (scale c a)^T z and db to `gradient`; weights, moments and steps stay as they are."""
        gw, gb = gradient
        kernels.update(kernels.SGD, a, scale, c, z, self.w, self.bias, (gw, gw, gb, gb), kernels.ACCUMULATE)

    def step_along(self, optimizer: Optimiser, rate: float, gradient: tuple[np.ndarray, np.ndarray]) -> None:
        """Take one optimiser step along a gradient that was added up, which then is zero again."""
        kind, constants = self._next_step(optimizer, rate)
        kernels.step_along(kind, gradient, (self.w, self.bias, *self.moments), constants)


def inputs_of(config: Config, pixels: int, classes: int) -> int:
    """Return the number of inputs of the first layer: the label, if there is one, stands in the image or beside it."""
    return pixels + classes if config.data.label == "append" and not config.local else pixels


def widths(config: Config, pixels: int, classes: int) -> list[int]:
    """Return the inputs of the first layer and then each layer's units."""
    return [inputs_of(config, pixels, classes), *config.network.layers]


def initialise(config: Config, index: int, parameters: Parameters) -> None:
    """Draw the weights that layer `index` (from 0) begins with; a uniform draw has the bias as one more row."""
    uniform, inputs = config.network.init == "uniform", parameters.inputs
    distribution = random.uniform if uniform else random.normal
    shape = inputs + uniform, parameters.units
    drawn = distribution(config.seed, random.Purpose.WEIGHTS, index, shape, 1 / float(np.sqrt(inputs)))
    parameters.set_array("weights", drawn[:inputs])
    if uniform:
        parameters.set_array("bias", drawn[inputs])


class Layer:
    """One layer of the network; `LabelledLayer` is the one that sees images with labels."""

    def __init__(self, config: Config, parameters: Parameters, rows: int) -> None:
        """Make room for batches of at most `rows` rows."""
        self.config, self.parameters, self.units = config, parameters, parameters.units
        self.threads = kernels.available_threads(config.schedule.threads)
        margin = -(-rows // kernels.LANES) * kernels.LANES
        panels = kernels.panels_of(parameters.inputs)
        self._squares = kernels.zeros(kernels.panels_of(self.units), margin)
        self._nonzeros = kernels.Nonzeros(rows, panels)
        self._normalisation = Normalisation(config.network, parameters.inputs, rows)

    def forward(self, a: Activations, out: Activations, rows: int) -> float:
        """Compute the activities and their sums of squares for the first `rows` rows of `a`; return the FLOP."""
        p = self.parameters
        scale = self._normalisation.of(a, rows)
        kernels.forward(
            a.h, scale, p.w, p.bias, out.h, out.total, self._squares, rows,
            nonzeros=self._nonzeros, threads=self.threads,
        )  # fmt: skip
        return 2.0 * rows * p.inputs * p.units

    def update(self, a: Activations, z: np.ndarray, c: np.ndarray, rate: float) -> float:
        """Learn from the rows whose coefficient is not zero, dW = (c a)^T z; return the FLOP.

        z : (panels, pitch, 16) float32, c : (rows,) float32. The layer has just computed its activities of `a`, so that
        their normalisation is still there.
        """
        p, scale, label_arguments = self.parameters, self._normalisation.scale, self._label_arguments(a, len(c))
        active = p.step(
            self.config.optimizer,
            rate,
            a.h,
            scale,
            c,
            z,
            nonzeros=self._nonzeros,
            threads=self.threads,
            **label_arguments,
        )
        return 2.0 * active * p.inputs * p.units

    def _label_arguments(self, a: Activations, rows: int) -> dict[str, Any]:
        """Return what `kernels.update` has to know of labels in the first `rows` rows."""
        return {}


class LabelledLayer(Layer):
    """The layer of images with labels: its products with an image serve all rows that show it with some label."""

    def __init__(self, config: Config, parameters: Parameters, rows: int, samples: int) -> None:
        """Make room for batches of at most `samples` images in `rows` rows."""
        super().__init__(config, parameters, rows)
        self._product = Activations(self.units, samples)

    def forward(self, a: Activations, out: Activations, rows: int) -> float:
        """See `Layer.forward`; `a` is `Inputs`."""
        assert isinstance(a, Inputs)
        p, samples = self.parameters, int(a.source[-1]) + 1
        scale = self._normalisation.of_labelled(a)
        kernels.forward_labelled(
            a.h, samples, a.source, a.labels, a.label_offset, a.classes, a.value, scale,
            p.w, p.bias, self._product.h, out.h, out.total, self._squares,
            nonzeros=self._nonzeros, threads=self.threads,
        )  # fmt: skip
        return 2.0 * samples * p.inputs * p.units

    def _label_arguments(self, a: Activations, rows: int) -> dict[str, Any]:
        """The rows are the images' positives, then their negatives."""
        assert isinstance(a, Inputs)
        return {"labels": a.labels[:rows], "label_offset": a.label_offset, "classes": a.classes, "value": a.value}


def rate_at(config: Config, optimizer: Optimiser, epoch: int) -> float:
    """Return the learning rate of `optimizer` in `epoch`, from 0."""
    return _rate(config.learning_rate, optimizer.learning_rate, epoch, config.train.epochs)


@lru_cache(maxsize=8)  # the same for an epoch's batches, unless they depend on the step
def _constants(optimizer: Optimiser, step: int, rate: float) -> np.ndarray:
    return optimizer.constants(step, rate)


@lru_cache(maxsize=64)  # the same for an epoch's batches
def _rate(schedule: LearningRate, rate: float, epoch: int, epochs: int) -> float:
    return rate * schedule.factor(epoch, epochs)
