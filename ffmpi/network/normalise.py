"""The factor by which each row is normalised before the next layer's product."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..config.schema import Network
from .activations import Activations, Inputs
from .normalisations import Norm


class Normalisation:
    """Each row's factor, made from the sums of squares that come with the activations (docs/design.md, section 2).

    Attributes
    ----------
    divisor, epsilon : float32, of the norm a row is divided by; a divisor of 0 says that its factor is 1
    scale : (pitch,) float32, the factors of the rows asked for last
    """

    def __init__(self, network: Network, units: int, rows: int) -> None:
        """Make room for `rows` rows of `units` activations."""
        norm = network.normalise.norm(units) or Norm(0, 0)
        self.divisor, self.epsilon = np.float32(norm.divisor), np.float32(norm.epsilon)
        self.scale = kernels.zeros(kernels.padded_rows(rows))
        if not self.divisor:
            self.scale[:] = 1

    def of(self, a: Activations, rows: int) -> np.ndarray:
        """Return the factors of the first `rows` rows, (pitch,) float32; the next call overwrites them."""
        if self.divisor:
            kernels.row_scale(a.total, rows, self.divisor, self.epsilon, self.scale)
        return self.scale

    def of_labelled(self, a: Inputs) -> np.ndarray:
        """Return the factors of the rows that show images with their labels."""
        if self.divisor:
            kernels.row_scale_labelled(
                a.total, a.source, a.labels, a.classes, a.value, self.divisor, self.epsilon, self.scale
            )
        return self.scale
