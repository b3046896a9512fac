"""What a schedule's batches stand for on a rank: which samples, how many rows, and what is written into the input."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import get_args

import numpy as np
from msgspec import Struct

from ..network.labels import Epoch, Labels, order_of
from ..rules import Targets
from ..schedule import ScheduleSpec
from ..schedule import steps as s
from .model import RankModel, Samples


class Content(Struct, frozen=True, gc=False):
    """What a batch holds.

    Attributes
    ----------
    first, samples : where its samples begin in the order of them all, and how many there are
    read_first, read : the same of those whose rows the head reads; they may be another batch's
    rows : in all; head_row : the first of those that the head reads, where there are any; head_rows : how many
    """

    first: int
    samples: int
    read_first: int
    read: int
    rows: int
    head_row: int
    head_rows: int


#: How many batches' contents and targets are kept: more than are under way on a rank.
_KEPT = 64


class Contents(dict[s.Batch, Content]):
    """What each of the batches under way holds, made when it is asked for; asking for one that is there is no call."""

    def __init__(self, batches: Batches) -> None:
        self._batches, self._shape = batches, lru_cache(batches.layout.shape)
        self._sizes = {stream: batches.layout.samples(stream) for stream in get_args(s.Stream)}

    def __missing__(self, batch: s.Batch) -> Content:
        batches = self._batches
        total, size, ahead = batches.dataset.train, self._sizes[batch.stream], batches.spec.ahead
        if batch.split != "train":
            total = batches.dataset.samples(batch.split)
        elif batches.samples is not None:
            total = len(batches.samples.labels.classes)
        count_of_all = -(-total // size)  # training batches may be numbered on
        first = read_first = batch.index % count_of_all * size
        count = read = min(size, total - first)
        neutral = 0  # samples whose neutral rows come along, in the pipeline
        if batch.stream == "joint" and batch.index < batches.spec.joint_for_head:
            if ahead:
                read_first = (batch.index + ahead) % count_of_all * size
                read = min(size, total - read_first)
            neutral = read
        if len(self) == _KEPT:
            self.clear()
        found = Content(first, count, read_first, read, *self._shape(batch.stream, count, neutral))
        self[batch] = found
        return found


class Batches:
    """What the batches under way on this rank hold, in the order and with the negatives of the epochs they belong to.

    Attributes
    ----------
    samples : those that are learnt from now, if they are here; labels : theirs
    """

    def __init__(self, model: RankModel, spec: ScheduleSpec) -> None:
        self.config, self.dataset, self.model, self.spec = model.config, model.dataset, model, spec
        self.layout = model.layout
        self.samples: Samples | None = next(iter(model.samples.values()), None)
        self.labels: Labels
        if self.samples:
            self.labels = self.samples.labels
        self.shard = 0
        self.contents = Contents(self)
        #: What the rule is told of batches that a layer learns from.
        self.known_targets: dict[s.Batch, Targets] = {}
        self._keys: dict[s.Batch, tuple[np.ndarray, np.ndarray]] = {}
        nothing = np.empty(0, np.int64)
        #: The epochs that have been set and not been freed, and at -1 the last that was set, which batches that name
        #: none belong to; and how often those have been set.
        self.epochs, self._set_often = {-1: Epoch(-1, nothing, nothing, 1)}, Counter[int]()
        self._set: tuple[int, int, int] = (-1, -1, -1)

    def set_epoch(self, step: s.SetEpoch) -> None:
        """See `steps.SetEpoch`."""
        epoch, chapter, shard = step.epoch, step.chapter, step.shard
        for kept in (self.contents, self.known_targets, self._keys):
            kept.clear()
        self.shard = shard
        if shard in self.model.samples:
            if self.samples and self.samples is not self.model.samples[shard]:
                self.samples.release()
            self.samples = self.model.samples[shard]
            self.labels = self.samples.labels
            if self._set != (epoch, chapter, shard):
                self.epochs[-1] = self.samples.labels.of_epoch(epoch, chapter)
            if self.samples.builder:
                self.samples.builder.set_epoch(epoch)
        elif self.config.network.transforms:
            order = order_of(self.config, epoch, self.dataset.shards[shard])
            self.epochs[-1] = Epoch(epoch, order, order[:0], self.layout.size)
        self._set = epoch, chapter, shard
        if self.config.schedule.by_batch:
            self._set_often[epoch] += 1
            self.epochs[epoch] = self.epochs[-1]

    def free_epoch(self, step: s.FreeEpoch) -> None:
        """See `steps.FreeEpoch`."""
        self._set_often[step.epoch] -= 1
        if not self._set_often[step.epoch]:
            del self.epochs[step.epoch], self._set_often[step.epoch]

    def of(self, batch: s.Batch) -> np.ndarray:
        """Return the samples of a batch, int64."""
        content = self.contents[batch]
        first, stop = content.first, content.first + content.samples
        return np.arange(first, stop) if batch.split != "train" else self.epochs[batch.epoch].order[first:stop]

    def read_by_head(self, batch: s.Batch) -> np.ndarray:
        """Return the samples whose rows the head reads in a batch of training samples, int64."""
        content = self.contents[batch]
        return self.epochs[batch.epoch].order[content.read_first : content.read_first + content.read]

    def targets(self, batch: s.Batch, epoch: int) -> Targets:
        """Return what the rule is told of a batch that a layer learns from in `epoch`."""
        found = self.known_targets.get(batch)
        if found is None or found.epoch != epoch:
            if len(self.known_targets) == _KEPT:
                self.known_targets.clear()
            samples = classes = weights = None
            if self.config.rule.needs_labels:
                samples = self.of(batch)
                classes = self.labels.classes[samples]
            if self.dataset.weighted:
                weights, _ = self.labels.weigh(self.of(batch))
            found = Targets(self.contents[batch].samples, epoch, samples, classes, weights)
            self.known_targets[batch] = found
        return found

    def keys(self, batch: s.Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return of each row that layers learn from in a batch the sample, and what it shows of it, int64."""
        found = self._keys.get(batch)
        if found is None:
            if len(self._keys) == _KEPT:
                self._keys.clear()
            samples = self.of(batch)
            found = np.tile(samples, self.layout.layout.rows), self.layout.kinds(len(samples))
            self._keys[batch] = found
        return found

    def build_input(self, step: s.BuildInput) -> None:
        """Write a batch into the first layer's input."""
        batch, out = step.batch, self.model.inputs
        source = self.samples if batch.split == "train" else self.model.scored[batch.split]
        assert out is not None and source is not None and source.builder is not None
        builder, content = source.builder, self.contents[batch]
        if self.layout.labelled and batch.stream in s.LEARNT:
            epoch = self.epochs[batch.epoch]
            samples = neutral = epoch.order[content.first : content.first + content.samples]
            if content.head_rows == 0 or batch.stream != "joint":
                neutral = samples[:0]
            elif content.read_first != content.first:
                neutral = self.read_by_head(batch)
            builder.pairs(samples, source.labels.classes, epoch.negatives, neutral, out)
            return
        samples, labels_each = self.of(batch), self.layout.labels_each(batch.stream)
        if not self.layout.labelled:
            builder.plain(samples, out)
        elif labels_each == self.dataset.classes:
            every = np.tile(np.arange(self.dataset.classes), (len(samples), 1))
            builder.candidates(samples, every, out)
        elif labels_each:
            builder.candidates(samples, self.labels.wrong(samples), out)
        else:
            builder.neutral(samples, out)
