"""Batches of inputs: which samples, with which labels, composed into the first layer's activations."""

from __future__ import annotations

import numpy as np

from . import draws, kernels
from .config import Config
from .data import DataSet
from .layer import Inputs


class Labels:
    """The order of the samples and their classes in each epoch: needed by the first layer and by the head."""

    def __init__(self, config: Config, classes: np.ndarray, number: int) -> None:
        """Keep `classes` (samples,) uint8, values below `number`."""
        self.config, self.number = config, number
        self.classes = classes.astype(np.int64)
        self.order = np.arange(len(classes))
        self.negatives = self.classes

    def renew(self, epoch: int) -> None:
        """Draw the order and the negatives of `epoch` (fixed negatives: those of epoch 0)."""
        seed, kind = self.config.seed, self.config.negatives.kind
        if self.config.train.shuffle:
            self.order = draws.order(seed, epoch, len(self.classes))
        self.negatives = draws.wrong_classes(seed, 0 if kind == "fixed" else epoch, self.classes, self.number)

    def batch(self, index: int) -> np.ndarray:
        """Return the samples of batch `index`, int64."""
        size = self.config.train.batch
        return self.order[index * size : (index + 1) * size]


class Composer:
    """Writes images and the labels to show with them into the first layer's input."""

    def __init__(self, config: Config, data: DataSet) -> None:
        """Take the images of `data` (n, pixels), uint8 or float32; a float image is not divided by 255."""
        assert data.images is not None
        self.images = data.images
        unit = 255.0 if data.images.dtype == np.uint8 else 1.0
        self.slope = np.float32(1 / (unit * config.data.std))
        self.offset = np.float32(-config.data.mean / config.data.std)
        self.blank = 0 if config.data.label == "append" else len(data.names)

    def __call__(self, samples: np.ndarray, labels: np.ndarray, source: np.ndarray, out: Inputs) -> None:
        """Write the images `samples`; row i of the batch shows image ``source[i]`` of them with label ``labels[i]``."""
        kernels.compose(self.images, samples, self.blank, self.slope, self.offset, out.h, out.total)
        out.source, out.labels = source, labels

    def training(self, labels: Labels, index: int, stream: str, head: bool, out: Inputs) -> None:
        """Write training batch `index`: positives, negatives, neutral inputs; which of them says `stream`."""
        samples = labels.batch(index)
        count = len(samples)
        first, last = {"pairs": (0, 2), "neutral": (2, 3), "train": (0, 3 if head else 2)}[stream]
        shown = np.full((3, count), kernels.NEUTRAL)
        shown[0], shown[1] = labels.classes[samples], labels.negatives[samples]
        source = np.broadcast_to(np.arange(count), (last - first, count)).ravel()
        self(samples, shown[first:last].ravel(), source, out)

    def neutral(self, first: int, count: int, out: Inputs) -> None:
        """Write the neutral inputs of images first, first + 1, ..."""
        self(np.arange(first, first + count), np.full(count, kernels.NEUTRAL), np.arange(count), out)

    def candidates(self, first: int, count: int, out: Inputs) -> None:
        """Write for each of `count` images from `first` on one row for each class it might be."""
        labels = np.tile(np.arange(out.classes), count)
        self(np.arange(first, first + count), labels, np.repeat(np.arange(count), out.classes), out)
