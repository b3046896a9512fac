"""A layer's step in ffmpi and in NumPy: the contenders that every machine has (torch_steps.py holds the others)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ... import kernels
from ...network.tree import Tree

#: Adam's numbers. The rate is so small that no repetition changes how many numbers are zero or denormal.
RATE, BETA1, BETA2, EPS = 1e-6, 0.9, 0.999, 1e-8


class Step(Protocol):
    """A layer and a batch: a : (rows, inputs), w : (inputs, units), c : (rows,) float32."""

    def forward(self) -> None:
        """Product, bias, ReLU and the sum of squares of each row."""

    def update(self, active: np.ndarray) -> None:
        """Gradient (c a)^T h over the `active` rows, (count,) int64 ascending, and Adam."""

    def weights(self) -> np.ndarray:
        """Return the weights, (inputs, units) float32."""


class FfmpiStep:
    """The kernels: what `ffmpi train` runs."""

    def __init__(self, a: np.ndarray, w: np.ndarray, c: np.ndarray, *, rate: float = RATE, threads: int = 1) -> None:
        rows = len(a)
        (self.inputs, self.units), self.rate, self.threads = w.shape, rate, threads
        pitch, inputs = kernels.padded_rows(rows), kernels.panels_of(self.inputs) * kernels.LANES
        margin = -(-pitch // kernels.LANES) * kernels.LANES
        self.rows, self.a, self.w = rows, kernels.to_panels(a, pitch), kernels.to_panels(w, inputs)
        self.bias = kernels.zeros(len(self.w), kernels.LANES)
        self.h = kernels.zeros(kernels.panels_of(self.units), pitch, kernels.LANES)
        self.totals, self.squares = kernels.zeros(1, margin), kernels.zeros(len(self.w), margin)
        self.adds = Tree(0, len(self.w), len(self.w)).adds
        m, v, mb, vb = (kernels.zeros(*part.shape) for part in (self.w, self.w, self.bias, self.bias))
        self.moments = (m, v, mb, vb)
        self.nonzeros = kernels.Nonzeros(
            self.rows, len(self.a)
        ).arrays  # as in training: zeros are skipped where that pays
        self.scale, self.c, self.steps = np.ones(pitch, np.float32), c, 0

    def forward(self) -> None:
        """Product, scale, bias, ReLU and row goodness, fused."""
        norm = self.scale, np.float32(0), np.float32(0), self.scale
        arguments = (
            self.a, norm, self.w, self.bias, self.h, self.totals, self.squares, self.adds, self.rows,
            self.nonzeros, True,
        )  # fmt: skip
        if self.threads == 1:
            kernels.forward(*arguments)
        else:
            kernels.forward_parallel(self.threads, *arguments)

    def update(self, active: np.ndarray) -> None:
        """Product and Adam, fused."""
        self.steps += 1
        constants = kernels.adam_constants(np.array([self.steps]), self.rate, 0.0, BETA1, BETA2, EPS)[0]
        c = np.zeros_like(self.c)
        c[active] = self.c[active]
        arguments = (
            kernels.ADAM, self.a, self.scale, c, self.h, self.w, self.bias, self.moments, constants,
            kernels.NO_LABELS, self.nonzeros,
        )  # fmt: skip
        if self.threads == 1:
            kernels.update(*arguments)
        else:
            kernels.update_parallel(self.threads, *arguments)

    def weights(self) -> np.ndarray:
        """Return the weights, row-major."""
        return kernels.from_panels(self.w, self.inputs, self.units)


class NumpyStep:
    """The same in NumPy with its BLAS: nothing but the gathered rows is allocated. No row scale, in NumPy's favour."""

    def __init__(self, a: np.ndarray, w: np.ndarray, c: np.ndarray, *, rate: float = RATE) -> None:
        self.a, self.w, self.c, self.rate, self.steps = a, w.copy(), c[:, None], rate, 0
        self.bias, self.mb, self.vb = (np.zeros(w.shape[1], np.float32) for _ in range(3))
        self.m, self.v, self.g = np.zeros_like(w), np.zeros_like(w), np.empty_like(w)
        self.h, self.z = (np.empty((len(a), w.shape[1]), np.float32) for _ in range(2))
        self.total = np.empty(len(a), np.float32)

    def forward(self) -> None:
        """Product, bias, ReLU and row goodness."""
        np.matmul(self.a, self.w, out=self.h)
        self.h += self.bias
        np.maximum(self.h, 0, out=self.h)
        np.einsum("ru,ru->r", self.h, self.h, out=self.total)

    def update(self, active: np.ndarray) -> None:
        """Product and Adam."""
        self.steps += 1
        a, h, c = self.a, self.h, self.c
        if len(active) < len(a):
            a, h, c = a[active], h[active], c[active]
        z = np.multiply(h, c, out=self.z[: len(h)])
        np.matmul(a.T, z, out=self.g)
        self._adam(self.w, self.g, self.m, self.v)
        self._adam(self.bias, z.sum(axis=0), self.mb, self.vb)

    def _adam(self, w: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray) -> None:
        m *= np.float32(BETA1)
        g *= np.float32(1 - BETA1)
        m += g
        v *= np.float32(BETA2)
        np.multiply(g, g, out=g)
        g *= np.float32((1 - BETA2) / (1 - BETA1) ** 2)  # g was multiplied by 1 - BETA1: no array for the product
        v += g
        np.sqrt(v, out=g)
        g *= np.float32(1 / np.sqrt(1 - BETA2**self.steps))
        g += np.float32(EPS)
        np.divide(m, g, out=g)
        g *= np.float32(self.rate / (1 - BETA1**self.steps))
        w -= g

    def weights(self) -> np.ndarray:
        """Return the weights."""
        return self.w
