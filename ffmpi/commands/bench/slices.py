"""The command `bench slices`: what a piece of a layer costs beside its share of the whole layer, without MPI."""

from __future__ import annotations

import json

import numpy as np
from rich.console import Console
from rich.table import Table

from ... import config, kernels
from ...network.activations import Activations
from ...network.layer import Layer
from ...network.layout import LAYOUTS
from ...network.tree import finish_of
from ...rules import Rates, Targets
from ...runtime.setup import warn_of_cache
from .kernels import medians, parse_shape

CLASSES = 10
#: Of the inputs that are not zero: more than that zeros are not skipped, less than that they are.
DENSITIES = 0.5, 0.15


class Piece:
    """A piece of a layer, in the middle of it, that learns again and again from one batch.

    Its neighbours' sums are there, and it adds them up as it does on a rank of its own.
    """

    def __init__(self, shape: tuple[int, int, int], rule: str, panels: int, density: float) -> None:
        inputs, units, samples = shape
        settings = [f"rule.name={rule}", f"network.layers=[{inputs},{units}]", "optimizer.name=adam"]
        c = config.parse("", "bench", settings)
        self.rule, layout, every = c.rule, LAYOUTS[c.rule.layout], kernels.panels_of(units)
        self.learnt = samples * layout.rows
        self.rows = self.learnt + (samples if layout.labelled else 0)  # a head's neutral rows
        first = (every - panels) // 2
        part = None if panels == every else range(first, first + panels)
        self.layer = Layer(c, 1, inputs, CLASSES, self.rows, learns=True, panels=part)
        self.layer.workspace = self.rule.workspace(c, self.layer, self.rows, CLASSES)
        self.layer.initialise()
        outputs, rng = self.rule.outputs(CLASSES), np.random.default_rng(0)
        self.a, self.out = (
            Activations(inputs, self.rows, outputs),
            Activations(self.layer.own_units, self.rows, outputs),
        )
        v = np.abs(rng.standard_normal((self.rows, inputs), np.float32)) * (rng.random((self.rows, inputs)) < density)
        self.a.h[:, : self.rows], self.a.total[: self.rows] = kernels.to_panels(v), (v * v).sum(axis=1)
        self.targets = Targets(samples, 0, np.arange(samples), rng.integers(0, CLASSES, samples))
        # Pieces of the same size on both sides; its own nodes are written into the middle of theirs.
        self.finish = finish_of(range(first % panels, every, panels), every)
        size = self.rule.share_size(units, self.learnt, CLASSES, learning=True)
        self.squares = kernels.zeros(len(self.finish), kernels.padded_rows(self.rows))
        self.nodes, self.sums = kernels.zeros(len(self.finish), size), kernels.zeros(size)
        self.total = kernels.zeros(self.squares.shape[1])

    def step(self) -> None:
        """Forward, sums, loss and update."""
        layer, rule, out, pitch = self.layer, self.rule, self.out, self.squares.shape[1]
        rule.forward(layer, self.a, out, self.rows, True)
        nodes, count = rule.learning_partial(layer, out, self.targets, self.learnt), layer.tree.count
        sums = nodes[0]
        if not layer.whole:
            place = len(self.finish) // 2 - count // 2
            self.squares[place : place + count] = layer.totals[:, :pitch]
            kernels.add_nodes(self.squares, self.finish, self.total)
            out.total[:pitch] = self.total
            if nodes.shape[1]:
                self.nodes[place : place + count] = nodes
                kernels.add_nodes(self.nodes, self.finish, self.sums)
                sums = self.sums
        rule.learn(layer, self.a, out, sums, self.targets, Rates(1e-6, 1e-6))


def slices(shape: str, rule: str, repeats: int, as_json: bool) -> None:
    """Measure pieces of a layer of ``INPUTSxUNITSxSAMPLES`` and print a row for each width, or JSON."""
    sizes = parse_shape(shape, "--shape")
    every = kernels.panels_of(sizes[1])
    widths = [every] + [width for width in (64, 32, 16, 8, 6, 4, 3, 2, 1) if width < every]
    pieces = {(width, density): Piece(sizes, rule, width, density) for density in DENSITIES for width in widths}
    seconds = medians({key: piece.step for key, piece in pieces.items()}, repeats)
    warn_of_cache(kernels.cache_problem())
    found = [
        {
            "panels": width,
            "slices": every / width,
            "dense_ms": 1e3 * seconds[width, DENSITIES[0]],
            "sparse_ms": 1e3 * seconds[width, DENSITIES[1]],
            "dense": seconds[width, DENSITIES[0]] / seconds[every, DENSITIES[0]] * every / width,
            "sparse": seconds[width, DENSITIES[1]] / seconds[every, DENSITIES[1]] * every / width,
        }
        for width in widths
    ]
    if as_json:
        print(json.dumps({"shape": shape, "rule": rule, "repeats": repeats, "slices": found}))
    else:
        _show(shape, rule, repeats, found)


def _show(shape: str, rule: str, repeats: int, found: list[dict[str, float]]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("panels", "slices", "ms", "times share", f"{100 * (1 - DENSITIES[1]):.0f} % zeros, ms", "times share"):
        table.add_column(name, justify="right")
    for one in found:
        dense, sparse = ((f"{one[f'{kind}_ms']:.3f}", f"{one[kind]:.3f}") for kind in ("dense", "sparse"))
        table.add_row(str(one["panels"]), f"{one['slices']:.1f}", *dense, *sparse)
    console = Console(width=120, highlight=False)
    console.print(
        f"A piece's step at {shape}, rule {rule}, one core; medians of {repeats}, all in turn. 1 is its exact share of "
        "the whole layer's."
    )
    console.print(table)
