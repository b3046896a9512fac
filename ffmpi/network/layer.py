"""A layer: its parameters, and the two things it does with a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from . import random
from .activations import Activations, Inputs
from .normalise import Normalisation
from .parameters import Block, Parameters, dense
from .tree import Tree

if TYPE_CHECKING:
    from ..config.schema import Config


def blocks_of(config: Config, inputs: int, units: int, classes: int) -> dict[str, Block]:
    """Return all parameters of a layer, by name: its weights and bias as ``""``, and those of its rule."""
    return {"": dense(inputs, units, config.optimizer)} | config.rule.blocks(config, units, classes)


class Layer:
    """A layer of the network, or a piece of one; `LabelledLayer` is the one that sees images with labels.

    Attributes
    ----------
    index : from 0
    inputs, units, classes : sizes, of the whole layer
    panels : those of the layer that are here; first, own_units : their first unit, and how many units they have
    tree : how sums over the units are added up here
    totals : (nodes, pitch) float32, the sums of squares of the activations computed last, for the rows asked for; of a
        whole layer that is their ``total``
    learns : whether its parameters change here
    blocks : the parameters it computes with, by name; ``parameters`` are its weights and bias, ``blocks[""]``
    workspace : what the learning rule has asked for, where the layer learns or is scored
    scored : whether what it says counts for classification
    """

    workspace: Any = None

    def __init__(
        self, config: Config, index: int, inputs: int, classes: int, rows: int, *, learns: bool,
        panels: range | None = None, blocks: dict[str, Parameters] | None = None,
    ) -> None:  # fmt: skip
        """Take `blocks` or make parameters, zero or as declared, and make room for batches of at most `rows` rows.

        panels : of the layer, which are to be here; None: all
        """
        self.config, self.index, self.inputs, self.classes = config, index, inputs, classes
        self.units, self.learns = config.network.layers[index], learns
        every_panel = range(kernels.panels_of(self.units))
        self.panels = every_panel if panels is None else panels
        self.first = self.panels.start * kernels.LANES
        self.own_units = min(self.panels.stop * kernels.LANES, self.units) - self.first
        self.whole, self.tree = self.panels == every_panel, Tree(self.panels.start, self.panels.stop, len(every_panel))
        self.scored = index in config.rule.score_layers(config)
        if blocks is None:
            every = blocks_of(config, inputs, self.units, classes)
            part = None if self.whole else self.panels
            blocks = {name: Parameters(block, learns=learns, part=part) for name, block in every.items()}
        self.use(blocks)
        self.threads = kernels.available_threads(config.schedule.threads)
        margin = -(-rows // kernels.LANES) * kernels.LANES
        self._squares = kernels.zeros(len(self.panels), margin)
        self.totals = self._totals = kernels.zeros(self.tree.count, margin)
        self._nonzeros = kernels.Nonzeros(rows, kernels.panels_of(inputs)).arrays
        self._normalisation = Normalisation(config.network.normalise.norm(inputs), rows)
        self._label_arguments = kernels.NO_LABELS

    def use(self, blocks: dict[str, Parameters]) -> None:
        """Compute with these parameters from now on."""
        self.blocks, self.parameters = blocks, blocks[""]

    def initialise(self) -> None:
        """Draw the weights to begin with; a uniform draw has the bias as one more row."""
        config, inputs = self.config, self.inputs
        uniform = config.network.init == "uniform"
        numbers = random.uniform if uniform else random.normal
        shape, part = (inputs + uniform, self.units), (slice(None), slice(self.first, self.first + self.own_units))
        drawn = numbers(config.seed, random.Purpose.WEIGHTS, self.index, shape, 1 / float(np.sqrt(inputs)), part)
        self.parameters.set_array("weights", drawn[:inputs])
        if uniform:
            self.parameters.set_array("bias", drawn[inputs])
        config.rule.initialise(config, self)

    def totals_of(self, out: Activations) -> np.ndarray:
        """Return, and keep as ``totals``, where the sums of squares go of what is about to be written into `out`."""
        self.totals = out.total[None] if self.whole else self._totals
        return self.totals

    def forward(self, a: Activations, out: Activations, rows: int, *, rectify: bool = True) -> float:
        """Compute the activations and their sums of squares for the first `rows` rows of `a`; return the FLOP.

        Of a piece, `out` has the piece's panels, and ``out.total`` is left for the complete sums.
        """
        p, norm = self.parameters, (a.total, *self._normalisation.arguments)
        totals = self.totals = out.total[None] if self.whole else self._totals
        arguments = (
            a.h, norm, p.w, p.bias, out.h, totals, self._squares, self.tree.adds, rows,
            self._nonzeros, rectify,
        )  # fmt: skip
        if self.threads == 1:
            kernels.forward(*arguments)
        else:
            kernels.forward_parallel(self.threads, *arguments)
        return 2.0 * rows * self.inputs * self.own_units

    def score(
        self, a: Activations, out: Activations, rows: int, sums: np.ndarray | None = None
    ) -> np.ndarray | None:  # fmt: skip
        """Let `out`, just computed from `a`, have the scores of all layers up to this one.

        sums : (n,) float32, the rule's complete sums over the layer's units; None: those of a whole layer are made here

        Returns what this one says, (rows, width of a score) float32, if it counts.
        """
        out.score[:rows] = a.score[:rows] if self.index > 0 else 0
        if not self.scored:
            return None
        rule = self.config.rule
        own: np.ndarray = rule.scores(self, out, rule.partial(self, out, rows)[0] if sums is None else sums, rows)
        out.score[:rows] += own
        return own

    def update(self, a: Activations, z: np.ndarray, c: np.ndarray, rate: float) -> float:
        """Learn from the rows whose coefficient is not zero, dW = (c a)^T z; return the FLOP.

        z : (panels, pitch, 16) float32, c : (rows,) float32. The layer has just computed its activations of `a`, so
        that their normalisation is still there.
        """
        active = self.parameters.step(
            rate, a.h, self._normalisation.scale, c, z, self._label_arguments, self._nonzeros, self.threads
        )  # fmt: skip
        return 2.0 * active * self.inputs * self.own_units


class LabelledLayer(Layer):
    """The layer of images with labels: its products with an image serve all rows that show it with some label."""

    def __init__(
        self, config: Config, index: int, inputs: int, classes: int, rows: int, images: int, *, learns: bool,
        panels: range | None = None, blocks: dict[str, Parameters] | None = None,
    ) -> None:  # fmt: skip
        """Make room for batches of at most `images` images in `rows` rows; see `Layer`."""
        super().__init__(config, index, inputs, classes, rows, learns=learns, panels=panels, blocks=blocks)
        self._product = Activations(self.own_units, images, {})

    def forward(self, a: Activations, out: Activations, rows: int, *, rectify: bool = True) -> float:
        """See `Layer.forward`; `a` is `Inputs`."""
        assert isinstance(a, Inputs) and rectify
        p, norm, images = self.parameters, (a.total, *self._normalisation.arguments), int(a.source[-1]) + 1
        # If it is to learn, the rows are the images' positives and their negatives first.
        self._label_arguments = a.labels, a.label_offset, a.classes, a.value
        totals = self.totals = out.total[None] if self.whole else self._totals
        arguments = (
            a.h, images, a.source, *self._label_arguments, norm, p.w, p.bias, self._product.h,
            out.h, totals, self._squares, self.tree.adds, self._nonzeros,
        )  # fmt: skip
        if self.threads == 1:
            kernels.forward_labelled(*arguments)
        else:
            kernels.forward_labelled_parallel(self.threads, *arguments)
        return 2.0 * images * self.inputs * self.own_units
