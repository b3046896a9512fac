"""What one rank does in the pipeline, period after period.

In period p a layer works on entry p minus its delay. On each rank first the cut pieces' activations, since others wait
for what is sent of them, then the update of the head's weights by the entry before and the shares of the next logits;
then whole layers, which need nobody; at last, when the sums have come meanwhile, the updates of the cut pieces. So all
that is sent in a period has about half of one on its way: ranks need not be in step.

All entries pass all layers, so entry n lies in buffer n modulo their number on every rank that has something of a
layer, and in the same buffer of each link: pieces from several ranks come together there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .entries import Entries, Entry
from .steps import (
    LAYERS_SCORED,
    LEARNT,
    AddLogits,
    AddScore,
    AddSums,
    Batch,
    BuildInput,
    Evaluate,
    FinishEpoch,
    Forward,
    FreeEpoch,
    FreeSnapshot,
    GatherHeadInput,
    HeadError,
    LinkId,
    Logits,
    Payload,
    Portions,
    Post,
    Receive,
    Record,
    Report,
    Reserve,
    Save,
    Selection,
    SelectNegatives,
    Send,
    SetEpoch,
    Step,
    TakeSnapshot,
    Update,
    UpdateHead,
)

if TYPE_CHECKING:
    from .pipeline import Pipeline


class _Work:
    """One piece of a rank, or one whole layer: where its input comes from and its output goes."""

    def __init__(self, periods: Periods, layer: int, panels: range) -> None:
        plan, spec, rank, links = periods.plan, periods.plan.spec, periods.rank, periods.links
        here = plan.pieces(rank)
        self.layer, self.delay = layer, plan.delays[layer]
        self.whole = len(panels) == spec.panels[layer]
        self.gathers = layer in spec.head_layers
        self.sources, self.targets = plan.buffers(rank, layer - 1) if layer else 1, plan.buffers(rank, layer)
        self.arriving = links["activations", layer - 1, False]
        self.leaving = links["activations", layer, True] + links["sums", layer, True]
        self.reserves = [[Reserve(link, buffer) for link in self.leaving] for buffer in range(spec.depth)]
        # Its input's sums are completed here before its activations; unless its layer before has needed them earlier,
        # to learn from the same batch.
        self.adds_before = layer > 0 and len(here.get(layer - 1, ())) < spec.panels[layer - 1]
        self.added_before = layer - 1 in here and not plan.in_step
        self.sums = links["sums", layer, False]  # of the others' pieces
        # What layers say is added up by the first rank of each.
        self.scores_in, self.scores_out = links["scores", layer - 1, False], links["scores", layer, True]
        self.adds_score = rank == plan.ribbon.owners(layer)[0]
        self.added_score_before = layer > 0 and rank == plan.ribbon.owners(layer - 1)[0]
        self.reads_out = layer == spec.layers - 1 and rank == plan.reader
        # Its own sums are completed before the update, or before the next layer's activations.
        self.followed = layer + 1 in here
        self.adds = not self.whole and not (self.followed and plan.in_step)
        self.ahead = self.delay < plan.through  # it goes on with the next chapter before all are through with one


class Periods:
    """The steps of one rank; `portions` yields them once."""

    def __init__(self, plan: Pipeline, rank: int, links: list[LinkId]) -> None:
        """Do what `rank` has to; `links` are those that begin or end on it."""
        self.plan, self.rank, spec = plan, rank, plan.spec
        self.own = links
        self.links: dict[tuple[Payload, int, bool], list[LinkId]] = defaultdict(list)  # True: those that leave
        for link in self.own:
            self.links[link.payload, link.stage, link.source == rank].append(link)
        self.depth, self.behind = spec.depth, plan.through
        works = [_Work(self, layer, panels) for layer, panels in plan.pieces(rank).items()]
        self.works = works
        self.late: list[Step] = []  # offers of buffers that have to wait for the end of the period
        self.cut = [work for work in works if not work.whole]
        self.forwards = works if plan.in_step else [*self.cut, *(work for work in works if work.whole)]
        # -- The head
        #: The first whole layer: the head's shares come before it, and so between what others wait for and what they
        #: send meanwhile; where there is none they come after all activations.
        self.after_head = None if plan.late_head else next((work for work in self.forwards if work.whole), None)
        self.home, self.head_delay = rank == plan.home, plan.delays[-1]
        self.head_layers = [work.layer for work in works if work.gathers]
        self.logits_out = [(layer, self.links["logits", layer, True]) for layer in self.head_layers]
        self.gathered = plan.head_buffers(rank)
        self.logit_buffers = plan.logit_buffers
        self.logits_in = [link for layer in spec.head_layers for link in self.links["logits", layer, False]]
        self.error_in = self.links["error", spec.layers, False]
        self.error_out = self.links["error", spec.layers, True]
        self.through = plan.through if self.head_layers else works[-1].delay  # then an entry is done with here
        # -- Adaptive negatives
        self.told, self.heard = self.links["negatives", 0, True], self.links["negatives", 0, False]
        self.choices = [0, 0]  # how many have been sent, received
        by_head = spec.adaptive is not None and spec.adaptive.scores == "softmax"
        known = self.head_delay if by_head else plan.delays[spec.layers - 1]
        self.entries = Entries(spec, plan.first, known, self.behind, spec.depth)

    # -- The whole ----------------------------------------------------------------------------------------------------
    def portions(self) -> Portions:
        """Yield all steps."""
        entries = self.entries
        more = entries.reach(0)
        yield [
            Post(link, buffer, item)
            for link in self.own
            if link.target == self.rank
            for buffer, item in enumerate(self._first(link))
            if link.payload != "scores" or self._is_scored(item)
        ]
        period = 0
        while more:
            while period < entries.settled:
                yield self._period(period)
                period += 1
            more = entries.reach(period)

    def _first(self, link: LinkId) -> Sequence[Batch | Selection]:
        """Return what arrives first on a link, as much as it has buffers."""
        if link.payload == "negatives":
            found = (self._choice(number) for number in range(link.receive_buffers))
            return [choice for choice in found if choice is not None]
        return self.entries.batches[self._kind(link)][: link.receive_buffers]

    def _is_scored(self, item: Batch | Selection) -> bool:
        """Whether what the layers say of a batch is added up."""
        assert isinstance(item, Batch)
        return item.stream in LAYERS_SCORED or (self.plan.spec.scores_training and item.stream in LEARNT)

    @staticmethod
    def _kind(link: LinkId) -> int:
        return {"logits": 1, "error": 2}.get(link.payload, 0)

    def _period(self, period: int) -> list[Step]:
        """Return what is done in a period."""
        entries, now, late, steps = self.entries.periods, period - self.entries.base, self.plan.late_head, list[Step]()
        head = entries[now - self.head_delay] if self.head_layers else None  # that it reads, and that it learns from
        learns = entries[now - self.plan.through] if self.head_layers and not late else None
        if head is not None and head.read < 0:
            head = None
        first = entries[now - self.works[0].delay]
        if first is not None and first.opens:
            steps += self._open(first)
        for work in self.forwards:
            if work is self.after_head:
                self._shares(head, learns, steps)
            entry = entries[now - work.delay]
            if entry is not None:
                self._forward(work, entry, steps)
                if work.whole:
                    self._update(work, entry, steps)
        if self.after_head is None:
            self._shares(head, learns, steps)
        if head is not None and self.home and not late:
            self._at_home(head, steps)
        for work in self.cut:
            entry = entries[now - work.delay]
            if entry is not None:
                self._update(work, entry, steps)
        if self.late:
            steps += self.late
            self.late.clear()
        if head is not None and late:
            if self.home:
                self._at_home(head, steps)
            if head.error >= 0:
                self._update_head(head, steps)
        done = entries[now - self.through]
        if done is not None and done.closes:
            steps.append(FreeEpoch(done.batch.epoch))
        past = entries[now - self.behind]
        if past is not None and past.ends:
            steps += self._end(past.chapter)
        return steps

    def _post(self, links: list[LinkId], kind: int, number: int, steps: list[Step]) -> None:
        """Offer the buffers that a batch was received in to the one that has them next."""
        batches, buffers = self.entries.batches[kind], self.depth
        place = number + buffers - self.entries.gone[kind]
        if place < len(batches):
            item, buffer = batches[place], number % buffers
            for link in links:
                steps.append(Post(link, buffer, item))

    def _post_scored(self, links: list[LinkId], number: int, steps: list[Step]) -> None:
        """The same for a batch of which the layers may say nothing: then nothing comes."""
        place = number + self.depth - self.entries.gone[0]
        if place < len(self.entries.batches[0]) and self._is_scored(self.entries.batches[0][place]):
            self._post(links, 0, number, steps)

    # -- Layers -------------------------------------------------------------------------------------------------------
    def _forward(self, work: _Work, entry: Entry, steps: list[Step]) -> None:
        batch, number, layer, depth = entry.batch, entry.number, work.layer, self.depth
        buffer, source, target = number % depth, number % work.sources, number % work.targets
        if layer == 0:
            if self.heard and entry.learnt and self.plan.spec.ahead:
                self._hear(self.choices[1] + 1, steps)
            steps.append(BuildInput(batch))
        for link in work.arriving:
            steps.append(Receive(link, buffer, batch))
        added = work.added_before and (entry.learnt or (entry.scored and work.added_score_before))
        if work.adds_before and not added:
            self._add_sums(layer - 1, source, batch, number, steps)
        steps += work.reserves[buffer]
        steps.append(Forward(layer, batch, None, batch.epoch if entry.learnt else None, source, target))
        for link in work.leaving:
            steps.append(Send(link, buffer, batch))
        if work.gathers and entry.read >= 0:
            steps.append(GatherHeadInput(layer, batch, target, entry.read % self.gathered))

    def _add_sums(self, layer: int, place: int, batch: Batch, number: int, steps: list[Step]) -> None:
        """Receive what there is of a layer's sums from others, and add it up."""
        links, buffer = self.links["sums", layer, False], number % self.depth
        for link in links:
            steps.append(Receive(link, buffer, batch))
        steps.append(AddSums(layer, batch, place))
        self._post(links, 0, number, steps)

    def _update(self, work: _Work, entry: Entry, steps: list[Step]) -> None:
        """Let a layer learn, if it does, or say something; its input is not needed any longer."""
        batch, number, layer = entry.batch, entry.number, work.layer
        target = number % work.targets
        if work.adds and (entry.learnt or (entry.scored and work.adds_score)):
            self._add_sums(layer, target, batch, number, steps)
        elif work.adds and not work.followed:
            buffer = number % self.depth  # nobody needs them here
            for link in work.sums:
                steps.append(Receive(link, buffer, batch))
            self._post(work.sums, 0, number, steps)
        if entry.scored and (work.scores_in or work.adds_score):
            self._add_score(work, entry, steps)
        if entry.learnt:
            steps.append(Update(layer, batch, batch.epoch, number % work.sources, target))
            if entry.finishes and self.plan.spec.finishes:
                steps.append(FinishEpoch(layer, batch.epoch))
        # In step this rank's own piece of the layer before has yet to learn from what is in that buffer.
        later = self.late if self.plan.in_step else steps
        if work.arriving:
            self._post(work.arriving, 0, number, later)
        if work.scores_in:
            self._post_scored(work.scores_in, number, later)
        if work.reads_out and entry.scored and not entry.learnt:
            if entry.selects >= 0:
                steps.append(SelectNegatives(batch, entry.selects, None, target))
                self._tell(entry, steps)
            else:
                steps.append(Evaluate(batch, target))
        if entry.ends and work.ahead and self._saves(entry.chapter):
            steps.append(TakeSnapshot(layer, entry.chapter))

    def _add_score(self, work: _Work, entry: Entry, steps: list[Step]) -> None:
        """Take what the layers below say, add what this one says, and hand it on."""
        batch, number, buffer = entry.batch, entry.number, entry.number % self.depth
        for link in work.scores_in:
            steps.append(Receive(link, buffer, batch))
        if work.adds_score:
            for link in work.scores_out:
                steps.append(Reserve(link, buffer))
            steps.append(AddScore(work.layer, batch, number % work.sources, number % work.targets))
            for link in work.scores_out:
                steps.append(Send(link, buffer, batch))

    # -- The head -----------------------------------------------------------------------------------------------------
    def _shares(self, entry: Entry | None, learns: Entry | None, steps: list[Step]) -> None:
        """Let the head's weights learn from the entry before, if they have not yet, and send their shares of logits."""
        if learns is not None and learns.error >= 0:
            self._update_head(learns, steps)
        if entry is None:
            return
        batch, read, buffer = entry.batch, entry.read % self.gathered, entry.read % self.logit_buffers
        for layer, links in self.logits_out:
            for link in links:
                steps.append(Reserve(link, buffer))
            steps.append(Logits(layer, batch, read, buffer))
            for link in links:
                steps.append(Send(link, buffer, batch))

    def _at_home(self, entry: Entry, steps: list[Step]) -> None:
        """Add up the logits, and tell everybody the error, or classify."""
        batch, buffer = entry.batch, entry.read % self.logit_buffers
        for link in self.logits_in:
            steps.append(Receive(link, buffer, batch))
        steps.append(AddLogits(batch, buffer))
        if self.logits_in:
            self._post(self.logits_in, 1, entry.read, steps)
        if entry.error >= 0:
            place = entry.error % self.logit_buffers
            for link in self.error_out:
                steps.append(Reserve(link, place))
            steps.append(HeadError(batch, batch.epoch, place))
            for link in self.error_out:
                steps.append(Send(link, place, batch))
        else:
            steps.append(Evaluate(batch))
        if entry.selects >= 0:
            steps.append(SelectNegatives(batch, entry.selects, entry.index))
            self._tell(entry, steps)

    def _update_head(self, entry: Entry, steps: list[Step]) -> None:
        batch, place = entry.batch, entry.error % self.logit_buffers
        for link in self.error_in:
            steps.append(Receive(link, place, batch))
        steps.append(UpdateHead(batch, batch.epoch, entry.last, entry.read % self.gathered, place))
        if self.error_in:
            self._post(self.error_in, 2, entry.error, steps)

    # -- Adaptive negatives -------------------------------------------------------------------------------------------
    def _choice(self, number: int) -> Selection | None:
        """Return the choice that is the `number`-th one."""
        spec, first = self.plan.spec, self.plan.first
        if spec.ahead:
            passed, index = divmod(number, spec.batches[0])
            epoch = first * spec.epochs_per_chapter + passed
            return Selection(epoch // spec.epochs_per_chapter, index, epoch) if epoch < spec.epochs else None
        chosen = spec.chosen_after(first + number) if first + number < spec.chapters else None
        return None if chosen is None else Selection(chosen)

    def _tell(self, entry: Entry, steps: list[Step]) -> None:
        """Send a choice that is complete."""
        if not entry.selected:
            return
        for link in self.told:
            buffer, choice = self.choices[0] % link.send_buffers, self._choice(self.choices[0])
            assert choice is not None
            steps += [Reserve(link, buffer), Send(link, buffer, choice)]
        self.choices[0] += 1

    def _hear(self, count: int, steps: list[Step]) -> None:
        """Receive choices, so that there are `count` of them."""
        while self.choices[1] < count and (choice := self._choice(self.choices[1])) is not None:
            for link in self.heard:
                buffer = self.choices[1] % link.receive_buffers
                following = self._choice(self.choices[1] + link.receive_buffers)
                steps.append(Receive(link, buffer, choice))
                steps += [Post(link, buffer, following)] if following else []
            self.choices[1] += 1

    # -- Epochs and chapters ------------------------------------------------------------------------------------------
    def _open(self, entry: Entry) -> list[Step]:
        """Return what comes before the first entry of an epoch."""
        spec = self.plan.spec
        steps: list[Step] = []
        if self.heard and spec.adaptive and not spec.ahead:
            self._hear(entry.chapter - spec.adaptive.lag - self.plan.first + 1, steps)
        return [*steps, SetEpoch(entry.batch.epoch, entry.chapter)]

    def _saves(self, chapter: int) -> bool:
        """Whether a chapter is saved while others go on."""
        spec = self.plan.spec
        return chapter + 1 < spec.chapters and not spec.save_waits and spec.due(spec.save_every, chapter)

    def _end(self, chapter: int) -> list[Step]:
        """Return what is done when all ranks are through with a chapter."""
        spec = self.plan.spec
        steps: list[Step] = []
        if self.heard and not spec.ahead:
            self._hear(chapter - self.plan.first + 1, steps)
        steps.append(Report(chapter))
        if self.rank == 0:
            steps.append(Record(chapter, tuple(range(spec.ranks))))
        if spec.due(spec.save_every, chapter):
            steps.append(Save(chapter, self.plan.owners))
            if self._saves(chapter):
                steps += [FreeSnapshot(work.layer, chapter) for work in self.works if work.ahead]
        return steps
