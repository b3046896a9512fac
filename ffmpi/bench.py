"""The command `bench`: a layer's step in ffmpi against the same step in NumPy, in turn, on one core."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from . import kernels
from .errors import UserError

SHAPES = ((784, 2000), (2000, 2000), (784, 1000), (1000, 1000), (3072, 2000))  # inputs, units
ROWS = (128, 200, 256, 512)
_RATE, _BETA1, _BETA2, _EPS = 1e-3, 0.9, 0.999, 1e-8


class FfmpiStep:
    """Forward and update with Adam of one layer, all rows active, by the kernels."""

    def __init__(self, a: np.ndarray, w: np.ndarray) -> None:
        rows, units = len(a), w.shape[1]
        pitch, inputs = kernels.padded_rows(rows), kernels.panels_of(w.shape[0]) * kernels.LANES
        margin = -(-pitch // kernels.LANES) * kernels.LANES
        self.rows, self.a, self.w = rows, kernels.to_panels(a, pitch), kernels.to_panels(w, inputs)
        self.bias = kernels.zeros(len(self.w), kernels.LANES)
        self.h = kernels.zeros(kernels.panels_of(units), pitch, kernels.LANES)
        self.total, self.squares = kernels.zeros(margin), kernels.zeros(len(self.w), margin)
        parts = (self.w, self.w, self.bias, self.bias)
        m, v, mb, vb = (kernels.zeros(*part.shape) for part in parts)
        self.moments = (m, v, mb, vb)
        self.scale, self.c = np.ones(pitch, np.float32), np.full(rows, 1e-3, np.float32)
        self.active, self.steps = np.arange(rows), 0

    def forward(self) -> None:
        """Product, scale, bias, ReLU and row goodness."""
        kernels.forward(self.a, self.scale, self.w, self.bias, self.h, self.total, self.squares, self.rows)

    def update(self) -> None:
        """Product and Adam."""
        self.steps += 1
        constants = kernels.adam_constants(self.steps, _RATE, 0.0, _BETA1, _BETA2, _EPS)
        scale = self.scale[: self.rows]
        kernels.update(
            kernels.ADAM, self.a, scale, self.c, self.h, self.active, self.w, self.bias, self.moments, constants
        )


class NumpyStep:
    """The same in NumPy, with its BLAS, written to allocate as little as it can."""

    def __init__(self, a: np.ndarray, w: np.ndarray) -> None:
        self.a, self.w, self.steps = a, w.copy(), 0
        self.bias, self.mb, self.vb = (np.zeros(w.shape[1], np.float32) for _ in range(3))
        self.m, self.v, self.g = np.zeros_like(w), np.zeros_like(w), np.empty_like(w)
        self.h = np.empty((len(a), w.shape[1]), np.float32)
        self.scale, self.c = np.ones((len(a), 1), np.float32), np.full((len(a), 1), 1e-3, np.float32)
        self.total = np.empty(len(a), np.float32)

    def forward(self) -> None:
        """Product, bias, ReLU and row goodness; the scale of a row is left out in NumPy's favour."""
        np.matmul(self.a, self.w, out=self.h)
        self.h += self.bias
        np.maximum(self.h, 0, out=self.h)
        np.einsum("ru,ru->r", self.h, self.h, out=self.total)

    def update(self) -> None:
        """Product and Adam."""
        self.steps += 1
        z = self.h * self.c
        np.matmul(self.a.T, z, out=self.g)
        self._adam(self.w, self.g, self.m, self.v)
        self._adam(self.bias, z.sum(axis=0), self.mb, self.vb)

    def _adam(self, w: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray) -> None:
        m *= np.float32(_BETA1)
        m += np.float32(1 - _BETA1) * g
        v *= np.float32(_BETA2)
        np.multiply(g, g, out=g)
        g *= np.float32(1 - _BETA2)
        v += g
        np.sqrt(v, out=g)
        g *= np.float32(1 / np.sqrt(1 - _BETA2**self.steps))
        g += np.float32(_EPS)
        np.divide(m, g, out=g)
        g *= np.float32(_RATE / (1 - _BETA1**self.steps))
        w -= g


def medians(actions: Sequence[Callable[[], None]], repeats: int) -> list[float]:
    """Return the median seconds of each action, all run in turn `repeats` times after a first, uncounted time."""
    times: list[list[float]] = [[] for _ in actions]
    for repeat in range(repeats + 1):
        for action, taken in zip(actions, times, strict=True):
            began = time.perf_counter()
            action()
            if repeat:
                taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


def bench(repeats: int, as_json: bool) -> None:
    """Time each shape and print milliseconds, GFLOP/s and the ratio to NumPy (below 1: ffmpi is faster)."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise UserError("bench needs threadpoolctl to keep NumPy on one core: pip install 'ffmpi[bench]'") from None
    results: list[dict[str, Any]] = []
    with threadpool_limits(1):
        for inputs, units in SHAPES:
            for rows in ROWS:
                results.append(_bench_shape(inputs, units, rows, repeats))
    if as_json:
        print(json.dumps(results))
        return
    table = Table(title="one layer's step on one core, medians", title_justify="left", box=None, pad_edge=False)
    for name in ("inputs", "units", "rows", "forward ms", "GFLOP/s", "to NumPy", "step ms", "GFLOP/s", "to NumPy"):
        table.add_column(name, justify="right")
    for result in results:
        table.add_row(
            str(result["inputs"]),
            str(result["units"]),
            str(result["rows"]),
            f"{result['forward_ms']:.2f}",
            f"{result['forward_gflops']:.0f}",
            f"{result['forward_ms'] / result['numpy_forward_ms']:.2f}",
            f"{result['step_ms']:.2f}",
            f"{result['step_gflops']:.0f}",
            f"{result['step_ms'] / result['numpy_step_ms']:.2f}",
        )
    Console(width=120).print(table)


def _bench_shape(inputs: int, units: int, rows: int, repeats: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    a = np.maximum(rng.standard_normal((rows, inputs), np.float32), 0)
    w = rng.standard_normal((inputs, units), np.float32) / np.float32(np.sqrt(inputs))
    ours, theirs = FfmpiStep(a, w), NumpyStep(a, w)
    forward, update, numpy_forward, numpy_update = medians(
        [ours.forward, ours.update, theirs.forward, theirs.update], repeats
    )
    product = 2e-9 * rows * inputs * units
    return {
        "inputs": inputs,
        "units": units,
        "rows": rows,
        "forward_ms": 1e3 * forward,
        "forward_gflops": product / forward,
        "numpy_forward_ms": 1e3 * numpy_forward,
        "step_ms": 1e3 * (forward + update),
        "step_gflops": 2 * product / (forward + update),
        "numpy_step_ms": 1e3 * (numpy_forward + numpy_update),
    }
