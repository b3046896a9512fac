"""One rank executing a schedule: the only place where the network and MPI meet."""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import kernels
from .checkpoint import Writer
from .errors import UserError
from .gather import Gather
from .holdings import Holdings, Samples
from .inputs import Labels
from .layer import Activations, Parameters, rate_at
from .link import Link
from .metrics import METHODS, Measurements
from .mpi import Driver
from .problem import images_at_once
from .rules import goodness, judge
from .schedule import Schedule, Steps
from .schedule import steps as s


class Worker:
    """A method for each kind of step, and what lies between two steps on one rank."""

    def __init__(self, comm: Any, holdings: Holdings, schedule: Schedule) -> None:
        """Make buffers and links for what `schedule` lets this rank of `comm` do."""
        self.comm, self.holdings, self.schedule = comm, holdings, schedule
        self.config, self.problem = holdings.config, holdings.problem
        # What each layer has put out, and where it puts out next: into its own memory, or for once into a link's.
        self.own = {layer: holdings.activations(layer) for layer in holdings.layers}
        self.held: dict[int, Activations] = dict(self.own)
        if holdings.inputs:
            self.held[-1] = holdings.inputs
        self.reserved: dict[int, Activations] = {}
        self.kept: dict[tuple[int, s.Batch], Activations] = {}
        self.spare: dict[int, list[Activations]] = defaultdict(list)
        self.remembered: dict[tuple[int, int], dict[str, Parameters]] = {}
        # The same for the neutral rows that the head reads.
        self.head_inputs: dict[int, Activations] = {}
        if holdings.head:
            batch = self.config.train.batch
            self.head_inputs = {layer: holdings.activations(layer, batch) for layer in self.config.head_layers}
        self.collected = dict(self.head_inputs)
        self.slopes = {layer: holdings.activations(layer) for layer in holdings.classifiers}
        self.contents: dict[tuple[s.LinkId, int], Any] = {}
        self.links: dict[s.LinkId, Link] = {}
        for tag, link in enumerate(schedule.links):
            if comm.rank in (link.source, link.target):
                self.links[link] = self._connect(link, tag)
        self.samples: Samples | None = next(iter(holdings.samples.values()), None)
        self.scores = np.zeros((self.problem.test, self.problem.classes), np.float32)
        self.measurements = Measurements.zeros(len(self.config.network.layers), comm.size)
        self.gather = Gather(comm, holdings, self.measurements)
        self.wanted: str | None = None  # the method whose scores are kept; otherwise the last one's are
        self.spent: dict[type, float] = {}
        self.flop = 0.0
        self.epoch = 0
        self.on_batch: Callable[[int, int], None] = lambda epoch, index: None
        self.on_report: Callable[[int, Measurements], None] = lambda chapter, measurements: None
        self.on_save: Callable[[int], Writer | None] = lambda chapter: None
        self._do: dict[type, Callable[[Any], None]] = {
            s.Renew: self._renew,
            s.Compose: self._compose,
            s.Post: lambda step: self.links[step.link].post(step.slot),
            s.Receive: self._receive,
            s.Again: self._use,
            s.Reserve: self._reserve,
            s.Send: self._send,
            s.Forward: self._forward,
            s.Update: self._update,
            s.Keep: self._keep,
            s.Take: self._take,
            s.Drop: self._drop,
            s.Remember: self._remember,
            s.Forget: self._forget,
            s.Collect: self._collect,
            s.Learn: self._learn,
            s.Choose: self._choose,
            s.Score: self._score,
            s.Report: self._report,
            s.Record: lambda step: self.on_report(step.chapter, self.gather.record(step.ranks)),
            s.Save: self._save,
        }

    def execute(self, steps: Steps) -> None:
        """Carry out `steps` to the end; messages travel meanwhile."""
        driver = Driver(self.comm)
        try:
            before = self._began = self._start = time.perf_counter()
            for step in steps:
                kind = type(step)
                self._do[kind](step)
                now = time.perf_counter()
                self.spent[kind] = self.spent.get(kind, 0.0) + now - before
                before = now
            self.gather.close()
        finally:
            driver.close()

    # -- Batches ------------------------------------------------------------------------------------------------------
    @property
    def labels(self) -> Labels:
        """The labels of the samples in use."""
        assert self.samples is not None
        return self.samples.labels

    def _renew(self, step: s.Renew) -> None:
        self.epoch = step.epoch
        if step.shard in self.holdings.samples:
            self.samples = self.holdings.samples[step.shard]
            self.samples.labels.renew(step.epoch, step.chapter)

    def _of(self, batch: s.Batch) -> np.ndarray:
        """Return the samples of a batch, int64."""
        size, held_out = self.config.train.batch, batch.stream in s.HELD_OUT
        if batch.stream in ("goodness", "candidates"):
            size = images_at_once(self.config, self.problem.classes)
        if held_out:
            first = batch.index * size
            return np.arange(first, min(first + size, self.problem.test))
        order, index = self.labels.order, batch.index
        if batch.stream == "lesson":  # one of a later epoch's may be numbered on
            index %= -(-len(order) // size)
        return order[index * size : (index + 1) * size]

    def _neutral_of(self, batch: s.Batch, samples: np.ndarray) -> np.ndarray:
        """Return the samples whose neutral inputs come with a training batch: its own `samples`, or later ones."""
        work = self.schedule.work
        if not work.for_head(batch):
            return samples[:0]
        return self._of(s.Batch("neutral", batch.index + work.ahead)) if work.ahead else samples

    def _riders(self, batch: s.Batch) -> int:
        """Return how many neutral inputs come with a batch of lessons."""
        work = self.schedule.work
        return self._count(s.Batch("neutral", batch.index + work.ahead)) if work.for_head(batch) else 0

    def _count(self, batch: s.Batch) -> int:
        """Return the number of samples of a batch, which need not be here."""
        if batch.stream in s.HELD_OUT or self.samples is not None:
            return len(self._of(batch))
        size = self.config.train.batch
        if batch.stream == "candidates":
            size = images_at_once(self.config, self.problem.classes)
        first = batch.index % -(-self.problem.train // size) * size
        return min(size, self.problem.train - first)

    def _rows(self, batch: s.Batch) -> int:
        count = self._count(batch)
        if batch.stream in ("lesson", "train"):
            return count * (1 if self.config.local else 2) + (self._riders(batch) if batch.stream == "train" else 0)
        return count * (self.problem.classes if batch.stream in ("goodness", "candidates") else 1)

    def _compose(self, step: s.Compose) -> None:
        batch, out, held_out = step.batch, self.holdings.inputs, step.batch.stream in s.HELD_OUT
        source = self.holdings.test if held_out else self.samples
        assert out is not None and source is not None and source.composer is not None
        samples = self._of(batch)
        if self.config.local:
            source.composer.plain(samples, out)
        elif batch.stream in ("lesson", "train"):
            source.composer.pairs(samples, self.labels, self._neutral_of(batch, samples), out)
        elif batch.stream in ("goodness", "candidates"):
            source.composer.candidates(samples, out)
        else:
            source.composer.neutral(samples, out)
        if not held_out:
            self.on_batch(self.epoch, batch.index)

    # -- Links --------------------------------------------------------------------------------------------------------
    def _connect(self, link: s.LinkId, tag: int) -> Link:
        """Make the buffers of this rank's end: memory of their own, or the layer's weights themselves."""
        sends, stage = link.source == self.comm.rank, link.stage
        parts: list[list[np.ndarray]] = []
        for slot in range(link.depth if sends else link.room):
            content: Any = None
            if link.cargo == "state":
                part = [parameters.flat for parameters in self.holdings.states(stage).values()]
            elif link.cargo == "weights":
                content = self.holdings.states(stage) if sends else self.holdings.copies(stage)
                part = [parameters.plain for parameters in content.values()]
            elif link.cargo == "negatives":
                each_batch = self.schedule.work.ahead > 0
                content = np.zeros(self.config.train.batch if each_batch else self.problem.train, np.uint8)
                part = [content]
            else:
                content = self.holdings.activations(stage, self.config.train.batch if link.cargo == "neutral" else None)
                part = [content.flat]
            self.contents[link, slot] = content
            parts.append(part)
        peer = link.target if sends else link.source
        return Link(self.comm, peer, tag, parts, self.config.schedule.timeout)

    def _receive(self, step: s.Receive) -> None:
        self.links[step.link].wait(step.slot)
        self._use(step)

    def _use(self, step: s.Receive | s.Again) -> None:
        link, content = step.link, self.contents[step.link, step.slot]
        if link.cargo == "neutral":
            self.collected[link.stage] = content
        elif link.cargo in ("activations", "lessons"):
            self.held[link.stage] = content
        elif link.cargo == "weights":
            self.holdings.use(link.stage, content)
        elif link.cargo == "negatives":
            assert isinstance(step.item, s.Choice)
            if step.item.batch is None:
                self.labels.choices[step.item.chapter] = content.copy()
            else:
                samples = self.labels.batch(step.item.batch)
                self.labels.negatives[samples] = content[: len(samples)]

    def _reserve(self, step: s.Reserve) -> None:
        link, content = step.link, self.contents[step.link, step.slot]
        self.links[link].wait(step.slot)
        if link.cargo == "neutral":
            self.collected[link.stage] = content
        elif link.cargo in ("activations", "lessons"):
            self.reserved[link.stage] = content

    def _send(self, step: s.Send) -> None:
        if step.link.cargo == "negatives":
            assert isinstance(step.item, s.Choice)
            content = self.contents[step.link, step.slot]
            if step.item.batch is None:
                content[:] = self.labels.choices[step.item.chapter]
            else:
                samples = self.labels.batch(step.item.batch)
                content[: len(samples)] = self.labels.negatives[samples]
        self.links[step.link].send(step.slot)

    # -- Layers -------------------------------------------------------------------------------------------------------
    @contextmanager
    def _as_after(self, layer: int, chapter: int | None) -> Iterator[None]:
        """Use a layer as it was after `chapter`."""
        if chapter is None:
            yield
            return
        now = self.holdings.states(layer)
        self.holdings.use(layer, self.remembered[layer, chapter])
        yield
        self.holdings.use(layer, now)

    def _forward(self, step: s.Forward) -> None:
        index, rows = step.layer, self._rows(step.batch)
        a, out = self.held[index - 1], self.reserved.pop(index, None) or self.own[index]
        self.held[index] = out
        with self._as_after(index, step.chapter):
            layer = self.holdings.layers[index]
            self.flop += layer.forward(a, out, rows)
            if step.batch.stream == "local":
                classifier = self.holdings.classifiers[index]
                classifier.forward({index: out}, rows)
                out.score[:rows] = classifier.logits(rows)
                if index > 0:
                    out.score[:rows] += a.score[:rows]
        if step.batch.stream in ("goodness", "candidates"):
            out.score[:rows] = a.score[:rows] if index > 0 else 0
            if index >= min(1, len(self.config.network.layers) - 1):
                out.score[:rows, 0] += goodness(self.config.rule, out.total[:rows], layer.units)

    def _update(self, step: s.Update) -> None:
        layer, rate = self.holdings.layers[step.layer], rate_at(self.config, self.config.optimizer, step.epoch)
        a, out = self.held[step.layer - 1], self.held[step.layer]
        if self.config.local:
            self._update_local(step, rate)
            return
        pairs = self._count(step.batch)
        said = judge(self.config.rule, out.total[: 2 * pairs], layer.units, pairs)
        # A loss of zero may come from a goodness that has overflowed.
        if not math.isfinite(said.loss + said.positive_goodness + said.negative_goodness):
            raise self._diverged(
                f"layer {step.layer + 1}", step, said.loss, f"optimizer.rate = {self.config.optimizer.rate:g}"
            )
        self.flop += layer.update(a, out.h, said.coefficients, rate)
        goodnesses = said.positive_goodness, said.negative_goodness
        self.measurements.add_layer(step.layer, said.loss, *goodnesses, 0, 2 * pairs, said.active)

    def _update_local(self, step: s.Update, rate: float) -> None:
        """Let a layer and its classifier learn together (paper, section 4.4)."""
        index, classifier, slopes = step.layer, self.holdings.classifiers[step.layer], self.slopes[step.layer]
        layer, a, out = self.holdings.layers[index], self.held[index - 1], self.held[index]
        classes = self.labels.classes[self._of(step.batch)]
        rows = len(classes)
        classifier.forward({index: out}, rows)
        said = classifier.judge(classes)
        if not math.isfinite(said.loss):
            raise self._diverged(
                f"layer {index + 1}", step, said.loss, f"optimizer.rate = {self.config.optimizer.rate:g}"
            )
        classifier.backward(index, out.h, rows, slopes.h)
        classifier.step({index: out}, rows, rate_at(self.config, self.config.head.optimizer, step.epoch))
        self.flop += layer.update(a, slopes.h, np.ones(rows, np.float32), rate)
        self.measurements.add_layer(index, said.loss, 0, 0, said.correct, rows, rows)

    def _diverged(self, who: str, step: s.Update | s.Learn, loss: float, setting: str) -> UserError:
        index = step.batch.index % (-(-self.problem.train // self.config.train.batch))
        return UserError(
            f"{who}, epoch {step.epoch + 1}, batch {index + 1}: loss {loss}; expected a finite one: lower {setting}"
        )

    def _keep(self, step: s.Keep) -> None:
        layer = step.layer
        self.kept[layer, step.batch] = self.held[layer]
        spare = self.spare[self.held[layer].units]
        self.own[layer] = spare.pop() if spare else self.holdings.activations(layer)

    def _take(self, step: s.Take) -> None:
        self.held[step.layer] = self.kept[step.layer, step.batch]

    def _drop(self, step: s.Drop) -> None:
        buffer = self.kept.pop((step.layer, step.batch))
        self.spare[buffer.units].append(buffer)

    def _remember(self, step: s.Remember) -> None:
        states = self.holdings.states(step.stage)
        self.remembered[step.stage, step.chapter] = {name: parameters.copy() for name, parameters in states.items()}

    def _forget(self, step: s.Forget) -> None:
        del self.remembered[step.stage, step.chapter]

    # -- Classifiers --------------------------------------------------------------------------------------------------
    def _collect(self, step: s.Collect) -> None:
        riding = step.batch.stream == "train"
        count = self._riders(step.batch) if riding else self._count(step.batch)
        first = 2 * self._count(step.batch) if riding else 0
        if self.holdings.head:
            self.collected[step.layer] = self.head_inputs[step.layer]
        source, target = self.held[step.layer], self.collected[step.layer]
        kernels.copy_rows(source.h, source.total, first, count, target.h, target.total)

    def _learn(self, step: s.Learn) -> None:
        head = self.holdings.head
        assert head is not None
        samples = self._of(step.batch)
        if step.batch.stream == "train":
            samples = self._neutral_of(step.batch, samples)
        classes = self.labels.classes[samples]
        head.forward(self.collected, len(classes))
        said = head.judge(classes)
        if not math.isfinite(said.loss):
            rate = self.config.head.optimizer.rate
            raise self._diverged("softmax head", step, said.loss, f"head.optimizer.rate = {rate:g}")
        head.step(self.collected, len(classes), rate_at(self.config, self.config.head.optimizer, step.epoch))
        self.measurements.add_head(said.loss, said.correct, len(classes))

    def _choose(self, step: s.Choose) -> None:
        samples = self._of(step.batch) if step.index is None else self.labels.batch(step.index)
        if step.batch.stream == "candidates":
            scores = self._last_scores(len(samples) * self.problem.classes).reshape(len(samples), -1)
        else:
            assert self.holdings.head is not None
            scores = self.holdings.head.logits(len(samples))
        if step.index is None:
            self.labels.choose(step.chapter, samples, scores)
        else:
            self.labels.choose_now(samples, scores)

    def _last_scores(self, rows: int) -> np.ndarray:
        return self.held[len(self.config.network.layers) - 1].score[:rows]

    def _score(self, step: s.Score) -> None:
        samples, last = self._of(step.batch), len(self.config.network.layers) - 1
        count = len(samples)
        found: dict[str, np.ndarray] = {}
        if step.batch.stream == "softmax":
            assert self.holdings.head is not None
            self.holdings.head.forward(self.collected, count)
            found["softmax"] = self.holdings.head.logits(count)
        elif step.batch.stream == "goodness":
            found["goodness"] = self._last_scores(count * self.problem.classes).reshape(count, -1)
        else:
            both = {"last-layer": self.holdings.classifiers[last].logits(count), "all-layers": self._last_scores(count)}
            found = {method: both[method] for method in self.config.methods}
        for method, scores in found.items():
            if method == self.wanted or self.wanted is None:
                self.scores[samples] = scores
            test = self.holdings.test
            if test is not None and len(test.labels.classes):  # none when images are to be classified
                correct = np.count_nonzero(scores.argmax(axis=1) == test.labels.classes[samples])
                self.measurements.held_out[METHODS.index(method)] += (correct, count)

    # -- Bringing together --------------------------------------------------------------------------------------------
    def _report(self, step: s.Report) -> None:
        now = time.perf_counter()
        waiting = sum(self.spent.get(kind, 0.0) for kind in (s.Receive, s.Reserve))
        computing = sum(
            self.spent.get(kind, 0.0)
            for kind in (s.Compose, s.Forward, s.Update, s.Keep, s.Collect, s.Learn, s.Choose, s.Score)
        )
        buffers = sum(link.nbytes for link in self.links.values())
        buffers += sum(
            part.flat.nbytes for part in [*self.kept.values(), *itertools.chain.from_iterable(self.spare.values())]
        )
        numbers = {"elapsed": now - self._start, "seconds": now - self._began, "computing": computing}
        self.gather.report(numbers | {"waiting": waiting, "flop": self.flop} | self.holdings.memory(buffers))
        self.spent.clear()
        self.flop = 0.0
        self._began = now

    def _save(self, step: s.Save) -> None:
        writer = self.on_save(step.chapter) if self.comm.rank == 0 else None
        choices = self.labels.choices if self.comm.rank == 0 and self.samples else {}
        self.gather.save(step, writer, self.remembered, choices)
        if self.samples:
            self.labels.forget(step.chapter)
