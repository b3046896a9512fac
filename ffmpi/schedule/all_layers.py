"""Schedules `all-layers`, `sequential` and `federated`: ranks take the chapters in turn (paper, Algorithm 2).

For each layer a rank gets its state from the rank of the chapter before, trains it, hands it to the rank of the chapter
after and passes its lessons on: so as many chapters are in flight as there are ranks. One rank alone is `sequential`.
If every chapter has a shard of the samples of its own, and with it a rank, it is `federated`: only states travel.
"""

from __future__ import annotations

import math
from functools import cached_property

from ..errors import UserError
from . import chapter as c
from .spec import Work
from .steps import Choice, LinkId, Post, Receive, Record, Report, Reserve, Save, Send, State, Steps
from .streams import Traffic

#: Choices that may be on their way from one rank to another.
_CHOICES = 2


class AllLayers:
    """Every rank has the whole network; `first` is the first chapter of this run."""

    def __init__(self, work: Work, first: int = 0) -> None:
        self.work, self.first = work, first
        self.stages = range(work.stages)
        # Stages follow each other; what comes after the last, such as scores of adaptive negatives, needs no order.
        at_once = max(work.stages, math.ceil((sum(work.costs) + work.after) / max(work.costs)))
        # With shards a rank is where its samples are, useful or not.
        useful = work.chapters if len(work.batches) > 1 else min(at_once, work.chapters)
        more = "" if useful < work.chapters else ", or raise train.chapters"
        if work.ranks > useful:
            raise UserError(
                f"{work.ranks} ranks for {work.chapters} chapters of {work.stages} layers and classifiers: this "
                f"schedule can use at most {useful}; start {useful} ranks or fewer{more}"
            )
        if len(work.batches) > 1 and len(work.batches) % work.ranks:
            raise UserError(
                f"{work.ranks} ranks for {len(work.batches)} shards: expected as many, or a number that divides them"
            )

    def trained(self, rank: int) -> list[int]:
        """Return the stages that `rank` trains."""
        return list(self.stages)

    def computed(self, rank: int) -> list[int]:
        """Return the layers whose activities `rank` computes."""
        return list(range(self.work.layers))

    def shards(self, rank: int) -> list[int]:
        """Return the shards that `rank` reads."""
        count = len(self.work.batches)
        return [s for s in range(count) if count == 1 or s % self.work.ranks == rank]

    @property
    def bound(self) -> float:
        """The speed-up over one rank that chapters, stages and the lag of adaptive negatives allow."""
        work, chapters = self.work, max(1, self.work.chapters - self.first)
        return min(chapters / -(-chapters // work.ranks), (sum(work.costs) + work.after) / max(work.costs), work.lag)

    def rank_of(self, chapter: int) -> int:
        """Return the rank that trains `chapter`; it does not depend on where a run goes on, since it has the shard."""
        return chapter % self.work.ranks

    def chapters_of(self, rank: int) -> range:
        """Return the chapters that `rank` trains."""
        return range(self.first + (rank - self.first) % self.work.ranks, self.work.chapters, self.work.ranks)

    def _state(self, source: int, stage: int) -> LinkId:
        return LinkId(source, (source + 1) % self.work.ranks, "state", stage, 1, 1)

    @cached_property
    def links(self) -> list[LinkId]:
        """Return all links: every stage's state goes round, choices go to everybody."""
        ranks = range(self.work.ranks if self.work.ranks > 1 else 0)
        states = [self._state(rank, stage) for rank in ranks for stage in self.stages]
        pairs = [(a, b) for a in ranks for b in ranks if a != b] if self.work.adaptive else []
        return states + [LinkId(source, target, "negatives", 0, _CHOICES, _CHOICES) for source, target in pairs]

    def steps(self, rank: int) -> Steps:
        """Yield what `rank` does to the end."""
        choices = _Choices(self, rank)
        own = self.chapters_of(rank)
        recorded = self.first
        yield from choices.traffic.open()
        for chapter in own:
            yield from self._train(rank, chapter, choices)
            yield Report(chapter)
            if rank == 0:
                for done in range(recorded, chapter + 1):
                    yield Record(done, (self.rank_of(done),))
                recorded = chapter + 1
                # Rank 0 saves its own chapters: nobody has to wait, but up to `ranks` chapters lie between.
                if chapter + 1 < self.work.chapters and any(
                    self.work.due(self.work.save_every, done)
                    for done in range(max(self.first, chapter - self.work.ranks + 1), chapter + 1)
                ):
                    yield from choices.hear(chapter)
                    yield Save(chapter, (0,) * self.work.stages)
        last = self.work.chapters - 1
        yield from choices.hear(last)
        if rank == 0:
            for done in range(recorded, self.work.chapters):
                yield Record(done, (self.rank_of(done),))
        owner = self.rank_of(last)
        if self.first <= last and rank in (0, owner):
            yield Save(last, (owner,) * self.work.stages)
        yield from choices.traffic.close()
        for stage in self.stages if self.work.ranks > 1 else ():
            yield Reserve(self._state(rank, stage), 0)

    def _train(self, rank: int, chapter: int, choices: _Choices) -> Steps:
        """Yield one chapter: every stage's state arrives, learns and leaves."""
        work, before = self.work, (rank - 1) % self.work.ranks
        coming = work.ranks > 1 and chapter > self.first
        going = work.ranks > 1 and chapter + 1 < work.chapters

        def arrive(stage: int) -> Steps:
            if coming:
                yield Receive(self._state(before, stage), 0, State(stage, chapter - 1))

        def leave(stage: int) -> Steps:
            if going:
                yield Send(self._state(rank, stage), 0, State(stage, chapter))

        for stage in self.stages if coming else ():
            # What this rank sent in its last chapter lies where the next state comes in.
            yield Reserve(self._state(rank, stage), 0)
            yield Post(self._state(before, stage), 0, State(stage, chapter - 1))
        if work.adaptive:
            # Those it needs, and those it cannot have to wait for: unheard ones hold up their senders.
            yield from choices.hear(chapter - min(work.adaptive.lag, work.ranks))
        for layer in range(work.layers):
            yield from arrive(layer)
            yield from c.train(work, chapter, layer)
            yield from leave(layer)
            if layer + 1 < work.layers:
                yield from c.pass_on(work, chapter, layer)
        yield from c.finish(work, chapter)
        if work.head_layers:
            yield from arrive(work.layers)
        for epoch, batches in c.after(work, chapter):
            yield from c.sweep_alone(work, chapter, epoch, batches)
            if work.head_layers and epoch == work.epochs_of(chapter)[-1]:
                yield from leave(work.layers)
        yield from choices.tell(chapter)


class _Choices:
    """The adaptive negatives that this rank chooses and hears of."""

    def __init__(self, schedule: AllLayers, rank: int) -> None:
        self.schedule, self.rank, self.heard = schedule, rank, schedule.first
        self.links = [
            link for link in schedule.links if link.cargo == "negatives" and rank in (link.source, link.target)
        ]
        self.traffic = Traffic(rank, {link: self._choices_of(link.source) for link in self.links})

    def _choices_of(self, source: int) -> list[Choice]:
        work = self.schedule.work
        chapters = self.schedule.chapters_of(source)
        return [Choice(chosen) for chapter in chapters if (chosen := work.chosen_after(chapter)) is not None]

    def hear(self, last: int) -> Steps:
        """Receive the choices made after the chapters up to `last`."""
        for chapter in range(self.heard, last + 1):
            for link in self.links:
                chosen = self.schedule.work.chosen_after(chapter)
                if link.source == self.schedule.rank_of(chapter) != self.rank and chosen is not None:
                    yield from self.traffic.carry(link)
        self.heard = max(self.heard, last + 1)

    def tell(self, chapter: int) -> Steps:
        """Send the choice made after `chapter` to everybody."""
        if self.schedule.work.chosen_after(chapter) is not None:
            for link in self.links:
                if link.source == self.rank:
                    yield from self.traffic.carry(link)
