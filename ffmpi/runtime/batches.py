"""What a schedule's batches stand for on a rank: which samples, how many rows, and what is written into the input."""

from __future__ import annotations

from functools import lru_cache
from typing import get_args

import numpy as np
from msgspec import Struct

from ..network.labels import Labels, order_of
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


_NOTHING = s.Batch("train", -1)


class Batches:
    """The samples in use, in the order and with the negatives of the running epoch.

    Attributes
    ----------
    batch, content : the batch that steps were last about, and what it holds; steps in a row mostly have the same one
    targeted, targets : the same of what the rule is told of it
    """

    def __init__(self, model: RankModel, spec: ScheduleSpec) -> None:
        self.config, self.dataset, self.model, self.spec = model.config, model.dataset, model, spec
        self.layout = model.layout
        self.samples: Samples | None = next(iter(model.samples.values()), None)
        self.shard = 0
        self._sizes = {stream: self.layout.samples(stream) for stream in get_args(s.Stream)}
        self._shape = lru_cache(self.layout.shape)
        self.batch, self.content = _NOTHING, Content(0, 0, 0, 0, 0, 0, 0)
        self.targeted, self.targets = _NOTHING, Targets(0, 0, None, None)
        self._keyed, self._keys = _NOTHING, (np.empty(0, np.int64), np.empty(0, np.int64))
        self._order = self._keys[0]  # where there are no labels

    @property
    def labels(self) -> Labels:
        """The labels of the training samples in use."""
        assert self.samples is not None
        return self.samples.labels

    def set_epoch(self, epoch: int, chapter: int, shard: int) -> None:
        """Take the order of `epoch` and the negatives of `chapter`, of a shard's samples if they are here."""
        self.shard, self.batch, self.targeted, self._keyed = shard, _NOTHING, _NOTHING, _NOTHING
        if shard in self.model.samples:
            if self.samples and self.samples is not self.model.samples[shard]:
                self.samples.release()
            self.samples = self.model.samples[shard]
            self.samples.labels.set_epoch(epoch, chapter)
            if self.samples.builder:
                self.samples.builder.set_epoch(epoch)
        elif self.config.network.transforms:
            self._order = order_of(self.config, epoch, self.dataset.shards[shard])

    def take(self, batch: s.Batch) -> Content:
        """Return what a batch holds, which need not be here, and keep it as `content`."""
        total, size, ahead = self.dataset.train, self._sizes[batch.stream], self.spec.ahead
        if batch.split != "train":
            total = self.dataset.samples(batch.split)
        elif self.samples is not None:
            total = len(self.samples.labels.order)
        batches = -(-total // size)  # training batches may be numbered on
        first = read_first = batch.index % batches * size
        count = read = min(size, total - first)
        neutral = 0  # samples whose neutral rows come along, in the pipeline
        if batch.stream == "joint" and batch.index < self.spec.joint_for_head:
            if ahead:
                read_first = (batch.index + ahead) % batches * size
                read = min(size, total - read_first)
            neutral = read
        self.batch = batch
        self.content = Content(first, count, read_first, read, *self._shape(batch.stream, count, neutral))
        return self.content

    def of(self, batch: s.Batch) -> np.ndarray:
        """Return the samples of a batch, int64."""
        content = self.content if batch is self.batch else self.take(batch)
        first, stop = content.first, content.first + content.samples
        if batch.split != "train":
            return np.arange(first, stop)
        return (self._order if self.samples is None else self.samples.labels.order)[first:stop]

    def target(self, batch: s.Batch, epoch: int) -> Targets:
        """Return what the rule is told of a batch that a layer learns from in `epoch`, and keep it as `targets`."""
        content = self.content if batch is self.batch else self.take(batch)
        samples = classes = weights = None
        if self.config.rule.needs_labels:
            samples = self.of(batch)
            classes = self.labels.classes[samples]
        if self.dataset.weighted:
            weights, _ = self.labels.weigh(self.of(batch))
        self.targeted, self.targets = batch, Targets(content.samples, epoch, samples, classes, weights)
        return self.targets

    def keys(self, batch: s.Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return of each row that layers learn from in a batch the sample, and what it shows of it, int64."""
        if batch is not self._keyed:
            samples = self.of(batch)
            kinds = self.layout.kinds(len(samples))
            self._keyed, self._keys = batch, (np.tile(samples, self.layout.layout.rows), kinds)
        return self._keys

    def build_input(self, step: s.BuildInput) -> None:
        """Write a batch into the first layer's input."""
        batch, out = step.batch, self.model.inputs
        content = self.content if batch is self.batch else self.take(batch)
        source = self.samples if batch.split == "train" else self.model.scored[batch.split]
        assert out is not None and source is not None and source.builder is not None
        builder, labels = source.builder, source.labels
        if self.layout.labelled and batch.stream in s.LEARNT:
            samples = labels.order[content.first : content.first + content.samples]
            neutral = samples
            if content.head_rows == 0 or batch.stream != "joint":
                neutral = samples[:0]
            elif content.read_first != content.first:
                neutral = labels.order[content.read_first : content.read_first + content.read]
            builder.pairs(samples, labels, neutral, out)
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
