"""What a schedule's batches stand for on a rank: which samples, how many rows, and what is written into the input."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..network.labels import Labels, order_of
from ..rules import Targets
from ..schedule import ScheduleSpec
from ..schedule import steps as s
from .model import RankModel, Samples


class Counts(NamedTuple):
    """How much a batch holds."""

    samples: int
    neutral: int  # samples whose neutral rows come along, in the pipeline
    rows: int


_NOTHING = s.Batch("train", -1)


class Batches:
    """The samples in use, in the order and with the negatives of the running epoch."""

    def __init__(self, model: RankModel, spec: ScheduleSpec) -> None:
        self.config, self.dataset, self.model, self.spec = model.config, model.dataset, model, spec
        self.layout = model.layout
        self.samples: Samples | None = next(iter(model.samples.values()), None)
        self.shard = 0
        self._counted, self._counts = _NOTHING, Counts(0, 0, 0)
        self._targeted, self._targets = _NOTHING, Targets(0, 0, None, None)
        self._keyed, self._keys = _NOTHING, (np.empty(0, np.int64), np.empty(0, np.int64))
        self._order = self._keys[0]  # where there are no labels

    @property
    def labels(self) -> Labels:
        """The labels of the training samples in use."""
        assert self.samples is not None
        return self.samples.labels

    def set_epoch(self, epoch: int, chapter: int, shard: int) -> None:
        """Take the order of `epoch` and the negatives of `chapter`, of a shard's samples if they are here."""
        self.shard, self._counted, self._targeted, self._keyed = shard, _NOTHING, _NOTHING, _NOTHING
        if shard in self.model.samples:
            self.samples = self.model.samples[shard]
            self.samples.labels.set_epoch(epoch, chapter)
            if self.samples.builder:
                self.samples.builder.set_epoch(epoch)
        elif self.config.network.transforms:
            self._order = order_of(self.config, epoch, self.dataset.shards[shard])

    def _range(self, batch: s.Batch, total: int) -> tuple[int, int]:
        """Return the positions of a batch's samples in the order of `total`; training batches may be numbered on."""
        size = self.layout.samples(batch.stream)
        first = batch.index % -(-total // size) * size
        return first, min(first + size, total)

    def of(self, batch: s.Batch) -> np.ndarray:
        """Return the samples of a batch, int64."""
        if batch.split != "train":
            return np.arange(*self._range(batch, self.dataset.samples(batch.split)))
        order = self._order if self.samples is None else self.labels.order
        return order[slice(*self._range(batch, len(order)))]

    def neutral_of(self, batch: s.Batch) -> np.ndarray:
        """Return the samples whose neutral rows are in a batch that the head reads; they may be another batch's."""
        if batch.stream == "joint" and self.spec.ahead:
            return self.of(s.Batch("neutral", batch.index + self.spec.ahead))
        return self.of(batch)

    def counts(self, batch: s.Batch) -> Counts:
        """Return how much a batch holds; it need not be here."""
        if batch is not self._counted:  # steps in a row mostly have the same one
            count = self._count(batch)
            neutral = self._count(s.Batch("neutral", batch.index + self.spec.ahead)) if self._carries(batch) else 0
            self._counted = batch
            self._counts = Counts(count, neutral, self.layout.rows(batch.stream, count, neutral))
        return self._counts

    def targets(self, batch: s.Batch, epoch: int) -> Targets:
        """Return what the rule is told of a batch that a layer learns from in `epoch`."""
        if batch is not self._targeted or self._targets.epoch != epoch:
            samples = classes = None
            if self.config.rule.needs_labels:
                samples = self.of(batch)
                classes = self.labels.classes[samples]
            self._targeted = batch
            self._targets = Targets(self.counts(batch).samples, epoch, samples, classes)
        return self._targets

    def keys(self, batch: s.Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return of each row that layers learn from in a batch the sample, and what it shows of it, int64."""
        if batch is not self._keyed:
            kinds, samples = self.layout.kinds(self.counts(batch).samples), self.of(batch)
            self._keyed, self._keys = batch, (np.tile(samples, self.layout.layout.rows), kinds)
        return self._keys

    def head_rows(self, batch: s.Batch) -> tuple[int, int]:
        """Return the first of the rows that the head reads in a batch, and how many there are."""
        counts = self.counts(batch)
        return self.layout.head_rows(batch.stream, counts.samples, counts.neutral)

    def _carries(self, batch: s.Batch) -> bool:
        """Whether neutral rows come with a batch: in the pipeline, with what is learnt."""
        return batch.stream == "joint" and self.spec.for_head(batch)

    def _count(self, batch: s.Batch) -> int:
        total = self.dataset.train if self.samples is None else len(self.labels.order)
        first, last = self._range(batch, total if batch.split == "train" else self.dataset.samples(batch.split))
        return last - first

    def build_input(self, batch: s.Batch) -> None:
        """Write a batch into the first layer's input."""
        out = self.model.inputs
        source = self.samples if batch.split == "train" else self.model.scored[batch.split]
        assert out is not None and source is not None and source.builder is not None
        builder, samples = source.builder, self.of(batch)
        labels_each = self.layout.labels_each(batch.stream)
        if not self.layout.labelled:
            builder.plain(samples, out)
        elif batch.stream in s.LEARNT:
            neutral = samples[:0]
            if self._carries(batch):
                neutral = self.neutral_of(batch) if self.spec.ahead else samples
            builder.pairs(samples, self.labels, neutral, out)
        elif labels_each == self.dataset.classes:
            every = np.tile(np.arange(self.dataset.classes), (len(samples), 1))
            builder.candidates(samples, every, out)
        elif labels_each:
            builder.candidates(samples, self.labels.wrong(samples), out)
        else:
            builder.neutral(samples, out)
