"""What steps cost: the one place that knows FLOP, bytes and seconds of what a rank does.

Placement, the ideal speed-up, the memory refusal and the benchmarks ask it. A cost is of one step, from shapes alone:
rows of its batch, inputs and units of its layer, the share of rows that learn, the share of inputs that are not zero.

Seconds are those of a core, by its figures: see core.py. Of the nominal one, `CORE`, only the ratios matter: how a
product compares with what an optimiser moves, and with what any step takes however small its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from . import steps as s
from .core import CORE, PANEL, Core, Cost


class Rows(NamedTuple):
    """What the batches of a stream hold, in the mean."""

    samples: float  # images that are shown
    rows: float
    learning: float = 0.0  # rows that a layer learns from, if all of them take part


#: What a rule adds to a layer: the cost, on a core, for a batch of so many rows of so many units.
Extra = Callable[[Core, float, int], Cost]


def nothing(core: Core, rows: float, units: int) -> Cost:
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
    threads : of each rank
    core : whose seconds these are; of several threads all cores together
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
    threads: int = 1
    core: Core = CORE
    _known: dict[tuple[Any, ...], Cost] = field(default_factory=dict, compare=False, repr=False)

    def on(self, pieces: Mapping[int, range]) -> StepCosts:
        """Return the costs on a rank that has these panels of layers; if that is settled already, the same."""
        if self.own:
            return self
        units = self.widths[1:]
        own = (_units_of(pieces.get(layer, range(0)), count) for layer, count in enumerate(units))
        return replace(self, own=tuple(own), _known={})

    def by(self, core: Core) -> StepCosts:
        """Return the same costs with the seconds of another core, or of as many as there are threads."""
        return replace(self, core=core.with_threads(self.threads), _known={})

    def of(self, step: s.Step) -> Cost:
        """Return the cost of `step`; waiting for messages has none."""
        batch = getattr(step, "batch", None)
        key = type(step), getattr(step, "layer", -1), batch and (batch.split, batch.stream)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._cost(step)
        return found

    def _cost(self, step: s.Step) -> Cost:
        core, begin = self.core, self.core.begin(type(step).__name__)
        match step:
            case s.BuildInput(batch):
                return begin.plus(core.scaled(self._rows(batch).samples * self.widths[0]))
            case s.Forward(layer, batch):
                return begin.plus(self.forward(layer, self._rows(batch), scored=batch.stream in _SCORED))
            case s.Update(layer, batch):
                return begin.plus(self.update(layer, self._rows(batch)))
            case s.GatherHeadInput(layer, batch):
                return core.copied(2 * self._rows(batch).samples * self._units(layer))  # row by row, from panels
            case s.Logits(layer, batch):
                return begin.plus(core.product(self._rows(batch).samples, self._units(layer), self.classes))
            case s.UpdateHead(batch):
                inputs = sum(self._units(layer) for layer in self.head_layers)
                return begin.plus(core.update(self._rows(batch).samples, inputs, self.classes, self.head_moments))
            case s.AddSums() | s.AddScore() | s.AddLogits() | s.HeadError():
                return begin
            case s.StashActivations() | s.Evaluate() | s.SelectNegatives():
                return begin
            case _:  # messages, snapshots, ...: where it is known what these take
                return Cost(seconds=core.steps.get(type(step).__name__, 0.0))

    def forward(self, layer: int, size: Rows, scored: bool = False) -> Cost:
        """Return the cost of a layer's activations of a batch, with what the rule takes if they are `scored`."""
        core, inputs, units, shared = self.core, self.widths[layer], self._units(layer), layer == 0 and self.shared
        price = core.product(size.samples if shared else size.rows, inputs, units, self._density(layer))
        if shared:  # from the images' products to the rows
            price = price.plus(core.from_products(size.rows, units))
        return price.plus(self.rules[layer].scores(core, size.rows, units)) if scored else price

    def update(self, layer: int, size: Rows) -> Cost:
        """Return the cost of a layer's learning from a batch."""
        core, inputs, units, rule = self.core, self.widths[layer], self._units(layer), self.rules[layer]
        rows = rule.active * size.learning
        if layer == 0 and self.shared:
            # An image takes part if one of its rows does.
            rows = size.samples * (1 - (1 - rule.active) ** (size.learning / size.samples))
        learnt = core.update(rows, inputs, units, self.moments, self._density(layer))
        if layer == 0 and self.shared:  # rows are added up by their images
            learnt = learnt.plus(core.from_products(rule.active * size.learning, units))
        return learnt.plus(rule.update(core, size.learning, units))

    def _rows(self, batch: s.Batch) -> Rows:
        return self.batches[batch.split, batch.stream]

    def _density(self, layer: int) -> float:
        return self.density if layer == 0 else self.rules[layer - 1].density

    def _units(self, layer: int) -> int:
        return self.own[layer] if self.own else self.widths[layer + 1]


def _units_of(panels: range, units: int) -> int:
    """Return how many of a layer's units are in a range of its panels."""
    return min(units, PANEL * panels.stop) - PANEL * panels.start if panels else 0


#: Streams in which every layer says something for classification.
_SCORED = ("goodness", "candidates", "plain")
