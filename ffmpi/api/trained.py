"""A trained network, to be asked, saved and passed around."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import config, export, kernels
from ..config.schema import Config
from ..data import arrays
from ..data.info import DatasetInfo
from ..data.memory import Arrays
from ..data.pixels import converted
from ..errors import UserError, telling
from ..network.inference import Inference
from ..network.parameters import Parameters
from ..network.stages import every_block
from ..run import checkpoint, trained
from ..run.directory import RunDirectory, checkpoint_path
from ..run.header import identity
from ..run.writer import Writer
from .tables import frame
from .warning import warn_caller


class TrainedNetwork:
    """What `ffmpi.fit` and `ffmpi.load` return. Images are arrays (n, ...) of the shape that was trained on.

    Their pixels may be uint8 or floats of any type, and are converted as in ``ffmpi predict``. All methods raise
    UserError for what is not the network's.

    Attributes
    ----------
    config : the complete configuration
    classes : names of the classes, by number
    shape : of an image
    history : one record a chapter, as in a run's metrics.jsonl; empty if none was kept
    converts : whether uint8 and floats of 0 to 1, 0 to 255 and -1 to 1 become one another; otherwise pixels are taken
        as they are
    """

    converts = True

    def __init__(
        self, config: Config, dataset: DatasetInfo, state: Mapping[str, np.ndarray] | Path, chapter: int,
        history: Sequence[dict[str, Any]] = (),
    ) -> None:  # fmt: skip
        """Take over a state in which `chapter` chapters are done: its arrays as in a checkpoint, or where that is."""
        self.config, self.classes, self.shape, self.history = config, dataset.names, dataset.shape, list(history)
        self._dataset, self._state, self._chapter = dataset, state, chapter

    def __repr__(self) -> str:
        layers = " - ".join(map(str, self.config.network.layers))
        return f"TrainedNetwork({layers}, rule {self.config.rule.name!r}, {len(self.classes)} classes)"

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key != "_inference"}
        return state | ({"_state": self.parameters} if isinstance(self._state, Path) else {})

    @cached_property
    def _inference(self) -> Inference:
        assert not isinstance(self._state, Path)  # see load
        kernels.use_threads(self.config.schedule.threads)
        declared = every_block(self.config, self._dataset)
        blocks = {name: Parameters(block, learns=False) for name, block in declared.items()}
        for name, parameters in blocks.items():
            for array in parameters.held:
                parameters.set_array(array.name, self._state[f"{name}/{array.name}"])
        return Inference(self.config, self._dataset, blocks)

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of all that answers rest on, float32, by name: ``layers/0/weights`` (inputs, units) and so on."""
        return {
            f"{name}/{array.name}": block.array(array.name)
            for name, block in self._inference.blocks.items()
            for array in block.held
        }

    @property
    def methods(self) -> tuple[str, ...]:
        """The ways to classify, the one that is meant by default first."""
        return self.config.methods

    def _pixels(self, images: Any) -> np.ndarray:
        """Return images as the network takes them, (n, pixels)."""
        given = np.asarray(images)
        if given.shape == self.shape:
            raise UserError(f"images: has the shape {given.shape} of one image; expected (n, ...): images[None]")
        if len(given) == 0:
            return np.empty((0, self._dataset.pixels), np.uint8)
        found, _ = arrays.read_images(Arrays({"images": given}), self.shape, ["images"])
        if self.converts:
            with telling(warn_caller):
                found = np.asarray(converted(found, self._dataset.pixel_format, "images"))
        return found

    def scores(self, images: Any, method: str | None = None) -> np.ndarray:
        """Return what a method says of each class, (n, classes) float32: logits, or goodness summed over layers."""
        return self._inference.scores(self._pixels(images), method or self.methods[0])

    def predict(self, images: Any, method: str | None = None) -> np.ndarray:
        """Return the class of each image, (n,) int64; `classes` has its name."""
        return self.scores(images, method).argmax(axis=1)

    def predict_proba(self, images: Any, method: str | None = None) -> np.ndarray:
        """Return the softmax of the scores, (n, classes) float64; rows add up to 1.

        Of logits that is what the classifier was trained to say. Goodness is no log-probability: its classes are in the
        right order, but nothing makes the numbers those of how often they are right.
        """
        scores = self.scores(images, method).astype(np.float64)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def activations(self, images: Any, layer: int, labels: Any = None) -> np.ndarray:
        """Return what layer number `layer`, from 1, makes of each image, (n, units) float32.

        labels : (n,), the class that each image is shown with, if labels are shown; None: all classes in equal parts
        """
        if not 1 <= layer <= len(self.config.network.layers):
            raise UserError(f"layer = {layer}: expected 1 to {len(self.config.network.layers)}")
        shown = None if labels is None else np.asarray(labels)
        return self._inference.activations(self._pixels(images), layer - 1, shown)

    def goodness(self, images: Any, labels: Any) -> np.ndarray:
        """Return what each layer says for the class in `labels` (n,) of each image, (n, layers) float32.

        That is the goodness of the image shown with the class or, where layers have a classifier, the class's logit.
        """
        return self._inference.goodness(self._pixels(images), np.asarray(labels))

    def evaluate(self, images: Any, labels: Any) -> dict[str, float]:
        """Return the accuracy in percent by each method; `labels` are numbers of classes, (n,)."""
        held = Arrays({"labels": np.asarray(labels)})
        classes, _ = arrays.read_labels(held, "labels")
        pixels = self._pixels(images)
        if len(pixels) != len(classes):
            raise UserError(f"labels: are {len(classes)} for {len(pixels)} images; expected as many of each")
        return {
            method: 100.0 * float(np.mean(self._inference.scores(pixels, method).argmax(axis=1) == classes))
            for method in self.methods
        }

    def frame(self) -> Any:
        """Return the history as a pandas DataFrame, a row a chapter. Raises UserError without pandas."""
        return frame(self.history)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint that `ffmpi.load`, ``ffmpi evaluate``, ``predict``, ``info`` and ``export`` read.

        Raises UserError where it cannot be written.
        """
        place = Path(path)
        if isinstance(self._state, Path):
            checkpoint.copy(self._state, place)
            return
        every = every_block(self.config, self._dataset)
        missing = [f"{name}/{key}" for name, block in every.items() for key in block.shapes()]
        missing = [name for name in missing if name not in self._state]
        if missing:
            raise UserError(
                f"{place}: the network was read from a checkpoint and pickled; expected a copy of that file"
            )
        dataset, settled = self._dataset, config.located(self.config)
        writer = Writer(place, settled, dataset, self._chapter, identity(place))
        axes = {f"{name}/{key}": axis for name, block in every.items() for key, axis in block.axes().items()}
        writer.create({name: array.shape for name, array in self._state.items()}, axes)
        for name, array in self._state.items():
            writer.write(name, array)
        writer.commit()

    def export(self, path: str | Path, method: str | None = None, force: bool = False) -> None:
        """Write what PyTorch (.pt), ONNX (.onnx), NumPy (.npz) or HDF5 (.h5) need, as ``ffmpi export`` does.

        Raises UserError if the file is there already, unless by `force`, or where a library is missing.
        """
        export.write(self._inference, path, method, force)


def load(path: str | Path) -> TrainedNetwork:
    """Return the network of a run directory or a checkpoint. Raises UserError if it cannot be read."""
    place = Path(path).expanduser()
    header, inference = trained.load(str(place))
    history = RunDirectory(place).records() if place.is_dir() else []
    file = checkpoint_path(str(place)).absolute()
    network = TrainedNetwork(inference.config, inference.dataset, file, header.chapter, history)
    network._inference = inference
    return network
