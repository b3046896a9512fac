"""One rank executing a schedule: the only place where the network and MPI meet."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from . import kernels
from .checkpoint import Writer, dtype_of
from .classify import Head
from .config import Config
from .data import DataSet
from .errors import UserError
from .inputs import Composer, Labels
from .layer import Activations, FirstLayer, Inputs, Layer, Parameters, rate_at, widths
from .link import Link
from .metrics import METHODS, RANK, Measurements
from .mpi import Driver, wait
from .problem import Problem, images_at_once, rows_of
from .rules import goodness, judge
from .schedule import Placement, Steps
from .schedule import steps as s

_SAVE = 10_000  # the tag of saving, beyond those of the links
_SAVED_AT_ONCE = 1 << 16  # numbers


class Worker:
    """The layers, links and data of one rank, and a method for each kind of step."""

    def __init__(
        self, comm: Any, config: Config, problem: Problem, placement: Placement, train: DataSet | None,
        test: DataSet | None,
    ) -> None:  # fmt: skip
        """Make the rank's share of the network.

        `train` and `test` have images on the rank of the first layer, classes where a head or a score needs them, and
        may be None where a rank needs neither.
        """
        self.comm, self.config, self.problem, self.placement = comm, config, problem, placement
        rank, rows, classes = comm.rank, rows_of(config, problem.classes), problem.classes
        sizes = widths(config, problem.pixels, classes)
        samples = max(config.train.batch, images_at_once(config, classes))
        self.layers = {i: Layer(config, i, sizes[i], rows) for i in placement.layers(rank) if i > 0}
        self.head = Head(config, classes, config.train.batch) if placement.head == rank else None
        # What each layer puts out just now; entries that belong to a link change with its slots.
        self.held = {layer: Activations(sizes[layer + 1], rows) for layer in placement.layers(rank)}
        if 0 in placement.layers(rank):
            self.layers[0] = FirstLayer(config, sizes[0], rows, samples)
            place = problem.pixels if config.data.label == "append" else 0
            self.held[-1] = self.inputs = Inputs(sizes[0], samples, place, classes)
        self.collected: dict[int, Activations] = {}
        self.links: dict[s.LinkId, Link] = {}
        for tag, link in enumerate(placement.links):
            if rank in (link.source, link.target):
                count = config.train.batch if link.neutral else rows
                buffers = [Activations(sizes[link.layer + 1], count) for _ in range(link.depth)]
                peer = link.target if rank == link.source else link.source
                self.links[link] = Link(comm, peer, tag, buffers, config.schedule.timeout)
        self.labels = None if train is None else Labels(config, train.classes, classes)
        self.test = test
        self.composers = {
            split: Composer(config, data)
            for split, data in (("train", train), ("test", test))
            if data is not None and data.images is not None
        }
        self.scores = np.zeros((problem.test, classes), np.float32)
        self.measurements = Measurements.zeros(len(config.network.layers), comm.size)
        self.parameter_sets = self._parameter_sets()
        self.data_bytes = sum(
            part.nbytes for data in (train, test) if data for part in (data.images, data.classes) if part is not None
        )
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
            s.Reserve: self._reserve,
            s.Send: lambda step: self.links[step.link].send(step.slot),
            s.Forward: self._forward,
            s.Update: self._update,
            s.Collect: self._collect,
            s.Learn: self._learn,
            s.Score: self._score,
            s.Report: self._report,
            s.Save: self._save,
        }

    def _parameter_sets(self) -> dict[str, Parameters]:
        """Return what a checkpoint holds of this rank, by name: ``layers/0``, ..., ``head/1``, ..."""
        sets = {f"layers/{index}": layer.parameters for index, layer in self.layers.items()}
        if self.head:
            sets |= {f"head/{layer}": block for layer, block in self.head.blocks.items()}
        return sets

    def execute(self, steps: Steps) -> None:
        """Carry out `steps` to the end; messages travel meanwhile."""
        driver = Driver(self.comm)
        try:
            before = self._began = time.perf_counter()
            for step in steps:
                kind = type(step)
                self._do[kind](step)
                now = time.perf_counter()
                self.spent[kind] = self.spent.get(kind, 0.0) + now - before
                before = now
        finally:
            driver.close()

    # -- Batches ------------------------------------------------------------------------------------------------------
    def _samples(self, batch: s.Batch) -> tuple[int, int]:
        """Return the first sample and the number of samples of a batch."""
        held_out = batch.stream in ("softmax", "goodness")
        size = self.config.train.batch
        if batch.stream == "goodness":
            size = images_at_once(self.config, self.problem.classes)
        total = self.problem.test if held_out else self.problem.train
        return batch.index * size, min(size, total - batch.index * size)

    def _rows(self, batch: s.Batch) -> int:
        shares = {"pairs": 2, "neutral": 1, "softmax": 1, "goodness": self.problem.classes}
        share = shares.get(batch.stream, 3 if self.config.head_layers else 2)
        return share * self._samples(batch)[1]

    def _renew(self, step: s.Renew) -> None:
        self.epoch = step.epoch
        if self.labels:
            self.labels.renew(step.epoch)

    def _compose(self, step: s.Compose) -> None:
        batch, out = step.batch, self.inputs
        if batch.stream in ("softmax", "goodness"):
            composer = self.composers["test"]
            fill = composer.neutral if batch.stream == "softmax" else composer.candidates
            fill(*self._samples(batch), out)
            return
        assert self.labels is not None
        self.composers["train"].training(self.labels, batch.index, batch.stream, bool(self.config.head_layers), out)
        self.on_batch(self.epoch, batch.index)

    # -- Links --------------------------------------------------------------------------------------------------------
    def _receive(self, step: s.Receive) -> None:
        buffer = self.links[step.link].wait(step.slot)
        (self.collected if step.link.neutral else self.held)[step.link.layer] = buffer

    def _reserve(self, step: s.Reserve) -> None:
        buffer = self.links[step.link].wait(step.slot)
        (self.collected if step.link.neutral else self.held)[step.link.layer] = buffer

    # -- Layers -------------------------------------------------------------------------------------------------------
    def _forward(self, step: s.Forward) -> None:
        layer, rows = self.layers[step.layer], self._rows(step.batch)
        a, out = self.held[step.layer - 1], self.held[step.layer]
        self.flop += layer.forward(a, out, rows)
        if step.batch.stream == "goodness":
            out.score[:rows] = a.score[:rows] if step.layer > 0 else 0
            if step.layer >= min(1, len(self.config.network.layers) - 1):
                out.score[:rows] += goodness(self.config.rule, out.total[:rows], layer.units)

    def _update(self, step: s.Update) -> None:
        layer, pairs = self.layers[step.layer], self._samples(step.batch)[1]
        a, out = self.held[step.layer - 1], self.held[step.layer]
        said = judge(self.config.rule, out.total[: 2 * pairs], layer.units, pairs)
        # A loss of zero may come from a goodness that has overflowed.
        if not math.isfinite(said.loss + said.positive_goodness + said.negative_goodness):
            raise UserError(
                f"layer {step.layer + 1}, epoch {step.epoch + 1}, batch {step.batch.index + 1}: loss {said.loss}; "
                f"expected a finite one: lower optimizer.rate = {self.config.optimizer.rate:g}"
            )
        rate = rate_at(self.config, self.config.optimizer, step.epoch)
        self.flop += layer.update(a, out, said.coefficients, rate)
        self.measurements.add_layer(
            step.layer, said.loss, said.positive_goodness, said.negative_goodness, 2 * pairs, said.active
        )

    # -- Classifiers --------------------------------------------------------------------------------------------------
    def _collect(self, step: s.Collect) -> None:
        count = self._samples(step.batch)[1]
        first = 2 * count if step.batch.stream == "train" else 0
        if self.head:
            self.collected[step.layer] = self.head.inputs[step.layer]
        source, target = self.held[step.layer], self.collected[step.layer]
        kernels.copy_rows(source.h, source.total, first, count, target.h, target.total)

    def _learn(self, step: s.Learn) -> None:
        assert self.head is not None
        assert self.labels is not None
        classes = self.labels.classes[self.labels.batch(step.batch.index)]
        said = self.head.learn(self.collected, classes, rate_at(self.config, self.config.head.optimizer, step.epoch))
        self.measurements.add_head(said.loss, said.correct, len(classes))

    def _score(self, step: s.Score) -> None:
        first, count = self._samples(step.batch)
        if step.batch.stream == "softmax":
            assert self.head is not None
            scores = self.head.scores(self.collected, count)
        else:
            classes = self.problem.classes
            scores = self.held[self.placement.work.layers - 1].score[: count * classes].reshape(count, classes)
        self.scores[first : first + count] = scores
        if self.test is not None and len(self.test.classes):  # none when images are to be classified
            correct = np.count_nonzero(scores.argmax(axis=1) == self.test.classes[first : first + count])
            self.measurements.held_out[METHODS.index(step.batch.stream)] += (correct, count)

    # -- Bringing together --------------------------------------------------------------------------------------------
    def memory(self) -> dict[str, float]:
        """Return this rank's memory in bytes: the peak so far, and what it owns."""
        weights = sum(parameters.nbytes for parameters in self.parameter_sets.values())
        links = sum(link.nbytes for link in self.links.values())
        return {
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
            "owned_bytes": float(weights + links + self.data_bytes),
            "weight_bytes": float(weights),
            "link_bytes": float(links),
            "data_bytes": float(self.data_bytes),
        }

    def _report(self, step: s.Report) -> None:
        waiting = sum(self.spent.get(kind, 0.0) for kind in (s.Receive, s.Reserve))
        computing = sum(
            self.spent.get(kind, 0.0) for kind in (s.Compose, s.Forward, s.Update, s.Collect, s.Learn, s.Score)
        )
        seconds = time.perf_counter() - self._began
        numbers = {"seconds": seconds, "computing": computing, "waiting": waiting, "flop": self.flop} | self.memory()
        self.measurements.ranks[self.comm.rank] = [numbers[name] for name in RANK]
        total = Measurements.zeros(len(self.measurements.layers), self.comm.size)
        wait(self.comm.Ireduce(self.measurements.flat, total.flat), self.config.schedule.timeout, "the measurements")
        if self.comm.rank == 0:
            self.on_report(step.chapter, total)
        self.measurements.flat[:] = 0
        self.spent.clear()
        self.flop = 0.0
        self._began = time.perf_counter()

    def _save(self, step: s.Save) -> None:
        """Bring every array to rank 0, a few rows at a time, in the order of the names: rank 0 never holds a layer."""
        writer = self.on_save(step.chapter) if self.comm.rank == 0 else None
        sets = self._all_parameter_sets()
        if writer is not None:
            writer.create({f"{name}/{key}": shape for name, _, shapes in sets for key, shape in shapes.items()})
        for name, owner, shapes in sets:
            for array_name, shape in shapes.items():
                for part in _parts(shape):
                    array = self._bring(name, array_name, owner, part, shape)
                    if writer is not None and array is not None:
                        writer.write(f"{name}/{array_name}", array, part)
        if writer is not None:
            writer.commit()

    def _bring(self, name: str, array_name: str, owner: int, part: Any, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return a part of an array on rank 0, which its owner sends there; None on other ranks."""
        timeout = self.config.schedule.timeout
        if owner == self.comm.rank:
            array = self.parameter_sets[name].array(array_name, *([part] if part else []))
            if owner != 0:
                wait(self.comm.Isend(array, 0, _SAVE), timeout, "rank 0 to save")
            return array
        if self.comm.rank != 0:
            return None
        array = np.empty((part.stop - part.start, shape[1]) if part else shape, dtype_of(array_name))
        wait(self.comm.Irecv(array, owner, _SAVE), timeout, f"rank {owner} to save")
        return array

    def _all_parameter_sets(self) -> list[tuple[str, int, dict[str, tuple[int, ...]]]]:
        """Return name, rank and arrays of all parameter sets of the network."""
        config, sizes = self.config, widths(self.config, self.problem.pixels, self.problem.classes)
        rank_of = self.placement.rank_of
        sets = []
        for layer, (inputs, units) in enumerate(pairwise(sizes)):
            sets.append((f"layers/{layer}", rank_of(layer), Parameters.shapes_of(inputs, units, config.optimizer)))
        for layer in config.head_layers:
            shapes = Parameters.shapes_of(sizes[layer + 1], self.problem.classes, config.head.optimizer)
            sets.append((f"head/{layer}", rank_of(len(sizes) - 1), shapes))
        return sets


def _parts(shape: tuple[int, ...]) -> list[Any]:
    """Cut a matrix of `shape` into slices of rows; anything smaller stays whole, ()."""
    if len(shape) < 2:
        return [()]
    rows = max(1, _SAVED_AT_ONCE // shape[1])
    return [slice(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows)]
