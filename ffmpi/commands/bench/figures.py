"""The figures of a core, for `bench machine`: kernels are timed at many shapes, and their terms are fitted to that.

What a kernel takes is a sum of a few terms, each a figure times a count that follows from the shape: see
`schedule.core`. The fit makes relative errors small, so that narrow pieces count as much as wide layers.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import structs

from ... import config, kernels
from ...kernels import sparse, tile
from ...kernels.update import FEW, MOST, WORTHWHILE
from ...kernels.update import LISTING as UPDATE_LISTING
from ...network.activations import Activations, Inputs
from ...network.layer import LabelledLayer, Layer
from ...schedule.core import Core, Product

#: Inputs, units, rows: layers and pieces of them.
SHAPES = (
    (784, 1000, 100), (1000, 1000, 300), (1000, 1000, 100), (1000, 512, 300), (1000, 192, 300), (2000, 2000, 128),
    (2000, 496, 192), (256, 256, 96), (64, 512, 128),
)  # fmt: skip
#: Shares of inputs that are not zero, and of rows that take part.
DENSITIES, ACTIVE = (1.0, 0.5, 0.3, 0.15, 0.07), (1.0, 0.25, 0.04)
CLASSES = 10
#: Units of rows that are copied, and how many of them into new memory: as much as a wide layer's state.
_UNITS, _NEW = 1024, 2048
#: Memory that only this process has, as most.
_OWN = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
#: A rate so high that nothing is taken for it.
_FREE = 1e18

#: Processor time does not count what other programs take.
clock = time.thread_time


class Case(NamedTuple):
    """Something to time, and how often each term of its product is in it."""

    terms: tuple[float, ...]  # see `Shape.terms`
    action: Callable[[], object]


class Shape:
    """A layer of one shape, and what of it is timed."""

    def __init__(self, inputs: int, units: int, rows: int, optimizer: str) -> None:
        self.inputs, self.units, self.rows = inputs, units, rows
        settings = [f"network.layers=[{inputs},{units}]", f"optimizer.name={optimizer}"]
        c = config.parse("", "bench machine", settings)
        self.layer = Layer(c, 1, inputs, CLASSES, rows, learns=True)
        self.layer.initialise()
        self.out = Activations(units, rows, {})
        self.rng = np.random.default_rng(0)

    def input(self, density: float) -> Activations:
        """Return inputs of which a share `density` is not zero."""
        shape = self.rows, self.inputs
        v = np.abs(self.rng.standard_normal(shape, np.float32)) * (self.rng.random(shape) < density)
        a = Activations(self.inputs, self.rows, {})
        a.h[:, : self.rows], a.total[: self.rows] = kernels.to_panels(v), (v * v).sum(axis=1)
        return a

    def forwards(self, form: Product) -> Iterator[Case]:
        """Yield forwards of inputs of all densities."""
        for density in DENSITIES:
            a = self.input(density)

            def action(a: Activations = a) -> None:
                self.layer.forward(a, self.out, self.rows)

            yield Case(self.terms(form, self.rows, density), action)

    def updates(self, form: Product) -> Iterator[Case]:
        """Yield updates by some of the rows of inputs of all densities."""
        a = self.input(1.0)
        self.layer.forward(a, self.out, self.rows)
        for density in DENSITIES:
            a = self.input(density)
            for share in ACTIVE:
                count = max(1, int(share * self.rows))
                c = np.zeros(self.rows, np.float32)
                c[self.rng.permutation(self.rows)[:count]] = 1e-3

                def action(a: Activations = a, c: np.ndarray = c) -> None:
                    self.layer.update(a, self.out.h, c, 1e-9)

                yield Case(self.terms(form, count, density), action)

    def terms(self, form: Product, rows: int, density: float) -> tuple[float, ...]:
        """Return the counts of what takes `rate`, `nonzero`, `looked`, `listing`, `output`, `weight`, and of calls."""
        width = kernels.panels_of(self.units) * kernels.LANES
        every = float(rows * self.inputs * width)
        product = (every, 0.0, 0.0, 0.0)
        if form.skips(rows, self.units, density):
            product = (0.0, density * every, every, float(rows * self.inputs))
        return *product, float(rows * width), float(self.inputs * width), 1.0


def forms() -> tuple[Product, Product]:
    """Return the forward's and the gradient's product as the kernels choose, without times."""
    columns = tile.PANELS * kernels.LANES
    return (
        Product(
            rate=1.0, columns=columns, zeros=sparse.WORTHWHILE, most=sparse.EVEN, listed=sparse.LISTING, nonzero=0.0
        ),
        Product(
            rate=1.0, columns=columns, zeros=WORTHWHILE, most=MOST, few=float(FEW), listed=UPDATE_LISTING, nonzero=0.0
        ),
    )  # fmt: skip


def timed(actions: Sequence[Callable[[], object]], order: Sequence[int]) -> np.ndarray:
    """Return the time of each action, (actions,) float64, carried out in this order."""
    times = np.empty(len(actions))
    for place in order:
        began = clock()
        actions[place]()
        times[place] = clock() - began
    return times


def fitted(terms: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the factors (n,) of `terms` (cases, n), none negative, that make `times` (cases,), relative errors small.

    A term that does not occur has the factor 0.
    """
    scaled = terms / times[:, None]
    free = scaled.any(axis=0)
    while True:
        found = np.zeros(terms.shape[1])
        found[free] = np.linalg.lstsq(scaled[:, free], np.ones(len(times)), rcond=None)[0]
        if (found >= 0).all():
            return found
        free &= found > 0


class Kernels:
    """What of the kernels is timed, and the core that follows from the times."""

    def __init__(self, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> None:
        self.forward, self.gradient = forms()
        cases = {name: [Shape(*shape, name) for shape in shapes] for name in ("sgd", "adam")}
        # One shape at a time: as in a batch its weights are in a large cache, but not in a small one.
        self._forwards = [case for shape in cases["sgd"] for case in shape.forwards(self.forward)]
        self._updates = [
            (name, case) for name, each in cases.items() for shape in each for case in shape.updates(self.gradient)
        ]  # fmt: skip
        self._labelled = Labelled(*shapes[0])
        units, rows = _UNITS, 128
        source, target = (Activations(units, 2 * rows, {}) for _ in range(2))
        self._copied, weights = units * rows, np.ones((_NEW, _UNITS), np.float32)

        def copy() -> None:
            kernels.copy_rows(source.h, source.total, rows, rows, target.h, target.total)

        self.actions = [
            *(case.action for case in self._forwards), *(case.action for _, case in self._updates),
            self._labelled.forward, self._labelled.product, copy, lambda: _snapshot(weights),
        ]  # fmt: skip

    @property
    def in_turn(self) -> list[int]:
        """The order of the actions in which those with the same weights follow each other."""
        return list(range(len(self.actions)))

    @property
    def mixed(self) -> list[int]:
        """An order of the actions in which no two that follow each other have the same weights."""
        count, step = len(self.actions), len(DENSITIES) * len(ACTIVE)
        return [place for first in range(step) for place in range(first, count, step)]

    def core(self, times: np.ndarray) -> Core:
        """Return the core on which `actions` take `times`; what steps take beside their arithmetic is not known yet."""
        count = len(self._forwards)
        forward = fitted(np.array([case.terms for case in self._forwards]), times[:count])
        # Of an update a weight takes what its optimiser does; all else is alike.
        terms = np.array([
            (*case.terms[:5], case.terms[5] * (name == "sgd"), case.terms[5] * (name == "adam"), 1.0)
            for name, case in self._updates
        ])  # fmt: skip
        gradient = fitted(terms, times[count : count + len(terms)])
        labelled, plain, copied, new = times[count + len(terms) :]
        return Core(
            forward=_with(self.forward, forward, forward[5]),
            gradient=_with(self.gradient, gradient, 0.0),
            one_moment=float(gradient[5]),
            two_moments=float(gradient[6]),
            copying=8.0 * self._copied / float(copied),
            new=4.0 * _NEW * _UNITS / float(new),
            shared=max(0.0, float(labelled - plain)) / self._labelled.made,
            pixels=_FREE,
            step=0.0,
        )


def _snapshot(weights: np.ndarray) -> None:
    """Copy as for a snapshot: into memory that the system gives page by page, not what was freed before."""
    np.frombuffer(mmap.mmap(-1, weights.nbytes, _OWN), np.float32).reshape(weights.shape)[:] = weights


def _with(form: Product, factors: np.ndarray, weight: float) -> Product:
    """Return a product with the factors of its terms."""
    dense, nonzero, looked, listing, output = map(float, factors[:5])
    return structs.replace(
        form, rate=2.0 / max(dense, 1e-15), nonzero=nonzero, looked=looked, listing=listing, output=output,
        weight=float(weight),
    )  # fmt: skip


class Labelled:
    """A first layer, whose products serve as many rows as there are classes."""

    def __init__(self, inputs: int, units: int, images: int) -> None:
        rows = CLASSES * images
        c = config.parse("", "bench machine", [f"network.layers=[{units}]"])
        self.layer = LabelledLayer(c, 0, inputs, CLASSES, rows, images, learns=False)
        self.layer.initialise()
        rng = np.random.default_rng(0)
        v = rng.random((images, inputs), np.float32) * (rng.random((images, inputs)) < 0.2)
        self.a = Inputs(inputs, images, 0, CLASSES, 1.0)
        self.a.h[:, :images], self.a.total[:images] = kernels.to_panels(v), (v * v).sum(axis=1)
        self.out, self.rows, self.images = Activations(units, rows, {}), rows, images
        self.every = np.tile(np.arange(images), CLASSES)
        self.one, self.labels = np.arange(images), np.repeat(np.arange(CLASSES), images)
        self.made = float((rows - images) * units)

    def _forward(self, source: np.ndarray) -> None:
        self.a.source, self.a.labels = source, self.labels[: len(source)]
        self.layer.forward(self.a, self.out, len(source))

    def forward(self) -> None:
        """Compute a row of each image with each class."""
        self._forward(self.every)

    def product(self) -> None:
        """Compute one row of each image."""
        self._forward(self.one)
