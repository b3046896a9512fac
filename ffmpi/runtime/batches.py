"""What a schedule's batches stand for on a rank: which samples, how many rows, and what is written into the input."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..data.info import images_at_once
from ..network.inputs import Labels
from ..schedule import ScheduleSpec
from ..schedule import steps as s
from .model import RankModel, Samples


class Counts(NamedTuple):
    """How much a batch holds."""

    samples: int
    riders: int  # neutral inputs that come with a batch of the pipeline
    rows: int


_NOTHING = s.Batch("joint", -1), Counts(0, 0, 0)


class Batches:
    """The samples in use, in the order and with the negatives of the running epoch."""

    def __init__(self, model: RankModel, spec: ScheduleSpec) -> None:
        self.config, self.dataset, self.model, self.spec = model.config, model.dataset, model, spec
        self.samples: Samples | None = next(iter(model.samples.values()), None)
        self.shard = 0
        self._counted = _NOTHING

    @property
    def labels(self) -> Labels:
        """The labels of the training samples in use."""
        assert self.samples is not None
        return self.samples.labels

    def set_epoch(self, epoch: int, chapter: int, shard: int) -> None:
        """Take the order of `epoch` and the negatives of `chapter`, of a shard's samples if they are here."""
        self.shard, self._counted = shard, _NOTHING
        if shard in self.model.samples:
            self.samples = self.model.samples[shard]
            self.samples.labels.set_epoch(epoch, chapter)

    def _full_size(self, batch: s.Batch) -> int:
        """Return the number of samples of all batches of a stream but the last."""
        labels = self._labels_each(batch)
        return images_at_once(self.config, labels) if labels else self.config.train.batch_size

    def _labels_each(self, batch: s.Batch) -> int:
        """Return with how many labels a batch shows each sample to score it by goodness, or 0 if it does not."""
        return {"goodness": self.dataset.classes, "candidates": self.dataset.classes - 1}.get(batch.stream, 0)

    def _range(self, batch: s.Batch, total: int) -> tuple[int, int]:
        """Return the places of a batch's samples in the order of `total` samples; lessons may be numbered on."""
        size = self._full_size(batch)
        first = batch.index % -(-total // size) * size
        return first, min(first + size, total)

    def of(self, batch: s.Batch) -> np.ndarray:
        """Return the samples of a batch, int64."""
        if batch.split != "train":
            return np.arange(*self._range(batch, self.dataset.samples(batch.split)))
        order = self.labels.order
        return order[slice(*self._range(batch, len(order)))]

    def neutral_of(self, batch: s.Batch) -> np.ndarray:
        """Return the samples whose neutral inputs are in a batch that the head reads; they may be another batch's."""
        if batch.stream == "joint" and self.spec.ahead:
            return self.of(s.Batch("neutral", batch.index + self.spec.ahead))
        return self.of(batch)

    def counts(self, batch: s.Batch) -> Counts:
        """Return how much a batch holds; it need not be here."""
        if batch is not self._counted[0]:  # steps in a row mostly have the same one
            count = self._count(batch)
            riders = self._count(s.Batch("neutral", batch.index + self.spec.ahead)) if self._carries(batch) else 0
            if batch.stream in ("train", "joint"):
                rows = count * (1 if self.config.local else 2) + riders
            else:
                rows = count * (self._labels_each(batch) or 1)
            self._counted = batch, Counts(count, riders, rows)
        return self._counted[1]

    def _carries(self, batch: s.Batch) -> bool:
        """Whether neutral inputs come with a batch: in the pipeline, with what is learnt."""
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
        samples = self.of(batch)
        if self.config.local:
            source.builder.plain(samples, out)
        elif batch.stream in ("train", "joint"):
            neutral = samples[:0]
            if self._carries(batch):
                neutral = self.neutral_of(batch) if self.spec.ahead else samples
            source.builder.pairs(samples, self.labels, neutral, out)
        elif batch.stream == "candidates":
            source.builder.candidates(samples, self.labels.wrong(samples), out)
        elif batch.stream == "goodness":
            every = np.tile(np.arange(self.dataset.classes), (len(samples), 1))
            source.builder.candidates(samples, every, out)
        else:
            source.builder.neutral(samples, out)
