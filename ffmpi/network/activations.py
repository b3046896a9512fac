"""Activations: a layer's output of a batch, and what the first layer reads."""

from __future__ import annotations

import numpy as np

from .. import kernels


def margin_of(rows: int) -> int:
    """Return `rows` rounded up to whole vectors, in which sums of rows are written."""
    return -(-rows // kernels.LANES) * kernels.LANES


class Activations:
    """A layer's output for a batch: the unit in which data moves inside a rank and between ranks.

    Everything lies in one float32 array, so that a single message carries it.

    Attributes
    ----------
    flat : (size,) float32, the memory itself
    h : (panels, pitch, 16) float32, activations before normalisation
    total : (pitch,) float32, sum of squared activations of each row
    arrays : by name, (pitch, width) float32, what else the learning rule hands on
    """

    def __init__(self, units: int, rows: int, outputs: dict[str, int]) -> None:
        """Make room for `rows` rows of `units`, with arrays of the widths `outputs` by name."""
        panels, pitch = kernels.panels_of(units), kernels.padded_rows(rows)
        margin = margin_of(pitch)
        size = panels * pitch * kernels.LANES
        self.units = units
        self.flat = kernels.zeros(self.floats(units, rows, sum(outputs.values())))
        self.h = self.flat[:size].reshape(panels, pitch, kernels.LANES)
        self.total = self.flat[size : size + margin]
        self.arrays: dict[str, np.ndarray] = {}
        first = size + margin
        for name, width in outputs.items():
            self.arrays[name] = self.flat[first : first + width * margin].reshape(margin, width)
            first += width * margin

    @staticmethod
    def floats(units: int, rows: int, width: int) -> int:
        """Return the size of `flat`; `width` is that of all arrays that the learning rule hands on."""
        pitch = kernels.padded_rows(rows)
        return kernels.panels_of(units) * pitch * kernels.LANES + (1 + width) * margin_of(pitch)

    @classmethod
    def over(cls, units: int, h: np.ndarray, total: np.ndarray, arrays: dict[str, np.ndarray]) -> Activations:
        """Return activations that lie in these arrays; `flat` is empty."""
        made = cls.__new__(cls)
        made.units, made.flat = units, h.reshape(-1)[:0]
        made.h, made.total, made.arrays = h, total, arrays
        return made

    @property
    def score(self) -> np.ndarray:
        """What the layers up to this one say for classification, (pitch, width) float32."""
        return self.arrays["score"]


class Inputs(Activations):
    """The first layer's input: images once each, and the rows that show them with labels, if there are labels.

    Attributes
    ----------
    source : (rows,) int64, the image of each row
    labels : (rows,) int64, the class it shows, or kernels.NEUTRAL
    label_offset, classes : where the labels stand among the inputs; these are zero in `h` and missing in `total`
    value : float32, what stands in the place of the class shown
    """

    def __init__(self, inputs: int, images: int, label_offset: int, classes: int, value: float) -> None:
        super().__init__(inputs, images, {})
        self.label_offset, self.classes, self.value = label_offset, classes, np.float32(value)
        self.source = self.labels = np.empty(0, np.int64)
