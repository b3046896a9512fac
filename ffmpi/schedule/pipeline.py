"""Schedule `pipeline`: every layer learns from each batch as it flows by.

Layer k+1 learns from layer k's output of the batch before layer k's own update, so a batch passes each layer once and
nothing flows back. All layers' panels are one ribbon, of which each rank has a stretch (`ribbon.py`): a piece of a
layer that others have, too, whole layers, another piece. In each period a layer works on one batch; the next layer
works one batch behind, so that while a rank computes, activations and the sums over a layer's units are on their way.
Nothing is drained between epochs or chapters.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from itertools import chain
from typing import Annotated, ClassVar

from msgspec import Meta

from .cost import StepCosts
from .interface import Schedule, Settings
from .periods import Periods
from .ribbon import Ribbon, nodes_in
from .spec import ScheduleSpec
from .steps import (
    FOR_HEAD,
    AddLogits,
    AddScore,
    AddSums,
    BuildInput,
    Evaluate,
    Forward,
    GatherHeadInput,
    HeadError,
    LinkId,
    Logits,
    Piece,
    SelectNegatives,
    Step,
    Steps,
    Update,
    UpdateHead,
)


class Pipeline:
    """Who has which pieces, how far each layer is behind the first, and the links that follow.

    Attributes
    ----------
    delays : how many entries each layer is behind the first, and at last the head
    through : how many entries a batch is behind the first when the head has learnt from it and it is done with
    in_step : whether all ranks work on the same batch, and wait in each period for the others' sums and logits
    late_head : whether the head's logits are made and added up at the end of the last layer's period, not in the next
    """

    def __init__(self, spec: ScheduleSpec, first: int = 0) -> None:
        """Cut the ribbon; UserError for more ranks than panels.

        Where a batch's negatives are chosen by one that is not far enough ahead of it to have come to its end, fewer
        batches are to be under way: the head waits for the last layer, and if that is not enough, layers are left
        whole. If that is not enough either, or there is one buffer only, all ranks work on the same batch.
        """
        self.spec, self.first = spec, first
        costs, fixed = self._by_layer(spec.costs), self._by_layer(spec.fixed)
        self.ribbon = Ribbon(spec.panels, costs, spec.ranks, fixed, whole=spec.finishes)
        delays = self._delays()
        #: The least number of batches that choices have to be ahead, so that layers can be cut and nobody waits.
        self._least = delays[-1] + 1
        known = min(spec.ahead, spec.batches[0]) if spec.ahead else self._least + 1
        self.in_step = spec.ranks == 1 or spec.depth == 1
        self.late_head = self.in_step or known <= self._least
        if not self.in_step and known < self._least:
            self.in_step = known < spec.ranks or spec.ranks > spec.layers
            if not self.in_step:
                self.ribbon = Ribbon(spec.panels, costs, spec.ranks, fixed, whole=True)
                delays = self._delays()
        if self.in_step:
            delays = [0] * spec.layers
        self.delays = [*delays, delays[-1] + (not self.late_head)]
        self.through = self.delays[-1] + (bool(spec.head_layers) and not self.late_head)

    def _delays(self) -> list[int]:
        """Return how far each layer is behind the first: one more where it has others than the layer before."""
        delays = [0]
        for layer in range(1, self.spec.layers):
            owners = self.ribbon.owners(layer)
            together = len(owners) == 1 and self.ribbon.owners(layer - 1) == owners
            delays.append(delays[-1] + (not together))
        return delays

    def _by_layer(self, costs: Sequence[float]) -> list[float]:
        """Return the costs of layers from those of stages: with its share of the head's each, if there are any."""
        spec, found = self.spec, list(costs[: self.spec.layers])
        read = sum(spec.panels[layer] for layer in spec.head_layers)
        for layer in spec.head_layers if costs else ():
            found[layer] += costs[spec.layers] * spec.panels[layer] / read
        return found

    def pieces(self, rank: int) -> dict[int, range]:
        """Return the panels that `rank` has of each layer of which it has any."""
        return self.ribbon.pieces(rank)

    def trained(self, rank: int) -> list[int]:
        """Return the stages of which `rank` trains a piece; the head's is of the same layers."""
        layers = list(self.pieces(rank))
        return layers + [self.spec.layers] * bool(set(layers) & set(self.spec.head_layers))

    def computed(self, rank: int) -> list[int]:
        """Return the layers of which `rank` computes a piece."""
        return list(self.pieces(rank))

    def shards(self, rank: int) -> list[int]:
        """Return the shards that `rank` reads."""
        return [0]

    @property
    def home(self) -> int | None:
        """The rank that adds up the head's logits and has its bias, if there is a head."""
        return self.ribbon.owners(self.spec.head_layers[0])[0] if self.spec.head_layers else None

    @property
    def reader(self) -> int:
        """The rank that classifies by what the layers say: the first of the last layer adds that up."""
        return self.ribbon.owners(self.spec.layers - 1)[0]

    @property
    def chooser(self) -> int:
        """The rank that chooses adaptive negatives."""
        adaptive = self.spec.adaptive
        if adaptive is None or adaptive.scores == "goodness" or self.home is None:
            return self.reader
        return self.home

    @cached_property
    def owners(self) -> tuple[tuple[Piece, ...], ...]:
        """Each layer's pieces."""
        return tuple(
            tuple(
                Piece(rank, panels.start, panels.stop)
                for rank in self.ribbon.owners(layer)
                for panels in [self.pieces(rank)[layer]]
            )
            for layer in range(self.spec.layers)
        )

    def nodes(self, rank: int, layer: int) -> int:
        """Return in how many parts `rank` sends its piece's sums of `layer`."""
        piece = self.pieces(rank)[layer]
        return nodes_in(piece.start, piece.stop, self.spec.panels[layer])

    def buffers(self, rank: int, layer: int) -> int:
        """Return how many buffers the ring of a layer's activations has on `rank`."""
        alone, last = range(rank, rank + 1), layer == self.spec.layers - 1
        here = self.ribbon.owners(layer) == alone and (last or self.ribbon.owners(layer + 1) == alone)
        return 1 if here else self.spec.depth

    def head_buffers(self, rank: int) -> int:
        """Return how many buffers of gathered rows each of the head's layers on `rank` has."""
        layers = [layer for layer in self.pieces(rank) if layer in self.spec.head_layers]
        return self.through - self.delays[layers[0]] + 1 if layers else 0

    @property
    def logit_buffers(self) -> int:
        """How many buffers logits, and the head's error, have on a rank."""
        return self.spec.depth if self.spec.ranks > 1 else 1

    # -- Links --------------------------------------------------------------------------------------------------------
    @property
    def links(self) -> list[LinkId]:
        """All links, of all ranks: many."""
        return [link for rank in range(self.spec.ranks) for link in self.links_of(rank) if link.source == rank]

    def links_of(self, rank: int) -> list[LinkId]:
        """Return the links that begin or end on `rank`."""
        spec, depth, owners, links = self.spec, self.spec.depth, self.ribbon.owners, []
        if spec.ranks == 1:
            return []
        last = spec.layers - 1
        pieces = self.pieces(rank)
        before = [min(pieces) - 1] if min(pieces) > 0 else []  # of it this rank has nothing, but reads it
        for layer in [*before, *pieces]:
            here, after = owners(layer), owners(layer + 1) if layer < last else range(0)
            readers = range(here.start, after.stop) if after else here  # of the sums; they follow each other
            if layer in pieces:
                links += [LinkId(rank, to, "activations", layer, depth, depth) for to in after if to != rank]
                links += [LinkId(rank, to, "sums", layer, depth, depth) for to in readers if to != rank]
            if layer + 1 in pieces:
                links += [LinkId(of, rank, "activations", layer, depth, depth) for of in here if of != rank]
            links += [LinkId(of, rank, "sums", layer, depth, depth) for of in here if of != rank]
            told = [to for to in (after if spec.scores_training else after[:1]) if to != here[0]]
            links += [LinkId(here[0], to, "scores", layer, depth, depth) for to in told if rank in (to, here[0])]
        return links + self._head_links(rank, list(pieces)) + self._choice_links(rank)

    def _head_links(self, rank: int, layers: list[int]) -> list[LinkId]:
        home, depth, head_layers = self.home, self.spec.depth, self.spec.head_layers
        if home is None:
            return []
        if rank != home:
            logits = [LinkId(rank, home, "logits", layer, depth, depth) for layer in layers if layer in head_layers]
            return logits + [LinkId(home, rank, "error", self.spec.layers, depth, depth)] * bool(logits)
        with_head = {of: None for layer in head_layers for of in self.ribbon.owners(layer) if of != home}
        return [
            LinkId(of, home, "logits", layer, depth, depth)
            for layer in head_layers
            for of in self.ribbon.owners(layer)
            if of != home
        ] + [LinkId(home, to, "error", self.spec.layers, depth, depth) for to in with_head]

    def _choice_links(self, rank: int) -> list[LinkId]:
        """Return the links that bring those who build inputs the negatives."""
        spec, chooser, builders = self.spec, self.chooser, self.ribbon.owners(0)
        if spec.adaptive is None:
            return []
        buffers = min(spec.ahead, spec.batches[0]) + 1
        told = builders if rank == chooser else [rank] if rank in builders else []
        return [LinkId(chooser, to, "negatives", 0, buffers, buffers) for to in told if to != chooser]

    # -- For those who price and measure ------------------------------------------------------------------------------
    @property
    def round(self) -> range:
        """One chapter: every rank has its pieces' share of it."""
        return range(self.first, self.first + 1)

    @property
    def delay(self) -> str:
        """A batch's negatives may be selected only when the first rank would already learn from it."""
        spec, adaptive = self.spec, self.spec.adaptive
        if spec.ranks == 1 or adaptive is None or not spec.ahead or adaptive.lag >= self._least:
            return ""
        return f"for negatives, since negatives.lag = {adaptive.lag} is less than {self._least}"

    def stage_of(self, step: Step) -> int | None:
        """Return the stage that a step of computing is for."""
        match step:
            case BuildInput():
                return 0
            case Forward(layer) | AddSums(layer) | AddScore(layer) | Update(layer):
                return layer
            case GatherHeadInput(layer) | Logits(layer):
                return layer
            case AddLogits() | HeadError() | UpdateHead():
                return self.spec.layers
            case Evaluate() | SelectNegatives():
                by_head = self.spec.head_layers and step.batch.stream in FOR_HEAD
                return self.spec.layers if by_head else self.spec.layers - 1
        return None

    def steps(self, rank: int) -> Steps:
        """Yield what `rank` does to the end."""
        return self.steps_with(rank, self.links_of(rank))

    def steps_with(self, rank: int, links: list[LinkId]) -> Steps:
        """See `Schedule.steps_with`."""
        return chain.from_iterable(Periods(self, rank, links).portions())

    def computing(self, rank: int) -> Steps:
        """Yield the same without messages."""
        return self.steps_with(rank, [])

    def costs_on(self, rank: int, costs: StepCosts) -> StepCosts:
        """Return what steps cost on `rank`, which has its pieces only."""
        return costs.on(self.pieces(rank))

    def kind_of(self, rank: int) -> Hashable:
        """Return how much `rank` has of each layer, and what it does for all."""
        pieces = tuple((layer, len(panels)) for layer, panels in self.pieces(rank).items())
        first = tuple(rank == self.ribbon.owners(layer)[0] for layer, _ in pieces)
        return pieces, first, self._last_panels(rank), rank in (self.home, self.reader)

    def _last_panels(self, rank: int) -> bool:
        """Whether `rank` has a layer's last panel, which may be narrower, as the end of what it has."""
        layer, panels = list(self.pieces(rank).items())[-1]
        return panels.stop == self.spec.panels[layer]


class PipelineSettings(Settings, frozen=True, kw_only=True, tag="pipeline"):
    """Every layer learns from each batch as it flows by; a rank owns a stretch of all layers' units."""

    shared_memory: Annotated[
        bool,
        Meta(description="Whether ranks of a host read each other's activations in memory that they share; else these "
             "are sent, as they are between hosts."),
    ] = True  # fmt: skip

    by_batch: ClassVar[bool] = True
    algorithm: ClassVar[str] = "pipeline"

    def plan(self, spec: ScheduleSpec, first: int = 0) -> Schedule:
        """See `Settings.plan`."""
        return Pipeline(spec, first)
