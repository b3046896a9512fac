"""The command `bench operations`: each kernel beside a layer's step against the same thing in NumPy, on one core."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from ... import kernels
from ...network.tree import Tree
from ...runtime.setup import warn_of_cache
from .kernels import medians, one_core, parse_shape

F = np.float32
CLASSES, PROBABILITY, EPSILON, MOMENTUM, STRENGTH = 10, 0.2, F(1e-5), F(0.1), F(0.03)
RATE, DECAY = 1e-3, 1e-2


class Operation(NamedTuple):
    """A kernel; what the same is in NumPy, which returns its result; and the kernel's result, as NumPy has it."""

    kernel: Callable[[], object]
    numpy: Callable[[], np.ndarray]
    result: Callable[[], np.ndarray]


def operations(shape: str, repeats: int, as_json: bool) -> None:
    """Measure at ``INPUTSxUNITSxROWS`` and print a row for each operation, or JSON."""
    inputs, units, rows = parse_shape(shape, "--shape")
    made = {**of_images(rows), **of_units(units, rows), **of_optimisers(inputs, units, rows)}
    actions = {(name, who): getattr(pair, who) for name, pair in made.items() for who in ("kernel", "numpy")}
    with one_core():
        seconds = medians(actions, repeats)
    warn_of_cache(kernels.cache_problem())
    found = {
        name: {"kernel_ms": 1e3 * seconds[name, "kernel"], "numpy_ms": 1e3 * seconds[name, "numpy"]} for name in made
    }
    if as_json:
        print(json.dumps({"shape": shape, "repeats": repeats, "operations": found}))
    else:
        _show(shape, repeats, found)


def _show(shape: str, repeats: int, found: dict[str, dict[str, float]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("operation")
    for name in ("ms", "NumPy, ms", "of NumPy"):
        table.add_column(name, justify="right")
    for name, times in found.items():
        ours, theirs = times["kernel_ms"], times["numpy_ms"]
        table.add_row(name, f"{ours:.3f}", f"{theirs:.3f}", f"{ours / theirs:.2f}")
    console = Console(width=120, highlight=False)
    console.print(f"Operations at {shape} on one core; medians of {repeats}, everything in turn; below 1 is faster.")
    console.print(table)


class _Panels:
    """Activations in panels, and what kernels write beside them."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.shape, pitch = matrix.shape, kernels.padded_rows(len(matrix))
        self.h = kernels.to_panels(matrix, pitch)
        self.totals, self.squares = kernels.zeros(1, pitch + 16), kernels.zeros(len(self.h), pitch + 16)
        self.adds = Tree(0, len(self.h), len(self.h)).adds

    def matrix(self) -> np.ndarray:
        """Return the activations, row-major."""
        return kernels.from_panels(self.h, *self.shape)


def _vector(values: np.ndarray) -> np.ndarray:
    return kernels.to_panels(values[None])[:, 0].copy()


def _squares(h: np.ndarray) -> np.ndarray:
    squares: np.ndarray = np.einsum("ij,ij->i", h, h)
    return squares


def of_images(rows: int) -> dict[str, Operation]:
    """Return the composition of inputs from images of 3 x 32 x 32 bytes, as they are and moved."""
    rng, geometry, count = np.random.default_rng(0), (3, 32, 32), 2000
    pixels = int(np.prod(geometry))
    images, samples = rng.integers(0, 256, (count, pixels), np.uint8), rng.integers(0, count, rows)
    moves = np.stack([*rng.integers(-4, 5, (2, rows)), rng.integers(0, 2, rows)], axis=1)
    slope, offset = rng.random(pixels, F), rng.random(pixels, F)
    plain, moved = _Panels(np.zeros((rows, pixels), F)), _Panels(np.zeros((rows, pixels), F))

    def scaled(raw: np.ndarray) -> np.ndarray:
        a = raw.astype(F)
        a *= slope
        a += offset
        _squares(a)
        return a

    def shifted() -> np.ndarray:
        padded = np.pad(images[samples].reshape(rows, *geometry), ((0, 0), (0, 0), (4, 4), (4, 4)))
        out = np.empty((rows, *geometry), np.uint8)
        for i, (down, right, flip) in enumerate(moves):
            crop = padded[i, :, 4 - down : 36 - down, 4 - right : 36 - right]
            out[i] = crop[:, :, ::-1] if flip else crop
        return scaled(out.reshape(rows, pixels))

    rest = (0, slope, offset)
    return {
        "compose": Operation(
            partial(kernels.compose, images, samples, *rest, plain.h, plain.totals[0]),
            lambda: scaled(images[samples]),
            plain.matrix,
        ),
        "compose_moved": Operation(
            partial(
                kernels.compose_moved, images, samples, moves, (*geometry, 1), 0.0, *rest, moved.h, moved.totals[0]
            ),
            shifted,
            moved.matrix,
        ),
    }


def of_units(units: int, rows: int) -> dict[str, Operation]:
    """Return what is done with a layer's activations: half of the rows are positive."""
    rng, half = np.random.default_rng(1), rows // 2
    x = rng.standard_normal((rows, units), F)
    h, dy = np.maximum(x, 0), rng.standard_normal((rows, units), F)
    mean, variance, gain, shift = x.mean(axis=0), x.var(axis=0), rng.random(units, F), rng.random(units, F)
    c, means = rng.standard_normal(rows, F), rng.random(units, F)
    error = rng.standard_normal((rows, CLASSES), F)
    group = np.arange(units) * CLASSES // units
    first = np.searchsorted(group, np.arange(CLASSES))
    middle = F(means.mean(dtype=np.float64))

    px, ph, pdy, perror = (_Panels(matrix).h for matrix in (x, h, dy, error))
    pmean, pvariance, pgain, pshift, pmeans = (_vector(values) for values in (mean, variance, gain, shift, means))
    statistics, running, sums = (np.zeros((2, *pmean.shape), F) for _ in range(3))
    followed = np.zeros(pmean.shape, F)
    normalised, dx, g, dz, dropped, peers = (
        _Panels(np.zeros((rows, n), F)) for n in (units,) * 2 + (CLASSES,) + (units,) * 3
    )
    samples, kinds, taking_part = rng.integers(0, 60000, rows), np.arange(rows) // max(half, 1), np.zeros(rows, F)

    def norm() -> np.ndarray:
        y = x - mean
        y *= gain / np.sqrt(variance + EPSILON)
        y += shift
        np.maximum(y, 0, out=y)
        _squares(y)
        return y

    def norm_backward() -> np.ndarray:
        inverse = 1 / np.sqrt(variance + EPSILON)
        xhat = (x - mean) * inverse
        found = dy - dy.mean(axis=0)
        xhat *= np.einsum("ij,ij->j", dy, xhat) / F(rows)
        found -= xhat
        found *= gain * inverse
        return found

    def groups_backward() -> np.ndarray:
        found: np.ndarray = (error * (F(2) / np.bincount(group).astype(F)))[:, group]
        found *= h
        return found

    def drop() -> np.ndarray:
        # Drawn for the batch as a whole, which is less than the kernel does: its draws belong to rows.
        words = np.random.Philox(key=0).random_raw(-(-rows * units // 4)).view(np.uint16)[: rows * units]
        y = h * (words.reshape(rows, units) >= round(65536 * PROBABILITY))
        y *= F(1 / (1 - PROBABILITY))
        _squares(y)
        return y

    def peer() -> np.ndarray:
        found = c[:, None] * h
        found[:half] += (means - middle) * (STRENGTH / F(max(half, 1)))
        return found

    return {
        "batch_statistics": Operation(
            partial(kernels.batch_statistics, px, rows, MOMENTUM, *statistics, *running, None),
            lambda: np.stack([x.mean(axis=0), x.var(axis=0)]),
            lambda: statistics.reshape(2, -1)[:, :units],
        ),
        "batch_norm": Operation(
            partial(
                kernels.batch_norm, px, rows, pmean, pvariance, EPSILON, pgain, pshift, F(0),
                normalised.h, normalised.totals, normalised.squares, normalised.adds,
            ),
            norm,
            normalised.matrix,
        ),
        "batch_norm_backward": Operation(
            partial(
                kernels.batch_norm_backward, pdy, px, rows, pmean, pvariance, EPSILON, pgain, False, dx.h, *sums, None
            ),
            norm_backward,
            dx.matrix,
        ),
        "group_means": Operation(
            partial(kernels.group_means, ph, rows, 0, units, CLASSES, True, dz.adds, g.h[None]),
            lambda: np.add.reduceat(h * h, first, axis=1) / np.bincount(group).astype(F),
            g.matrix,
        ),
        "group_backward": Operation(
            partial(kernels.group_backward, perror, ph, rows, 0, units, CLASSES, True, dz.h), groups_backward, dz.matrix
        ),
        "dropout": Operation(
            partial(
                kernels.dropout, ph, rows, samples, kinds, 0, 0, 0, 0, PROBABILITY,
                dropped.h, dropped.totals, dropped.squares, dropped.adds,
            ),
            drop,
            dropped.matrix,
        ),
        "peer_means": Operation(
            partial(kernels.peer_means, ph, half, F(0), followed, None, peers.adds, peers.totals),
            lambda: F(0) * mean + h[:half].mean(axis=0) if half else np.zeros(units, F),
            lambda: followed.reshape(-1)[:units],
        ),
        "peer_gradient": Operation(
            partial(kernels.peer_gradient, ph, c, half, units, pmeans, middle, STRENGTH, peers.h, taking_part, None),
            peer,
            peers.matrix,
        ),
    }  # fmt: skip


def of_optimisers(inputs: int, units: int, rows: int) -> dict[str, Operation]:
    """Return the gradient's product with each optimiser's step, which in NumPy are one after another."""
    rng = np.random.default_rng(2)
    a, z = np.maximum(rng.standard_normal((rows, inputs), F), 0), np.maximum(rng.standard_normal((rows, units), F), 0)
    c, scale = rng.standard_normal(rows, F) / F(rows), np.ones(kernels.padded_rows(rows), F)
    w = rng.standard_normal((inputs, units), F) / F(np.sqrt(inputs))
    pa, pz = _Panels(a).h, _Panels(z).h
    sgd = kernels.sgd_constants(RATE, DECAY, 0.9)
    kinds = {
        "sgd": (kernels.SGD, sgd),
        "nesterov": (kernels.NESTEROV, sgd),
        "lion": (kernels.LION, kernels.lion_constants(RATE, DECAY, 0.9, 0.99)),
        "adam": (kernels.ADAM, kernels.adam_constants(np.ones(1, np.int64), RATE, DECAY, 0.9, 0.999, 1e-8)[0]),
    }
    return {
        f"update by {name}": _update(kind, constants, (a, c, z, w), (pa, scale, c, pz))
        for name, (kind, constants) in kinds.items()
    }


def _update(
    kind: int, constants: np.ndarray, plain: tuple[np.ndarray, ...], panels: tuple[np.ndarray, ...]
) -> Operation:
    a, c, z, start = plain
    (inputs, units), (pa, scale, _, pz) = start.shape, panels
    pw = kernels.to_panels(start, kernels.panels_of(inputs) * kernels.LANES)
    bias = kernels.zeros(len(pw), kernels.LANES)
    pm, pv, mb, vb = (np.zeros_like(like) for like in (pw, pw, bias, bias))
    w, m, v, g = start.copy(), np.zeros_like(start), np.zeros_like(start), np.empty_like(start)
    stays, comes, second, second_comes, correction, epsilon, rate, decay = constants

    def step() -> np.ndarray:
        np.matmul(a.T, c[:, None] * z, out=g)
        direction = m
        if kind == kernels.LION:
            direction = np.sign(second * m + second_comes * g)
        np.multiply(m, stays, out=m)
        np.add(m, comes * g, out=m)
        if kind == kernels.NESTEROV:
            direction = stays * m + comes * g
        elif kind == kernels.ADAM:
            np.multiply(v, second, out=v)
            np.multiply(g, g, out=g)
            np.add(v, second_comes * g, out=v)
            direction = m / (np.sqrt(v) * correction + epsilon)
        np.multiply(w, decay, out=w)
        np.subtract(w, rate * direction, out=w)
        return w

    return Operation(
        lambda: kernels.update(
            kind, pa, scale, c, pz, pw, bias, (pm, pv, mb, vb), constants, kernels.NO_LABELS, kernels.DENSE
        ),
        step,
        lambda: kernels.from_panels(pw, inputs, units),
    )
