"""Learning rules: how a layer turns its own input and output into an update, and into scores for classification.

One rule a file. A rule is a table of settings, `config.rule`, whose methods say all that the rest of ffmpi has to know
of it: nobody asks which rule it is. A rule is local up to sums over a layer's units, so that pieces of a layer may be
on several ranks: the rows' sums of squares, which are always made, and what else it needs of all units goes through
`partial` (docs/design.md, "The rule interface").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Struct

from ..config.fields import Member
from ..errors import nearest
from ..schedule.core import Core, Cost
from ..schedule.cost import RuleCost

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..network.activations import Activations
    from ..network.layer import Layer
    from ..network.parameters import Block


class Targets(Struct, frozen=True, gc=False):
    """What a rule is told of the rows it learns from.

    Attributes
    ----------
    count : samples
    epoch : from 0
    samples : (count,) int64, their indices; classes : (count,) int64. Both only if the rule `needs_labels`.
    weights : (count,) float32, how often each sample's loss counts in the mean over them: once in the mean, and not all
        of them 0; None: once each
    """

    count: int
    epoch: int
    samples: np.ndarray | None
    classes: np.ndarray | None
    weights: np.ndarray | None = None


class Rates(NamedTuple):
    """Learning rates of an epoch."""

    layer: float
    head: float


class Measure(NamedTuple):
    """What a rule reports of a batch beside its loss: a sum over the rows, of which `factor` / rows makes a mean."""

    name: str
    factor: float


class Loss(Struct, frozen=True, gc=False):
    """What a rule says of one batch it has learnt from; sums are over the rows, float64.

    Attributes
    ----------
    loss, measures : the sum of the rows' losses, and one sum for each of the rule's measures; not finite if the layer
        has diverged, and then nothing was learnt
    rows, active : how many rows there were, and how many took part in the update
    flop : of the update
    """

    loss: float
    measures: tuple[float, ...]
    rows: int
    active: int
    flop: float


class Linear(NamedTuple):
    """Scores f h weights + bias, of activations h as a classifier reads them: `block` has the weights and the bias."""

    block: str


class Squares(NamedTuple):
    """Scores that are sums of h^2, or means, over each of so many groups of units: u of d is in floor(u groups / d)."""

    groups: int
    mean: bool


class BatchNorm(NamedTuple):
    """Normalisation of each unit by what `block` has: gain (z - mean) / sqrt(variance + epsilon) + shift."""

    block: str
    epsilon: float


class Formula(NamedTuple):
    """What a layer that has learnt computes of a row, in words that other programs have, too; see `Rule.formula`.

    Attributes
    ----------
    scores : what it says for classification
    batch_norm : what its products with weights, and bias, go through, if anything
    negative_slope : of its activation function below zero, 0 for a ReLU
    """

    scores: Linear | Squares
    batch_norm: BatchNorm | None = None
    negative_slope: float = 0.0


class Rule(Member, frozen=True, kw_only=True):
    """The interface; what is not overridden needs nothing.

    Attributes
    ----------
    layout : the rows of a training batch, pairs of positives and negatives or plain images: see `network.layout`
    needs_labels : `learn` reads the samples' indices or classes
    measures : by which the metrics tell how well a layer learns
    methods : the ways to classify there are, see `network.methods`
    reads : tables of the configuration that it reads beside its own, each ending in a full stop
    weighs : losses count as often as `Targets.weights` says, as if a sample was there so often; otherwise weights are
        refused
    scores_training : scores are handed on with training batches, too, not only where samples are scored
    finishes : `finish` is to be called
    feedback, lag : what is to flow back into `learn`, and how many batches late: nothing, the error of the network's
        output, or that of the layer above. No rule has it yet, and the schedules rely on that.
    """

    layout: ClassVar[str] = "pairs"
    needs_labels: ClassVar[bool] = False
    measures: ClassVar[tuple[Measure, ...]] = ()
    methods: ClassVar[tuple[str, ...]] = ("softmax", "goodness")
    reads: ClassVar[tuple[str, ...]] = ()
    weighs: ClassVar[bool] = False
    scores_training: ClassVar[bool] = False
    finishes: ClassVar[bool] = False
    feedback: ClassVar[Literal["output", "above"] | None] = None
    lag: ClassVar[int] = 0

    @classmethod
    def overrides(cls, method: str) -> bool:
        """Whether a rule has a `method` of its own, in place of what `Rule` says."""
        return getattr(cls, method) is not getattr(Rule, method)

    def conflict(self, config: Any) -> str:
        """Refuse ways to classify that are another rule's, and what no schedule carries to it."""
        if self.feedback is not None and self.feedback not in config.schedule.feedback:
            return (
                f"rule.name = {self.name!r}: needs feedback from {self.feedback!r}, which schedule.name = "
                f"{config.schedule.name!r} does not carry"
            )
        methods = config.classify.methods
        if len(set(methods)) < len(methods) or not set(methods) <= set(self.methods):
            hint = next((nearest(method, self.methods) for method in methods if method not in self.methods), "")
            return (
                f"classify.methods = {methods}: expected each method once, for rule.name = {self.name!r} of "
                f"{', '.join(self.methods)}{hint}"
            )
        return ""

    def blocks(self, config: Config, units: int, classes: int) -> dict[str, Block]:
        """Return the parameters of a layer of `units` beside its weights and bias, by name."""
        return {}

    def initialise(self, config: Config, layer: Layer) -> None:
        """Give the rule's parameters the values they begin with, where they are not those declared."""

    def workspace(self, config: Config, layer: Layer, rows: int, classes: int) -> Any:
        """Return memory that the rule needs for at most `rows` rows, to score and, if `layer` learns, to learn."""
        return None

    def outputs(self, classes: int) -> dict[str, int]:
        """Return the arrays that a layer hands on beside its activations, each with its width in float32 a row.

        ``score`` is what the layers up to this one say for classification; the runtime adds it up.
        """
        return {"score": 1}

    def score_layers(self, config: Config) -> tuple[int, ...]:
        """Return the layers, by index from 0, whose scores are added up."""
        return tuple(range(len(config.network.layers)))

    def loss_scale(self, units: int, classes: int) -> float:
        """Return the size of a loss that is large: far from what a layer that guesses has."""
        return float(np.log(2))

    def boundary(self, units: int) -> float | None:
        """Return the goodness that is to tell positives from negatives by itself; None if rows are told otherwise."""
        return None

    def forward(
        self, layer: Layer, a: Activations, out: Activations, rows: int, training: bool,
        weights: np.ndarray | None = None,
    ) -> float:  # fmt: skip
        """Compute the activations of the first `rows` rows of `a` and their sums of squares; return the FLOP.

        In `training` the layer is about to learn from them, with `weights` if samples have some. Otherwise, also where
        a layer that has learnt passes training rows on, they are to depend on its parameters and these rows only.
        """
        return layer.forward(a, out, rows)

    def share_size(self, units: int, rows: int, classes: int, learning: bool) -> int:
        """Return how many numbers `partial`, or in `learning` `learning_partial`, adds up over the units of a layer.

        Beside the rows' sums of squares, which every layer adds up: they are ``out.total``.
        """
        return 0

    def partial(self, layer: Layer, out: Activations, rows: int) -> np.ndarray:
        """Return the layer's, or piece's, nodes of the sums over its units for `rows` rows it has just computed.

        (layer.tree.count, `share_size`) float32, each made in the order of ``layer.tree``; of a whole layer that is one
        line, the sums. The memory may be used again by the next call.
        """
        return np.empty((layer.tree.count, 0), np.float32)

    def learning_partial(self, layer: Layer, out: Activations, targets: Targets, rows: int) -> np.ndarray:
        """Return the nodes of the sums that `learn` needs of `rows` rows, where it needs more than `scores` does.

        What a rule keeps of the batches it has learnt from, such as running means, follows this one here.
        """
        return self.partial(layer, out, rows)

    def learn(
        self, layer: Layer, a: Activations, out: Activations, sums: np.ndarray, targets: Targets, rates: Rates
    ) -> Loss:  # fmt: skip
        """Update a layer, or a piece, from its own input, its own output and the complete `sums` (n,) float32.

        The sums may be used as scratch. Every piece of a layer returns the same loss.
        """
        raise NotImplementedError  # each member of the family has its own

    def scores(self, layer: Layer, out: Activations, sums: np.ndarray, rows: int) -> np.ndarray:
        """Return what a layer says of `rows` rows for classification, (rows, width of ``score``) float32.

        sums : (n,) float32, complete, as ``out.total`` is
        """
        raise NotImplementedError  # each member of the family has its own

    def formula(self, classes: int) -> Formula:
        """Return what `forward`, of rows that are not learnt from, and `scores` compute, for others to compute it."""
        raise NotImplementedError  # each member of the family has its own

    def cost(self, config: Config, index: int, classes: int, batches: float) -> RuleCost:
        """Return what layer `index`, from 0, is expected to cost beside its own products, in the mean over the run.

        `batches` is how many it learns from in all.

        Unless a rule knows better its layers learn from all rows, and every matrix among its blocks is multiplied with
        the rows that are learnt from or scored, passes their error back, and takes a step.
        """
        blocks = self.blocks(config, config.network.layers[index], classes).values()
        shapes = [(a.shape, b.optimizer) for b in blocks for a in b.arrays if a.learnt and len(a.shape) == 2]

        def scores(core: Core, rows: float, units: int) -> Cost:
            return Cost().plus(*(core.product(rows, *shape) for shape, _ in shapes))

        def learnt(core: Core, rows: float, units: int) -> Cost:
            steps = (core.update(rows, *shape, optimizer.moments) for shape, optimizer in shapes if optimizer)
            once = scores(core, rows, units)
            return once.plus(once, *steps)

        return RuleCost(scores=scores, update=learnt)

    def epoch_partial(self, layer: Layer) -> np.ndarray:
        """Return the layer's, or piece's, nodes of the sums that `finish` needs, (layer.tree.count, v) float32."""
        return np.empty((layer.tree.count, 0), np.float32)

    def finish(self, layer: Layer, sums: np.ndarray, epoch: int) -> None:
        """Do what is due when a layer has learnt from all batches of `epoch`; `sums` are complete."""
