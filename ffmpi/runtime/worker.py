"""One rank executing a schedule: the only place where the network and MPI meet."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Consequence, UserError
from ..network.activations import Activations
from ..network.parameters import Parameters
from ..network.transformed import TransformedInput
from ..rules import Rates
from ..run.kept import Target
from ..run.metrics import Measurements
from ..schedule import Pipeline, Schedule, Steps
from ..schedule import steps as s
from ..schedule.totals import Balance
from . import stop
from .batches import Batches
from .buffers import Buffers
from .collect import Collector
from .flow import Flow
from .link import Link, SharedLink
from .made import Made
from .model import RankModel
from .mpi import make_progress, meanwhile
from .pulse import TOLD, Pulse
from .sizes import expected_balance

if TYPE_CHECKING:
    from .memory import Price
    from .recorder import Recorder

_WAITING = (s.Receive, s.Reserve)  # for messages
_NOT_COMPUTING = {*_WAITING, s.Post, s.Send, s.Save, s.Report, s.Record}
#: Seconds after which messages are moved again: several steps may be shorter.
_PROGRESS = 1e-4
#: What a rank does for a save between two steps.
_SAVING = s.Save(-1, ())
#: With one of these a rule adds up more over a layer's units than squares.
_SUMS, _NOTHING = ("partial", "learning_partial"), np.empty(0, np.float32)


class Worker:
    """A method for each kind of step, and what lies between two steps on one rank."""

    def __init__(self, comm: Any, model: RankModel, schedule: Schedule, prices: Sequence[Price] = ()) -> None:
        """Make buffers and links for what `schedule` lets this rank of `comm` do.

        `prices` are what each rank needs of memory, if it is to be told.
        """
        self.comm, self.model, self.schedule, self.prices = comm, model, schedule, prices
        self.config, self.dataset, self.rule = model.config, model.dataset, model.config.rule
        self._by_batch = by_batch = isinstance(schedule, Pipeline)
        #: Streams of which a layer's scores follow at once; the pipeline has a step for them.
        self._scored = set() if by_batch else {*s.LAYERS_SCORED, *(s.LEARNT if self.rule.scores_training else ())}
        self._own_scores: np.ndarray | None = None  # what the layer says that was scored last
        # Where a rule says nothing of its own its layers do it.
        self._own_forward, self._own_sums = self.rule.overrides("forward"), any(map(self.rule.overrides, _SUMS))
        self._rated, self._rates = -1, Rates(0, 0)  # an epoch, and its learning rates
        self.batches = Batches(model, schedule.spec)
        self.buffers: Buffers | Flow
        if isinstance(schedule, Pipeline):
            self.buffers = flow = Flow(comm, model, schedule, self.batches)
        else:
            self.buffers = buffers = Buffers(comm, model, schedule, self.batches)
        self.head = self.buffers.head
        rows, transforms = model.layout.most_rows, self.config.network.transforms
        #: The inputs of layers that learn from transformed ones.
        self._transformed = {k: TransformedInput(self.config, k, rows) for k in model.trained if k > 0 and transforms}
        self.snapshots: dict[tuple[int, int], dict[str, Parameters]] = {}
        self.collector = Collector(comm, model)
        #: By chapter, since a rank may have begun the next one; and by epoch those of its chapter.
        self._by_chapter = Made[int, Measurements](lambda chapter: self.collector.measurements())
        self.measured = Made(self._measured_in)
        self.spent: dict[type, float] = defaultdict(float)
        self.flop = 0.0
        self.recorder: Recorder | None = None  # of what is done when
        self.pulse: Pulse | None = None  # tells what this rank is doing
        self._before = (0.0, 0.0)  # seconds of computing, and FLOP, until the last report
        self.on_report: Callable[[int, Measurements], None] = lambda chapter, measurements: None
        self.on_save: Callable[[int], Target | None] = lambda chapter: None
        self._do: dict[type, Callable[[Any], None]] = {
            s.SetEpoch: self.batches.set_epoch,
            s.BuildInput: self.batches.build_input,
            s.Post: self.buffers.post,
            s.Receive: self.buffers.receive,
            s.Reserve: self.buffers.reserve,
            s.Send: self.buffers.send,
            s.Forward: self._forward,
            s.Update: self._update,
            s.FinishEpoch: self._finish_epoch,
            s.TakeSnapshot: self._take_snapshot,
            s.FreeSnapshot: self._free_snapshot,
            s.GatherHeadInput: self.buffers.gather,
            s.HeadError: self._head_error,
            s.UpdateHead: self._update_head,
            s.SelectNegatives: self._select_negatives,
            s.Evaluate: self._evaluate,
            s.Report: self._report,
            s.Record: lambda step: self.on_report(step.chapter, self.collector.record(step.ranks)),
            s.Save: self._save,
        }
        if self.head:
            self._do |= {s.Logits: self.head.logits, s.AddLogits: self.head.add_logits}
        if isinstance(schedule, Pipeline):
            self._do |= {
                s.FreeEpoch: self.batches.free_epoch, s.AddSums: flow.add_sums, s.AddScore: self._add_score,
            }  # fmt: skip
        else:
            self._do |= {
                s.Reuse: buffers.use, s.StashActivations: buffers.stash, s.LoadActivations: buffers.load,
                s.FreeActivations: buffers.free,
            }  # fmt: skip

    @cached_property
    def balance(self) -> Balance:
        """How the run's work is expected to be shared out between the ranks."""
        return expected_balance(self.config, self.dataset, self.schedule)

    def execute(self, steps: Steps) -> None:
        """Carry out `steps` to the end; messages travel between them."""
        advance = make_progress(self.comm) if self.comm.size > 1 else None
        stop.defer()  # what a signal would tear apart here, other ranks would wait for
        do, spent, signals, clock, collector = self._do, self.spent, stop.signals, time.perf_counter, self.collector
        record = self.recorder.record if self.recorder else None
        before = self._began = self._start = progressed = clock()
        pulse = self.pulse or Pulse(None, math.inf)
        pulse.begin(before, self._so_far)
        meanwhile.extend((collector.advance, pulse.wait))
        try:
            for step in steps:
                kind = type(step)
                do[kind](step)
                now = clock()
                if advance and now - progressed > _PROGRESS:
                    advance()
                    now = progressed = clock()
                if signals:
                    stop.check()
                spent[kind] += now - before
                if record:
                    record(step, before, now)
                before = now
                if collector.saving:
                    collector.advance()
                    before = clock()
                    spent[s.Save] += before - now
                    if record:
                        record(_SAVING, now, before)
                if now > pulse.due and kind in TOLD:
                    pulse.tell(step, now, self.schedule.spec.batches[self.batches.shard])
            collector.close()
            pulse.end(collector.timeout)
            self.buffers.finish()
        except BaseException as error:
            if isinstance(error, stop.Stopped) and error.number in stop.STATUS:
                collector.rescue()
            ends: list[Collector | Link | SharedLink] = [self.collector, *self.buffers.links.values()]
            for end in ends:
                for left, requests in zip(stop.unfinished, end.pending, strict=True):
                    left.extend(requests)
            raise
        finally:
            meanwhile.remove(collector.advance)
            meanwhile.remove(pulse.wait)

    def _so_far(self) -> tuple[float, float]:
        """Return the seconds of computing and the FLOP since the beginning."""
        computing, flop = self._before
        return computing + self._computing(), flop + self.flop

    def _computing(self) -> float:
        """Return the seconds of computing since the last report."""
        return sum(seconds for kind, seconds in self.spent.items() if kind not in _NOT_COMPUTING)

    # -- Layers -------------------------------------------------------------------------------------------------------
    def _forward(self, step: s.Forward) -> None:
        """Compute a piece's output for a batch, and its shares of what is added up over the layer."""
        index, batch, batches, buffers = step.layer, step.batch, self.batches, self.buffers
        a, out, rows = buffers.place(step)
        layer, epoch, weights = self.model.layers[index], step.epoch, None
        now, training = layer.blocks, epoch is not None
        if step.chapter is not None:  # its weights as they were then
            self.model.use(index, self.snapshots[index, step.chapter])
        if epoch is not None:
            if index in self._transformed:
                a = self._transformed[index].of(a, rows, *batches.keys(batch), epoch)
            if self._own_forward and self.dataset.weighted:
                weights = batches.targets(batch, epoch).weights
                training = weights is None or bool(weights.any())
        if self._own_forward:
            self.flop += self.rule.forward(layer, a, out, rows, training, weights)
        else:
            self.flop += layer.forward(a, out, rows)
        if not layer.whole:
            self._share(step, out)
        elif batch.stream in self._scored:
            self._own_scores = layer.score(a, out, rows)
        if step.chapter is not None:
            layer.use(now)

    def _share(self, step: s.Forward, out: Activations) -> None:
        """Leave this piece's share of what the rule adds up over the units of its layer."""
        layer, batch, rule = self.model.layers[step.layer], step.batch, self.rule
        assert isinstance(self.buffers, Flow)
        self.buffers.squares(step, layer.totals)
        if step.epoch is not None:
            targets = self.batches.targets(batch, step.epoch)
            if targets.weights is None or targets.weights.any():
                rows = targets.count * self.batches.layout.layout.rows
                self.buffers.share(step, rule.learning_partial(layer, out, targets, rows))
        elif batch.stream in s.LAYERS_SCORED:
            self.buffers.share(step, rule.partial(layer, out, self.batches.contents[batch].rows))

    def _add_score(self, step: s.AddScore) -> None:
        assert isinstance(self.buffers, Flow)
        layer, rows = self.model.layers[step.layer], self.batches.contents[step.batch].rows
        a, out = self.buffers.read(step)
        sums = None
        if not layer.whole:
            sums = self.buffers.sums(step, self.rule.share_size(layer.units, rows, layer.classes, learning=False))
        self._own_scores = layer.score(a, out, rows, sums)

    def _update(self, step: s.Update) -> None:
        index, epoch, rule, batches = step.layer, step.epoch, self.rule, self.batches
        layer, (a, out) = self.model.layers[index], self.buffers.read(step)
        if index in self._transformed:
            a = self._transformed[index].made
        known_targets = batches.known_targets.get(step.batch)
        targets = (
            known_targets if known_targets and known_targets.epoch == epoch else batches.targets(step.batch, epoch)
        )
        rows = targets.count * batches.layout.layout.rows
        if targets.weights is not None and not targets.weights.any():
            return  # nothing is learnt from samples that do not count
        if layer.whole:
            sums = rule.learning_partial(layer, out, targets, rows)[0] if self._own_sums else _NOTHING
        else:
            assert isinstance(self.buffers, Flow)
            sums = self.buffers.sums(step, rule.share_size(layer.units, rows, layer.classes, learning=True))
        loss = rule.learn(layer, a, out, sums, targets, self._rates if epoch == self._rated else self._rate(epoch))
        if not math.isfinite(loss.loss + sum(loss.measures)):
            squares = a.total[:rows] if index > 0 else None
            raise self._diverged(f"layer {index + 1}", step, loss.loss, "optimizer", squares)
        self.flop += loss.flop
        if layer.panels.start == 0:  # every piece knows the whole layer's
            learnt = self.measured[epoch].learnt[index]
            for place, number in enumerate((loss.loss, *loss.measures, loss.rows, loss.active)):
                learnt[place] += number

    def _finish_epoch(self, step: s.FinishEpoch) -> None:
        layer = self.model.layers[step.layer]
        self.rule.finish(layer, self.rule.epoch_partial(layer)[0], step.epoch)

    def _measured_in(self, epoch: int) -> Measurements:
        """Return the measurements of the chapter that `epoch` is in; without the pipeline a rank is in one only."""
        return self._by_chapter[epoch // self.schedule.spec.epochs_per_chapter if self._by_batch else 0]

    def _rate(self, epoch: int) -> Rates:
        """Return the learning rates of `epoch`."""
        factor = self.config.learning_rate.factor(epoch, self.config.train.epochs)
        each = (optimizer.learning_rate * factor for optimizer in (self.config.optimizer, self.config.head.optimizer))
        self._rated, self._rates = epoch, Rates(*each)
        return self._rates

    def _diverged(
        self, who: str, step: s.Update | s.HeadError, loss: float, optimizer: str, squares: np.ndarray | None
    ) -> UserError:
        """Return the error of a loss that is not finite; `squares` (rows,) are those of what was learnt from."""
        index = step.batch.index % self.schedule.spec.batches[self.batches.shard]
        rate = (self.config.optimizer if optimizer == "optimizer" else self.config.head.optimizer).learning_rate
        kind = UserError if squares is None or np.isfinite(squares).all() else Consequence
        return kind(
            f"{who}, epoch {step.epoch + 1}, batch {index + 1}: loss {loss}; expected a finite one: "
            f"lower {optimizer}.learning_rate = {rate:g}"
        )

    def _take_snapshot(self, step: s.TakeSnapshot) -> None:
        self.collector.finish()  # so that there are no copies but the schedule's
        self.snapshots[step.stage, step.chapter] = self.model.snapshot(step.stage)

    def _free_snapshot(self, step: s.FreeSnapshot) -> None:
        del self.snapshots[step.stage, step.chapter]

    # -- Classifiers --------------------------------------------------------------------------------------------------
    def _head_error(self, step: s.HeadError) -> None:
        assert self.head is not None
        shown, labels = self.batches.read_by_head(step.batch), self.batches.labels
        weights = None if labels.weights is None else labels.weigh(shown)[0]
        loss, correct = self.head.error(step, weights, labels.classes[shown])
        if not math.isfinite(loss):
            squares = self.head.totals[:, : len(shown)]
            raise self._diverged("softmax head", step, loss, "head.optimizer", squares)
        if weights is None or weights.any():
            self.measured[step.epoch].head += (loss, correct, len(shown))

    def _update_head(self, step: s.UpdateHead) -> None:
        assert self.head is not None
        epoch, counts, batches = step.epoch, True, self.batches
        share = batches.contents[step.batch].read / self.dataset.shards[batches.shard]
        if self.dataset.weighted:
            weights, share = batches.labels.weigh(batches.read_by_head(step.batch))
            counts = bool(weights.any())
        rate = (self._rates if epoch == self._rated else self._rate(epoch)).head
        self.head.update(step, rate, share, counts)

    def _select_negatives(self, step: s.SelectNegatives) -> None:
        batches, index = self.batches, step.index
        epoch = batches.epochs[step.batch.epoch]
        samples = batches.of(step.batch) if index is None else epoch.batch(index)
        if step.batch.stream == "candidates":
            wrong = self.dataset.classes - 1
            scores = self.buffers.scores(step.buffer)[: len(samples) * wrong].reshape(-1, wrong)
        else:
            assert self.head is not None
            scores = self.head.classifier.logits(len(samples))
        if index is None:
            batches.labels.choose(step.chapter, samples, scores)
        else:
            batches.labels.choose_now(epoch, samples, scores)

    def _evaluate(self, step: s.Evaluate) -> None:
        samples, split = self.batches.of(step.batch), step.batch.split
        count = len(samples)
        found: dict[str, np.ndarray] = {}
        if step.batch.stream == "softmax":
            assert self.head is not None
            found["softmax"] = self.head.classifier.logits(count)
        elif step.batch.stream == "goodness":
            found["goodness"] = self.buffers.scores(step.buffer)[: count * self.dataset.classes].reshape(count, -1)
        else:
            assert self._own_scores is not None
            both = {"last-layer": self._own_scores, "all-layers": self.buffers.scores(step.buffer)[:count]}
            found = {method: both[method] for method in self.config.methods}
        for method, scores in found.items():
            right = scores.argmax(axis=1) == self.model.scored[split].labels.classes[samples]
            self.measured[step.batch.epoch].add_scores(split, method, int(right.sum()), count)

    # -- Bringing together --------------------------------------------------------------------------------------------
    def _report(self, step: s.Report) -> None:
        now = time.perf_counter()
        waiting, computing = sum(self.spent[kind] for kind in _WAITING), self._computing()
        numbers = {"elapsed": now - self._start, "seconds": now - self._began, "computing": computing}
        priced = self.prices[self.comm.rank].total if self.prices else 0.0
        numbers |= {"waiting": waiting, "flop": self.flop, "priced_bytes": priced}
        measured = self.measured[step.chapter * self.schedule.spec.epochs_per_chapter]
        self.collector.report(measured, numbers | self.model.memory(self.buffers.nbytes))
        for kept in (self.measured, self._by_chapter):
            for key in [key for key, one in kept.items() if one is measured]:
                del kept[key]
        if self.recorder:
            self.recorder.add(self.spent)
        self._before = self._so_far()
        self.spent.clear()
        self.flop = 0.0
        self._began = now

        if self.comm.rank > 0 and self.batches.samples:  # rank 0 may have to save them
            self.batches.labels.forget(step.chapter)

    def _save(self, step: s.Save) -> None:
        self.collector.finish()
        writer = self.on_save(step.chapter) if self.comm.rank == 0 else None
        choices = self.batches.labels.choices if self.comm.rank == 0 and self.batches.samples else {}
        self.collector.save(step, writer, self.snapshots, choices)
        if self.recorder:
            self.recorder.keep()
        if self.batches.samples:
            self.batches.labels.forget(step.chapter)
