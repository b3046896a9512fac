"""Numba kernels of ffmpi, one operation a file, each specified by `reference`; they import nothing from ffmpi."""

from __future__ import annotations

import numpy as np

from .compose import NEUTRAL, compose
from .forward import forward
from .panels import from_panels, padded_rows, panels_of, to_panels, zeros
from .simd import LANES
from .update import ADAM, SGD, adam_constants, sgd_constants, update

__all__ = [
    "ADAM",
    "LANES",
    "NEUTRAL",
    "SGD",
    "adam_constants",
    "compile_all",
    "compose",
    "forward",
    "from_panels",
    "padded_rows",
    "panels_of",
    "sgd_constants",
    "to_panels",
    "update",
    "zeros",
]


def compile_all(*, threads: int = 1) -> None:
    """Run every kernel once on next to nothing, so that it is compiled, or loaded from Numba's cache on disk."""
    a, w, bias, row = zeros(1, 8, LANES), zeros(1, LANES, LANES), zeros(1, LANES), zeros(LANES)
    first = np.zeros(1, np.int64)
    compose(np.zeros((1, 4), np.uint8), first, first, 2, 0, np.float32(1), np.float32(0), a, row)
    forward(a, row, w, bias, zeros(1, 8, LANES), zeros(LANES), zeros(1, LANES), 1, threads=threads)
    moments = (zeros(1, LANES, LANES), zeros(1, LANES, LANES), zeros(1, LANES), zeros(1, LANES))
    update(SGD, a, row[:8], row[:8], a, first, w, bias, moments, sgd_constants(0.0, 0.0, 0.9), threads=threads)
