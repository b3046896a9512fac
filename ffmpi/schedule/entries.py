"""The pipeline's entries: all batches of a run in the order in which they pass every layer, without a pause.

Training batches epoch after epoch, then what is scored after a chapter, then the next chapter. Where the negatives of a
chapter would not be known in time, or a save is waited for, empty entries come before it.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from .spec import ScheduleSpec
from .steps import FOR_HEAD, LAYERS_SCORED, Batch


class Entry(Struct, frozen=True, gc=False):
    """What passes the layers in one period.

    Attributes
    ----------
    chapter : which it belongs to
    number, read, error : its place among all batches, among those that the head reads, and among those that the head
        learns from; -1: it is none of them
    learnt, scored : layers learn from it, or what they say for classification is added up
    opens, closes : it is the first, or the last, that names its epoch
    finishes, last : it is the last of its epoch that layers, or the head, learn from
    ends : it is the last of its chapter
    selects, index : the chapter for which negatives are chosen by its scores, or -1; and for which batch, if for one
    selected : with it the choice is complete
    """

    batch: Batch
    chapter: int
    number: int
    read: int
    error: int
    learnt: bool
    scored: bool
    opens: bool
    closes: bool
    finishes: bool
    last: bool
    ends: bool
    selects: int
    index: int | None
    selected: bool


#: Entries that may have passed before they are forgotten.
_KEPT = 4096


class Entries:
    """The entries of the chapters from `first` on, made as they are needed, and forgotten when they have passed.

    Attributes
    ----------
    periods : the entries from number `base` on, which may be negative; None where nothing passes
    count : how many periods have begun with an entry when no more are to come
    settled : the first period for which `reach` has to be asked again
    batches : all batches, those that the head reads and those that it learns from, without the first `gone`
    """

    def __init__(self, spec: ScheduleSpec, first: int, delay: int, behind: int, ahead: int) -> None:
        """Begin with none.

        Choices are known `delay` periods after an entry; entries are asked for until `behind` others have passed, and
        batches of each kind up to the `ahead`-th after the last one that has passed.
        """
        self.spec, self.first, self.delay, self.behind, self.ahead = spec, first, delay, behind, ahead
        self.periods: list[Entry | None] = [None] * behind
        self.base = -behind
        self.count: int | None = None
        self.settled = 0
        self.batches: tuple[list[Batch], list[Batch], list[Batch]] = ([], [], [])
        self.gone = [0, 0, 0]
        self._known = [0, 0, 0]  # how many batches of each kind there have been
        self._chosen_at: dict[int, int] = {}  # the period of the last entry that chooses for a chapter
        self._blocks: Iterator[list[Entry | None]] = self._run()

    def reach(self, period: int) -> bool:
        """Make the entries from `period` to `settled`, and the batches after them that are to be known.

        Return whether there is anything to do in that period.
        """
        periods, batches, gone = self.periods, self.batches, self.gone
        if len(periods) > _KEPT + 2 * self.behind:
            self._forget(period - self.behind)
        while self.count is None and period >= self.base + len(periods):
            self._make()
        entry = periods[period - self.base]
        if entry is None:
            number = read = error = -1
        else:
            number, read, error = entry.number, entry.read, entry.error
        passed = (number, read, error) if self.spec.head_layers else (number,)

        def more_than_enough() -> int:
            each = zip(batches, gone, passed, strict=False)
            return min(len(kind) + past - last - self.ahead for kind, past, last in each)

        while self.count is None and more_than_enough() <= 0:
            self._make()
        if self.count is not None:
            self.settled = self.count + self.behind
            return period < self.settled
        # In each period one more of each kind passes at most; how many have, is known by an entry of all kinds only.
        known = more_than_enough() if min(passed) >= 0 else 1
        self.settled = period + min(known, _KEPT, self.base + len(periods) - period)
        return True

    def _make(self) -> None:
        """Make the entries of a block: an epoch, or what follows a chapter."""
        block = next(self._blocks, None)
        if block is None:
            self.count = self.base + len(self.periods)
            self.periods += [None] * self.behind
            self.periods.append(None)
            return
        self.periods += block
        every, read, errors = self.batches
        for entry in block:
            if entry is not None:
                every.append(entry.batch)
                if entry.read >= 0:
                    read.append(entry.batch)
                if entry.error >= 0:
                    errors.append(entry.batch)

    def _forget(self, period: int) -> None:
        """Let go of the entries before `period`."""
        past = [entry for entry in self.periods[: period - self.base] if entry is not None]
        del self.periods[: period - self.base]
        self.base = period
        for kind, numbers in enumerate(([e.number for e in past], [e.read for e in past], [e.error for e in past])):
            count = sum(number >= 0 for number in numbers)
            del self.batches[kind][:count]
            self.gone[kind] += count

    def _run(self) -> Iterator[list[Entry | None]]:
        spec, position = self.spec, 0
        for chapter in range(self.first, spec.chapters):
            # The choice for the chapter is known only when the last entry that it is made by has come to its end.
            chosen_at = self._chosen_at.pop(chapter, None)
            waits = 0 if chosen_at is None else chosen_at + self.delay + 1 - position
            if spec.save_waits and chapter > self.first and spec.due(spec.save_every, chapter - 1):
                waits = max(waits, self.behind)  # until the chapter before has passed all layers
            if waits > 0:
                yield [None] * waits
                position += waits
            scored = self._scored(chapter)
            epochs = spec.epochs_of(chapter)
            for epoch in epochs:
                learnt = self._learnt(epoch)
                following = scored[0] if scored and epoch == epochs[-1] else None
                yield self._entries(chapter, learnt, True, following, position, epoch == epochs[-1])
                position += len(learnt)
            if scored:
                yield self._entries(chapter, scored, scored[0].epoch != epochs[-1], None, position, True)
                position += len(scored)

    def _entries(
        self, chapter: int, batches: list[Batch], opens: bool, after: Batch | None, position: int, last: bool
    ) -> list[Entry | None]:  # fmt: skip
        """Return the entries of an epoch, the `last` of a chapter or not, or of what follows it.

        The first one `opens` its epoch or not; `after` is the batch of the chapter that follows, if there is one.
        """
        spec, adaptive, count = self.spec, self.spec.adaptive, self.spec.batches[0]
        by_head = adaptive is not None and adaptive.scores == "softmax"
        chosen, ahead, with_head = spec.chosen_after(chapter), spec.ahead, bool(spec.head_layers)
        number, reads, errors = self._known
        found: list[Entry | None] = []
        for place, batch in enumerate(batches):
            following = batches[place + 1] if place + 1 < len(batches) else after
            stream = batch.stream
            joint = stream == "joint"
            read = with_head and stream in FOR_HEAD and (not joint or batch.index < spec.joint_for_head)
            error = read and stream != "softmax"
            riding = batch.index + ahead if joint else batch.index  # the batch whose neutral rows come along
            selects, index, selected = -1, None, False
            if error and ahead:
                selects, index, selected = chapter, riding, True
            elif chosen is not None and (joint and last if by_head else stream == "candidates"):
                selects, selected = chosen, following is None or following.stream != stream
                self._chosen_at[chosen] = position + place
            closes = following is None or following.epoch != batch.epoch
            entry = Entry(
                batch, chapter, number, reads if read else -1, errors if error else -1, joint,
                stream in LAYERS_SCORED or (joint and spec.scores_training), opens, closes,
                joint and batch.index + 1 == count, error and riding + 1 == count, last and following is None,
                selects, index, selected,
            )  # fmt: skip
            found.append(entry)
            opens = closes
            number, reads, errors = number + 1, reads + read, errors + error
        self._known = [number, reads, errors]
        return found

    def _learnt(self, epoch: int) -> list[Batch]:
        """Return the batches of an epoch; neutral rows run ahead where each batch's negatives are chosen."""
        count = self.spec.batches[0]
        alone = [Batch("neutral", index, "train", epoch) for index in range(min(self.spec.ahead, count))]
        return alone + [Batch("joint", index, "train", epoch) for index in range(count)]

    def _scored(self, chapter: int) -> list[Batch]:
        """Return the batches that follow a chapter's training, in the name of its last epoch, or candidates its first.

        So these are as augmented as when they were first learnt from in the chapter, on every schedule.
        """
        spec, adaptive = self.spec, self.spec.adaptive
        last, found = spec.epochs_of(chapter)[-1], list[Batch]()
        if spec.chosen_after(chapter) is not None and adaptive is not None and adaptive.scores == "goodness":
            first = spec.epochs_of(chapter)[0]
            found += [Batch("candidates", index, "train", first) for index in range(spec.candidate_batches[0])]
        return found + [Batch(each.stream, each.index, each.split, last) for each in spec.scored_after(chapter)]
