"""The factor by which each row is normalised before the next layer's product."""

from __future__ import annotations

import numpy as np

from .. import kernels
from .normalisations import Norm


class Normalisation:
    """What `kernels.row_scale` makes each row's factor with, from the sums of squares that come with the activations.

    Attributes
    ----------
    divisor, epsilon : float32, of the norm a row is divided by; a divisor of 0 says that its factor is 1
    scale : (pitch,) float32, the factors of the rows asked for last
    arguments : all three
    """

    def __init__(self, norm: Norm | None, rows: int) -> None:
        """Make room for `rows` rows, to be divided by their `norm` if there is one (docs/design.md, section 2)."""
        norm = norm or Norm(0, 0)
        self.divisor, self.epsilon = np.float32(norm.divisor), np.float32(norm.epsilon)
        self.scale = kernels.zeros(kernels.padded_rows(rows))
        if not self.divisor:
            self.scale[:] = 1
        self.arguments = self.divisor, self.epsilon, self.scale
