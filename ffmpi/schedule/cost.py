"""What steps cost: the one place that knows FLOP, bytes and seconds of what a rank does.

Placement, the ideal speed-up, the memory refusal and the benchmarks ask it. A cost is of one step, from shapes alone:
rows of its batch, inputs and units of its layer, the share of rows that learn, the share of inputs that are not zero.

Seconds are those of a nominal core, `CORE`. Only their ratios matter here: how a product compares with what an
optimiser moves, and with what any step takes however small its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from . import steps as s


class Cost(NamedTuple):
    """What a step takes.

    Attributes
    ----------
    flop : of its products, as if no zero were skipped
    bytes : of what it reads and writes in memory
    seconds : on `CORE`
    """

    flop: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0

    def plus(self, *others: Cost) -> Cost:
        """Return the sum with `others`."""
        return Cost(*map(sum, zip(self, *others, strict=True)))


@dataclass(frozen=True)
class Core:
    """How fast a core is, beside itself.

    Medians of one core of an AMD EPYC with AVX-512. `ffmpi bench costs RECIPE` measures each step of a recipe beside
    what these numbers make of it.

    Attributes
    ----------
    product : FLOP/s of a product with `columns` units or more
    columns : units that one pass over the rows computes; fewer take as long, and come in sixteens
    memory : bytes/s of what streams through: parameters and moments of an optimiser, copied rows
    pixels : pixels/s that are scaled into inputs
    zeros : up to which share of nonzero inputs a product skips zeros
    skipping : share of nonzero inputs at which skipping zeros would take as long as a dense product
    step : seconds of a step beside its arithmetic
    """

    product: float = 1.05e11
    columns: int = 48
    memory: float = 3.2e10
    pixels: float = 4.5e8
    zeros: float = 0.2
    skipping: float = 0.32
    step: float = 1.2e-5


CORE = Core()
_FLOAT = 4  # bytes
PANEL = 16  # units


def product(rows: float, inputs: float, units: float, density: float = 1.0, zeros: float = CORE.zeros) -> Cost:
    """Return the cost of `rows` rows of `inputs` inputs times weights for `units` units.

    A share `density` of the inputs is not zero; below `zeros` the others are skipped.
    """
    flop = 2.0 * rows * inputs * units
    width = -(-units // PANEL) * PANEL
    seconds = 2.0 * rows * inputs * max(width, CORE.columns) / CORE.product if units else 0.0
    if density < zeros:
        seconds *= min(1.0, density / CORE.skipping)
    return Cost(flop, traffic(rows, inputs, units, 1), seconds)


def traffic(rows: float, inputs: float, units: float, arrays: float) -> float:
    """Return the bytes of the rows' inputs and outputs and of `arrays` reads or writes of a weight matrix."""
    return _FLOAT * (rows * (inputs + units) + arrays * inputs * units)


def optimiser(parameters: float, moments: int) -> Cost:
    """Return the cost of a step of `parameters` parameters with `moments` moments each, all read and written."""
    moved = _FLOAT * 2.0 * (1 + moments) * parameters
    return Cost(0.0, moved, moved / CORE.memory)


def copied(floats: float) -> Cost:
    """Return the cost of reading and writing so many float32."""
    moved = 2.0 * _FLOAT * floats
    return Cost(0.0, moved, moved / CORE.memory)


def update(rows: float, inputs: float, units: float, moments: int, density: float = 1.0) -> Cost:
    """Return the cost of the gradient of `rows` rows and the optimiser's step."""
    # Few rows leave so little to do for each parameter that skipping zeros pays earlier: see kernels/update.py.
    zeros = max(0.1, min(0.5, 13 / rows)) if rows else 1.0
    return product(rows, inputs, units, density, zeros).plus(optimiser(inputs * units, moments))


class Rows(NamedTuple):
    """What the batches of a stream hold, in the mean."""

    samples: float  # images that are shown
    rows: float
    learning: float = 0.0  # rows that a layer learns from, if all of them take part


#: What a rule adds to a layer: the cost for a batch of so many rows of so many units.
Extra = Callable[[float, int], Cost]


def nothing(rows: float, units: int) -> Cost:
    """Return no cost: a rule that needs sums of squares alone has them with the product."""
    return Cost()


@dataclass(frozen=True)
class RuleCost:
    """What a learning rule says of one layer's costs.

    Attributes
    ----------
    active : share of the rows that it learns from that take part in an update
    density : share of the layer's activations that are not zero
    scores : beside a layer's product, where samples are classified by what each layer says
    update : beside the product and the optimiser's step of the layer's own weights
    """

    active: float = 1.0
    density: float = 0.5
    scores: Extra = nothing
    update: Extra = nothing


@dataclass(frozen=True)
class StepCosts:
    """Costs of the steps of a run.

    Attributes
    ----------
    widths : the inputs of the first layer and each layer's units
    classes : how many there are
    batches : what the batches of each split and stream hold
    head_layers : the layers that the head reads
    moments, head_moments : how many the optimisers have for each parameter
    shared : whether the first layer's products serve all rows that show an image, whatever their labels
    density : share of the first layer's inputs that is not zero
    rules : what the rule says of each layer
    own : how many units of each layer a rank has; empty: that is to be asked for, or all of them
    """

    widths: tuple[int, ...]
    classes: int
    batches: Mapping[tuple[s.Split, s.Stream], Rows]
    head_layers: tuple[int, ...]
    moments: int
    head_moments: int
    shared: bool
    density: float
    rules: tuple[RuleCost, ...]
    own: tuple[int, ...] = ()
    _known: dict[tuple[Any, ...], Cost] = field(default_factory=dict, compare=False, repr=False)

    def on(self, pieces: Mapping[int, range]) -> StepCosts:
        """Return the costs on a rank that has these panels of layers; if that is settled already, the same."""
        if self.own:
            return self
        units = self.widths[1:]
        own = (_units_of(pieces.get(layer, range(0)), count) for layer, count in enumerate(units))
        return replace(self, own=tuple(own), _known={})

    def of(self, step: s.Step) -> Cost:
        """Return the cost of `step`; waiting for messages has none."""
        batch = getattr(step, "batch", None)
        key = type(step), getattr(step, "layer", -1), batch and (batch.split, batch.stream)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._cost(step)
        return found

    def _cost(self, step: s.Step) -> Cost:
        match step:
            case s.BuildInput(batch):
                pixels = self._rows(batch).samples * self.widths[0]
                return Cost(0.0, (1 + _FLOAT) * pixels, CORE.step + pixels / CORE.pixels)
            case s.Forward(layer, batch):
                return self.forward(layer, self._rows(batch), scored=batch.stream in _SCORED)
            case s.Update(layer, batch):
                return self.update(layer, self._rows(batch))
            case s.GatherHeadInput(layer, batch):
                return copied(2 * self._rows(batch).samples * self._units(layer))  # row by row, from panels
            case s.Logits(layer, batch):
                return _STEP.plus(product(self._rows(batch).samples, self._units(layer), self.classes))
            case s.UpdateHead(batch):
                inputs = sum(self._units(layer) for layer in self.head_layers)
                return _STEP.plus(update(self._rows(batch).samples, inputs, self.classes, self.head_moments))
            case s.AddSums() | s.AddScore() | s.AddLogits() | s.HeadError():
                return _STEP
            case s.StashActivations() | s.Evaluate() | s.SelectNegatives():
                return _STEP
            case _:
                return Cost()

    def forward(self, layer: int, size: Rows, scored: bool = False) -> Cost:
        """Return the cost of a layer's activations of a batch, with what the rule takes if they are `scored`."""
        inputs, units, shared = self.widths[layer], self._units(layer), layer == 0 and self.shared
        price = _STEP.plus(product(size.samples if shared else size.rows, inputs, units, self._density(layer)))
        if shared:
            price = price.plus(_STEP, copied(2 * size.rows * units))  # from the images' products to the rows
        return price.plus(self.rules[layer].scores(size.rows, units)) if scored else price

    def update(self, layer: int, size: Rows) -> Cost:
        """Return the cost of a layer's learning from a batch."""
        inputs, units, rule = self.widths[layer], self._units(layer), self.rules[layer]
        rows = rule.active * size.learning
        if layer == 0 and self.shared:
            # An image takes part if one of its rows does.
            rows = size.samples * (1 - (1 - rule.active) ** (size.learning / size.samples))
        learnt = update(rows, inputs, units, self.moments, self._density(layer))
        if layer == 0 and self.shared:
            learnt = learnt.plus(copied(2 * rule.active * size.learning * units))  # rows are added up by their images
        return _STEP.plus(learnt, rule.update(size.learning, units))

    def _rows(self, batch: s.Batch) -> Rows:
        return self.batches[batch.split, batch.stream]

    def _density(self, layer: int) -> float:
        return self.density if layer == 0 else self.rules[layer - 1].density

    def _units(self, layer: int) -> int:
        return self.own[layer] if self.own else self.widths[layer + 1]


def _units_of(panels: range, units: int) -> int:
    """Return how many of a layer's units are in a range of its panels."""
    return min(units, PANEL * panels.stop) - PANEL * panels.start if panels else 0


_STEP = Cost(0.0, 0.0, CORE.step)
#: Streams in which every layer says something for classification.
_SCORED = ("goodness", "candidates", "plain")
