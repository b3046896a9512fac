"""The first layer's input: images and the labels shown with them, written as activations."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..config.schema import Config
from ..data import DataSet
from ..data.scaling import PixelScaling, slope_and_offset
from .activations import Inputs
from .layout import LAYOUTS
from .transformed import TransformedImages
from .window import Window


class InputBuilder:
    """Writes images and the labels to show with them into the first layer's input."""

    def __init__(
        self, config: Config, data: DataSet, scaling: PixelScaling | None, window: Window | None = None,
        transformed: TransformedImages | None = None,
    ) -> None:  # fmt: skip
        """Take the images of `data` (n, pixels), uint8 or float32, to be scaled by `scaling` if they are measured.

        Images that are streamed are seen through `window`; those that are learnt from are then `transformed`.
        """
        assert data.images is not None
        self.images, self.window, self._transformed, self._epoch = data.images, window, transformed, -1
        self.slope, self.offset = slope_and_offset(config, scaling, data.images)
        # With the local-softmax rule inputs have no label, so nothing is laid over the pixels.
        self.skipped = (
            0 if config.data.label == "append" or not LAYOUTS[config.rule.layout].labelled else len(data.names)
        )

    def set_epoch(self, epoch: int) -> None:
        """Take the images as they are seen in `epoch`: streamed ones in its windows."""
        self._epoch = epoch
        if self.window:
            self.window.set_epoch(epoch)

    def plain(self, samples: np.ndarray, out: Inputs) -> None:
        """Write the images `samples`."""
        images, rows = self.window.take(samples) if self.window else (self.images, samples)
        assert isinstance(images, np.ndarray)  # streamed ones have a window
        self._compose(images, rows, samples, out)
        if self._transformed:
            self._transformed.change(out, samples, self._epoch)

    def _compose(self, images: np.ndarray, rows: np.ndarray, samples: np.ndarray, out: Inputs) -> None:
        """Write the images `samples`, which are the `rows` of `images`."""
        kernels.compose(images, rows, self.skipped, self.slope, self.offset, out.h, out.total)

    def show(self, samples: np.ndarray, labels: np.ndarray, source: np.ndarray, out: Inputs) -> None:
        """Write the images `samples`; row i of the batch shows image ``source[i]`` of them with label ``labels[i]``."""
        self.plain(samples, out)
        out.source, out.labels = source, labels

    def pairs(
        self, samples: np.ndarray, classes: np.ndarray, negatives: np.ndarray, neutral: np.ndarray, out: Inputs
    ) -> None:  # fmt: skip
        """Write the positives and the negatives of `samples`, and the neutral inputs of samples `neutral`.

        classes, negatives : int64, of all samples
        """
        # The neutral rows mostly show the same images, which are then there already.
        same = len(neutral) == 0 or neutral is samples
        self.plain(samples if same else np.concatenate([samples, neutral]), out)
        first = 0 if same else len(samples)
        rows = 2 * len(samples) + len(neutral)
        out.source, out.labels = np.empty(rows, np.int64), np.empty(rows, np.int64)
        kernels.pairs(classes, negatives, samples, len(neutral), first, out.source, out.labels)

    def neutral(self, samples: np.ndarray, out: Inputs) -> None:
        """Write the neutral inputs of `samples`."""
        self.show(samples, np.full(len(samples), kernels.NEUTRAL), np.arange(len(samples)), out)

    def candidates(self, samples: np.ndarray, labels: np.ndarray, out: Inputs) -> None:
        """Write for each of `samples` a row with each of its `labels` (samples, any number)."""
        self.show(samples, labels.ravel(), np.repeat(np.arange(len(samples)), labels.shape[1]), out)
