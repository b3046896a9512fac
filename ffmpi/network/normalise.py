"""The factor by which each row is normalised before the next layer's product."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..config.schema import Network
from .activations import Activations, Inputs


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
