"""One rank executing a schedule: the only place where the network and MPI meet."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..errors import Consequence, UserError
from ..network.parameters import Parameters
from ..network.transformed import TransformedInput
from ..rules import Rates
from ..run.kept import Target
from ..run.metrics import Measurements
from ..schedule import Schedule, Steps
from ..schedule import steps as s
from . import stop
from .batches import Batches
from .buffers import Buffers
from .collect import Collector
from .link import Link
from .model import RankModel
from .mpi import make_progress, meanwhile

if TYPE_CHECKING:
    from .memory import Price

#: Seconds between two updates that somebody is told of.
_EVERY = 0.2


class Worker:
    """A method for each kind of step, and what lies between two steps on one rank."""

    def __init__(self, comm: Any, model: RankModel, schedule: Schedule, prices: Sequence[Price] = ()) -> None:
        """Make buffers and links for what `schedule` lets this rank of `comm` do.

        `prices` are what each rank needs of memory, if it is to be told.
        """
        self.comm, self.model, self.schedule, self.prices = comm, model, schedule, prices
        self.config, self.dataset, self.rule = model.config, model.dataset, model.config.rule
        self._last = len(self.config.network.layers) - 1
        self._scored = {*s.LAYERS_SCORED, *(s.LEARNT if self.rule.scores_training else ())}
        self._own_scores: np.ndarray | None = None  # what the layer says that was scored last
        # Where a rule says nothing of its own its layers do it.
        self._own_forward, self._own_sums = self.rule.overrides("forward"), self.rule.overrides("learning_partial")
        self._rated, self._rates = -1, Rates(0, 0)  # an epoch, and its learning rates
        self.batches = Batches(model, schedule.spec)
        self.buffers = Buffers(comm, model, schedule, self.batches)
        rows, transforms = model.layout.most_rows, self.config.network.transforms
        #: The inputs of layers that learn from transformed ones.
        self._transformed = {k: TransformedInput(self.config, k, rows) for k in model.trained if k > 0 and transforms}
        self.snapshots: dict[tuple[int, int], dict[str, Parameters]] = {}
        self.collector = Collector(comm, model, len(schedule.links))
        self.measurements = self.collector.measurements()
        self.spent: dict[type, float] = defaultdict(float)
        self.flop = 0.0
        self.on_update: Callable[[s.Update], None] | None = None  # told of one now and then
        self.on_report: Callable[[int, Measurements], None] = lambda chapter, measurements: None
        self.on_save: Callable[[int], Target | None] = lambda chapter: None
        self._do: dict[type, Callable[[Any], None]] = {
            s.SetEpoch: lambda step: self.batches.set_epoch(step.epoch, step.chapter, step.shard),
            s.BuildInput: self.batches.build_input,
            s.Post: self.buffers.post,
            s.Receive: self.buffers.receive,
            s.Reuse: self.buffers.use,
            s.Reserve: self.buffers.reserve,
            s.Send: self.buffers.send,
            s.Forward: self._forward,
            s.Update: self._update,
            s.FinishEpoch: self._finish_epoch,
            s.StashActivations: self.buffers.stash,
            s.LoadActivations: self.buffers.load,
            s.FreeActivations: self.buffers.free,
            s.TakeSnapshot: self._take_snapshot,
            s.FreeSnapshot: self._free_snapshot,
            s.GatherHeadInput: self._gather_head_input,
            s.UpdateHead: self._update_head,
            s.SelectNegatives: self._select_negatives,
            s.Evaluate: self._evaluate,
            s.Report: self._report,
            s.Record: lambda step: self.on_report(step.chapter, self.collector.record(step.ranks)),
            s.Save: self._save,
        }

    def execute(self, steps: Steps) -> None:
        """Carry out `steps` to the end; messages travel between them."""
        advance = make_progress(self.comm) if self.comm.size > 1 else None
        stop.defer()  # what a signal would tear apart here, other ranks would wait for
        do, spent, signals, clock, collector = self._do, self.spent, stop.signals, time.perf_counter, self.collector
        before = told = self._began = self._start = clock()
        meanwhile.append(collector.advance)
        try:
            for step in steps:
                kind = type(step)
                do[kind](step)
                if advance:
                    advance()
                if signals:
                    stop.check()
                now = clock()
                spent[kind] += now - before
                before = now
                if collector.saving:
                    collector.advance()
                    before = clock()
                    spent[s.Save] += before - now
                if now - told > _EVERY and self.on_update and isinstance(step, s.Update):
                    told = now
                    self.on_update(step)
            collector.close()
        except BaseException:
            ends: list[Collector | Link] = [self.collector, *self.buffers.links.values()]
            for end in ends:
                for left, requests in zip(stop.unfinished, end.pending, strict=True):
                    left.extend(requests)
            raise
        finally:
            meanwhile.remove(collector.advance)

    # -- Layers -------------------------------------------------------------------------------------------------------
    def _forward(self, step: s.Forward) -> None:
        """Compute a layer's output for a batch, and what it says of the rows."""
        index, batch, batches, buffers = step.layer, step.batch, self.batches, self.buffers
        rows = (batches.content if batch is batches.batch else batches.take(batch)).rows
        layer, a, training = self.model.layers[index], buffers.held[index - 1], step.epoch is not None
        out = buffers.held[index] = buffers.reserved.pop(index, buffers.own[index])
        now = layer.blocks
        if step.chapter is not None:  # its weights as they were then
            self.model.use(index, self.snapshots[index, step.chapter])
        if step.epoch is not None and index in self._transformed:
            a = self._transformed[index].of(a, rows, *batches.keys(batch), step.epoch)
        if self._own_forward:
            weights = self._weights(batch, step.epoch) if self.dataset.weighted and step.epoch is not None else None
            training = training and (weights is None or bool(weights.any()))
            self.flop += self.rule.forward(layer, a, out, rows, training, weights)
        else:
            self.flop += layer.forward(a, out, rows)
        if batch.stream in self._scored:
            self._own_scores = layer.score(a, out, rows)
        if step.chapter is not None:
            layer.use(now)

    def _update(self, step: s.Update) -> None:
        index, epoch, rule, batches, held = step.layer, step.epoch, self.rule, self.batches, self.buffers.held
        layer, a, out = self.model.layers[index], held[index - 1], held[index]
        if index in self._transformed:
            a = self._transformed[index].made
        targets = batches.targets
        if step.batch is not batches.targeted or epoch != targets.epoch:
            targets = batches.target(step.batch, epoch)
        rows = targets.count * batches.layout.layout.rows
        if targets.weights is not None and not targets.weights.any():
            return  # nothing is learnt from samples that do not count
        if self._own_sums:
            sums = rule.learning_partial(layer, out, targets, rows)[0]
        else:
            sums = rule.partial(layer, out, rows)[0]
        loss = rule.learn(layer, a, out, sums, targets, self._rates if epoch == self._rated else self._rate(epoch))
        if not math.isfinite(loss.loss + sum(loss.measures)):
            squares = a.total[:rows] if index > 0 else None
            raise self._diverged(f"layer {index + 1}", step, loss.loss, "optimizer", squares)
        self.flop += loss.flop
        self.measurements.layers[index] += (loss.loss, *loss.measures, loss.rows, loss.active)

    def _weights(self, batch: s.Batch, epoch: int) -> np.ndarray | None:
        """Return how often each sample of a batch counts that a layer is about to learn from."""
        batches = self.batches
        known = batch is batches.targeted and epoch == batches.targets.epoch
        return (batches.targets if known else batches.target(batch, epoch)).weights

    def _finish_epoch(self, step: s.FinishEpoch) -> None:
        layer = self.model.layers[step.layer]
        self.rule.finish(layer, self.rule.epoch_partial(layer)[0], step.epoch)

    def _rate(self, epoch: int) -> Rates:
        """Return the learning rates of `epoch`."""
        factor = self.config.learning_rate.factor(epoch, self.config.train.epochs)
        each = (optimizer.learning_rate * factor for optimizer in (self.config.optimizer, self.config.head.optimizer))
        self._rated, self._rates = epoch, Rates(*each)
        return self._rates

    def _diverged(
        self, who: str, step: s.Update | s.UpdateHead, loss: float, optimizer: str, squares: np.ndarray | None
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
        states = self.model.states(step.stage)
        self.snapshots[step.stage, step.chapter] = {name: parameters.copy() for name, parameters in states.items()}

    def _free_snapshot(self, step: s.FreeSnapshot) -> None:
        del self.snapshots[step.stage, step.chapter]

    # -- Classifiers --------------------------------------------------------------------------------------------------
    def _gather_head_input(self, step: s.GatherHeadInput) -> None:
        layer, batches, buffers = step.layer, self.batches, self.buffers
        content = batches.content if step.batch is batches.batch else batches.take(step.batch)
        if layer in buffers.own_neutral:
            buffers.collected[layer] = buffers.own_neutral[layer]
        source, target = buffers.held[layer], buffers.collected[layer]
        kernels.copy_rows(source.h, source.total, content.head_row, content.head_rows, target.h, target.total)

    def _update_head(self, step: s.UpdateHead) -> None:
        head, batches, samples, epoch = self.model.head, self.batches, self.batches.samples, step.epoch
        assert head is not None and samples is not None
        content = batches.content if step.batch is batches.batch else batches.take(step.batch)
        labels, collected, count = samples.labels, self.buffers.collected, content.read
        shown = labels.order[content.read_first : content.read_first + count]
        weights, share = (None, count / len(labels.order)) if labels.weights is None else labels.weigh(shown)
        head.forward(collected, count)
        loss, correct = head.loss(labels.classes[shown], weights)
        if not math.isfinite(loss):
            squares = np.concatenate([a.total[:count] for a in collected.values()])
            raise self._diverged("softmax head", step, loss, "head.optimizer", squares)
        rate = (self._rates if epoch == self._rated else self._rate(epoch)).head
        counts = weights is None or weights.any()
        if counts:
            if head.once_an_epoch:
                head.accumulate(collected, count, share)
            else:
                head.step(collected, count, rate)
            self.measurements.head += (loss, correct, count)
        if head.once_an_epoch and step.last:
            head.step_on_epoch(rate)

    def _select_negatives(self, step: s.SelectNegatives) -> None:
        samples = self.batches.of(step.batch) if step.index is None else self.batches.labels.batch(step.index)
        if step.batch.stream == "candidates":
            wrong = self.dataset.classes - 1
            scores = self._last_scores(len(samples) * wrong).reshape(-1, wrong)
        else:
            assert self.model.head is not None
            scores = self.model.head.logits(len(samples))
        if step.index is None:
            self.batches.labels.choose(step.chapter, samples, scores)
        else:
            self.batches.labels.choose_now(samples, scores)

    def _last_scores(self, rows: int) -> np.ndarray:
        return self.buffers.held[self._last].score[:rows]

    def _evaluate(self, step: s.Evaluate) -> None:
        samples, split = self.batches.of(step.batch), step.batch.split
        count = len(samples)
        found: dict[str, np.ndarray] = {}
        if step.batch.stream == "softmax":
            assert self.model.head is not None
            self.model.head.forward(self.buffers.collected, count)
            found["softmax"] = self.model.head.logits(count)
        elif step.batch.stream == "goodness":
            found["goodness"] = self._last_scores(count * self.dataset.classes).reshape(count, -1)
        else:
            assert self._own_scores is not None
            both = {"last-layer": self._own_scores, "all-layers": self._last_scores(count)}
            found = {method: both[method] for method in self.config.methods}
        for method, scores in found.items():
            right = scores.argmax(axis=1) == self.model.scored[split].labels.classes[samples]
            self.measurements.add_scores(split, method, int(right.sum()), count)

    # -- Bringing together --------------------------------------------------------------------------------------------
    def _report(self, step: s.Report) -> None:
        now = time.perf_counter()
        waiting = sum(self.spent[kind] for kind in (s.Receive, s.Reserve))
        computing = sum(
            self.spent[kind]
            for kind in (
                s.BuildInput,
                s.Forward,
                s.Update,
                s.FinishEpoch,
                s.StashActivations,
                s.GatherHeadInput,
                s.UpdateHead,
                s.SelectNegatives,
                s.Evaluate,
            )
        )
        numbers = {"elapsed": now - self._start, "seconds": now - self._began, "computing": computing}
        priced = self.prices[self.comm.rank].total if self.prices else 0.0
        numbers |= {"waiting": waiting, "flop": self.flop, "priced_bytes": priced}
        self.collector.report(self.measurements, numbers | self.model.memory(self.buffers.nbytes))
        self.measurements = self.collector.measurements()
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
        if self.batches.samples:
            self.batches.labels.forget(step.chapter)
