"""Schedules `all-layers`, `sequential` and `federated`: ranks take the chapters in turn (paper, Algorithm 2).

For each layer a rank gets its state from the rank of the chapter before, trains it, hands it to the rank of the chapter
after and passes the chapter's batches on: so as many chapters are in flight as there are ranks. One rank alone is
`sequential`. If every chapter has a shard of the samples of its own, and with it a rank, it is `federated`: only states
travel.
"""

from __future__ import annotations

import math
from functools import cached_property
from itertools import chain

from ..errors import UserError
from . import chapter as c
from .interface import OfWholeLayers, Schedule, Settings
from .spec import ScheduleSpec
from .steps import LinkId, Portions, Post, Receive, Record, Report, Reserve, Save, Selection, Send, State, Step, Steps
from .streams import Streams

#: Choices that may be on their way from one rank to another.
_CHOICES = 2


class AllLayers(OfWholeLayers):
    """Every rank has the whole network; `first` is the first chapter of this run."""

    def __init__(self, spec: ScheduleSpec, first: int = 0) -> None:
        self.spec, self.first = spec, first
        self.stages = range(spec.stages)
        # Stages follow each other; what comes after the last, such as scores of adaptive negatives, needs no order.
        at_once = max(spec.stages, math.ceil((sum(spec.costs) + spec.after) / max(spec.costs)))
        # With shards a rank is where its samples are, useful or not.
        useful = spec.chapters if len(spec.batches) > 1 else min(at_once, spec.chapters)
        more = "" if useful < spec.chapters else ", or raise train.chapters"
        if spec.ranks > useful:
            raise UserError(
                f"{spec.ranks} ranks for {spec.chapters} chapters of {spec.stages} layers and classifiers: this "
                f"schedule can use at most {useful}; start {useful} ranks or fewer{more}"
            )
        if len(spec.batches) > 1 and len(spec.batches) % spec.ranks:
            raise UserError(
                f"{spec.ranks} ranks for {len(spec.batches)} shards: expected as many, or a number that divides them"
            )

    def trained(self, rank: int) -> list[int]:
        """Return the stages that `rank` trains."""
        return list(self.stages)

    def computed(self, rank: int) -> list[int]:
        """Return the layers whose activations `rank` computes."""
        return list(range(self.spec.layers))

    def pieces(self, rank: int) -> dict[int, range]:
        """Return the panels of the layers that `rank` has: all of them."""
        return {layer: range(count) for layer, count in enumerate(self.spec.panels)}

    def shards(self, rank: int) -> list[int]:
        """Return the shards that `rank` reads."""
        count = len(self.spec.batches)
        return [s for s in range(count) if count == 1 or s % self.spec.ranks == rank]

    def stage_of(self, step: Step) -> int | None:
        """Return the stage whose state has to be here for `step`, and goes to the next rank afterwards."""
        batch = getattr(step, "batch", None)
        if batch is None or batch.stream not in ("train", "neutral"):
            return None
        return self.spec.layers if batch.stream == "neutral" else getattr(step, "layer", 0)

    @property
    def round(self) -> range:
        """As many chapters as there are ranks, each of which trains one of them."""
        return range(self.first, self.first + self.spec.ranks)

    @property
    def delay(self) -> str:
        """As many chapters as there are ranks cannot always be under way at once."""
        return self.spec.delay_of(self.spec.ranks)

    def rank_of(self, chapter: int) -> int:
        """Return the rank that trains `chapter`; wherever a run was resumed, since it has the shard."""
        return chapter % self.spec.ranks

    def chapters_of(self, rank: int) -> range:
        """Return the chapters that `rank` trains."""
        return range(self.first + (rank - self.first) % self.spec.ranks, self.spec.chapters, self.spec.ranks)

    def _state(self, source: int, stage: int) -> LinkId:
        return LinkId(source, (source + 1) % self.spec.ranks, "state", stage, 1, 1)

    @cached_property
    def links(self) -> list[LinkId]:
        """Return all links: every stage's state goes round, choices go to everybody."""
        ranks = range(self.spec.ranks if self.spec.ranks > 1 else 0)
        states = [self._state(rank, stage) for rank in ranks for stage in self.stages]
        pairs = [(a, b) for a in ranks for b in ranks if a != b] if self.spec.adaptive else []
        return states + [LinkId(source, target, "negatives", 0, _CHOICES, _CHOICES) for source, target in pairs]

    def steps(self, rank: int) -> Steps:
        """Yield what `rank` does to the end."""
        return chain.from_iterable(self._portions(rank))

    def _portions(self, rank: int) -> Portions:
        choices = _Choices(self, rank)
        own = self.chapters_of(rank)
        recorded = self.first
        yield choices.streams.open()
        for chapter in own:
            yield from self._train(rank, chapter, choices)
            yield [Report(chapter)]
            if rank == 0:
                yield [Record(done, (self.rank_of(done),)) for done in range(recorded, chapter + 1)]
                recorded = chapter + 1
                # Rank 0 saves its own chapters: nobody has to wait, but up to `ranks` chapters lie between.
                if chapter + 1 < self.spec.chapters and any(
                    self.spec.due(self.spec.save_every, done)
                    for done in range(max(self.first, chapter - self.spec.ranks + 1), chapter + 1)
                ):
                    yield [*choices.hear(chapter), self._save(chapter, 0)]
        last = self.spec.chapters - 1
        yield choices.hear(last)
        if rank == 0:
            yield [Record(done, (self.rank_of(done),)) for done in range(recorded, self.spec.chapters)]
        owner = self.rank_of(last)
        if self.first <= last and rank in (0, owner):
            yield [self._save(last, owner)]
        yield choices.streams.close()
        if self.spec.ranks > 1:
            yield [Reserve(self._state(rank, stage), 0) for stage in self.stages]

    def _save(self, chapter: int, owner: int) -> Save:
        return Save(chapter, self.spec.whole([owner] * self.spec.layers), owner if self.spec.head_layers else None)

    def _train(self, rank: int, chapter: int, choices: _Choices) -> Portions:
        """Yield one chapter: every stage's state arrives, learns and leaves."""
        spec, before = self.spec, (rank - 1) % self.spec.ranks
        coming = spec.ranks > 1 and chapter > self.first
        going = spec.ranks > 1 and chapter + 1 < spec.chapters

        def arrive(stage: int) -> list[Step]:
            return [Receive(self._state(before, stage), 0, State(stage, chapter - 1))] if coming else []

        def leave(stage: int) -> list[Step]:
            return [Send(self._state(rank, stage), 0, State(stage, chapter))] if going else []

        for stage in self.stages if coming else ():
            # What this rank sent in its last chapter lies where the next state is received.
            link = self._state(before, stage)
            yield [Reserve(self._state(rank, stage), 0), Post(link, 0, State(stage, chapter - 1))]
        if spec.adaptive:
            # Those it needs, and those it cannot have to wait for: unheard ones hold up their senders.
            yield choices.hear(chapter - min(spec.adaptive.lag, spec.ranks))
        for layer in range(spec.layers):
            yield arrive(layer)
            yield from c.train(spec, chapter, layer)
            yield leave(layer)
            if layer + 1 < spec.layers:
                yield from c.pass_on(spec, chapter, layer)
        yield c.finish(spec, chapter)
        if spec.head_layers:
            yield arrive(spec.layers)
        for epoch, batches in c.after(spec, chapter):
            yield from c.sweep_alone(spec, chapter, epoch, batches)
            if spec.head_layers and epoch == spec.epochs_of(chapter)[-1]:
                yield leave(spec.layers)
        yield choices.tell(chapter)


class _Choices:
    """The adaptive negatives that this rank selects, and those that others send it."""

    def __init__(self, schedule: AllLayers, rank: int) -> None:
        self.schedule, self.rank, self.heard = schedule, rank, schedule.first
        self.links = [
            link for link in schedule.links if link.payload == "negatives" and rank in (link.source, link.target)
        ]
        self.streams = Streams(rank, {link: self._choices_of(link.source) for link in self.links})

    def _choices_of(self, source: int) -> list[Selection]:
        spec = self.schedule.spec
        chapters = self.schedule.chapters_of(source)
        return [Selection(chosen) for chapter in chapters if (chosen := spec.chosen_after(chapter)) is not None]

    def hear(self, last: int) -> list[Step]:
        """Receive the choices made after the chapters up to `last`."""
        steps: list[Step] = []
        for chapter in range(self.heard, last + 1):
            for link in self.links:
                chosen = self.schedule.spec.chosen_after(chapter)
                if link.source == self.schedule.rank_of(chapter) != self.rank and chosen is not None:
                    steps += self.streams.carry(link)
        self.heard = max(self.heard, last + 1)
        return steps

    def tell(self, chapter: int) -> list[Step]:
        """Send the choice made after `chapter` to everybody."""
        if self.schedule.spec.chosen_after(chapter) is None:
            return []
        return [step for link in self.links if link.source == self.rank for step in self.streams.carry(link)]


class AllLayersSettings(Settings, frozen=True, kw_only=True, tag="all-layers"):
    """Ranks take the chapters in turn and hand each layer on as soon as it has learnt."""

    def plan(self, spec: ScheduleSpec, first: int = 0) -> Schedule:
        """See `Settings.plan`."""
        return AllLayers(spec, first)
