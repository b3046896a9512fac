"""The sizes of a run: what the data set and the configuration say together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from msgspec import structs

from ..config.schema import Config
from ..network.layer import widths
from ..schedule import ScheduleSpec
from ..schedule.spec import Adaptive
from ..schedule.steps import Split, Stream
from .pixels import PixelFormat
from .scaling import PixelScaling, label_value


@dataclass(frozen=True)
class DatasetInfo:
    """The sizes that the data set gives to a run; every rank knows them."""

    shape: tuple[int, ...]  # of an image
    names: tuple[str, ...]  # of the classes
    train: int  # samples to learn from
    test: int
    digest: int = 0  # CRC-32 of the training images and classes
    shards: tuple[int, ...] = ()  # samples of each
    scaling: PixelScaling | None = None  # of the training pixels, if they are measured
    pixel_format: PixelFormat | None = None  # of the training images
    validation: int = 0  # samples that were taken from the training samples

    def __post_init__(self) -> None:
        if not self.shards:
            object.__setattr__(self, "shards", (self.train,))

    def samples(self, split: Split) -> int:
        """Return the number of samples of a split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return int(np.prod(self.shape))

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel in memory."""
        return np.dtype(self.pixel_format.dtype).itemsize if self.pixel_format else 1

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def statistics(self) -> dict[str, np.ndarray]:
        """What a checkpoint keeps of the training samples: float32 arrays by their names in it.

        Reading it gives them back as `checkpoint.Header.figures`.
        """
        return {} if self.scaling is None else self.scaling.arrays()


#: The share of the pixels that a label may cover.
_MOST_COVERED = 0.1


def resolved(config: Config, dataset: DatasetInfo) -> Config:
    """Return `config` with what it leaves to the data: where the label stands, and its value."""
    data = config.data
    if data.label == "auto":
        over = dataset.classes <= _MOST_COVERED * dataset.pixels
        data = structs.replace(data, label="overlay" if over else "append")
    if data.label_value == "auto":
        data = structs.replace(data, label_value=label_value(dataset.scaling))
    return structs.replace(config, data=data)


def train_rows(config: Config) -> int:
    """Return the rows of a batch that layers learn from: positives and negatives, or plain images."""
    return config.train.batch_size * (1 if config.local else 2)


def joint_rows(config: Config) -> int:
    """Return the rows of a batch of the pipeline, in which the head's neutral inputs ride along."""
    return train_rows(config) + (config.train.batch_size if config.head_layers else 0)


def rows_of(config: Config, classes: int) -> int:
    """Return the rows of the largest batch; one image with every class fits into it."""
    return max(joint_rows(config) if config.schedule.by_batch else train_rows(config), classes)


def images_composed(config: Config, classes: int) -> int:
    """Return the most images that a batch shows: its own, and perhaps those of another's neutral inputs."""
    riding = config.negatives.adaptive and config.negatives.resample == "batch"
    return max(config.train.batch_size * (2 if riding else 1), images_at_once(config, classes - 1))


def images_at_once(config: Config, labels: int) -> int:
    """Return how many images are scored by goodness in one batch, each with `labels` labels."""
    return rows_of(config, labels) // labels


def spec_of(config: Config, dataset: DatasetInfo, ranks: int) -> ScheduleSpec:
    """Return what the schedule has to know of a run."""
    methods, batch, classes = config.methods, config.train.batch_size, dataset.classes
    classify, negatives = config.classify, config.negatives
    streams: dict[Stream, tuple[int, int]] = {}  # samples in a batch, and every how many chapters
    if "softmax" in methods:
        streams["softmax"] = batch, classify.softmax_every
    if "goodness" in methods:
        streams["goodness"] = images_at_once(config, classes), classify.goodness_every
    if config.local:
        streams["plain"] = batch, classify.softmax_every

    def batches_of(samples: int, always: bool) -> dict[Stream, tuple[int, int]]:
        return {stream: (-(-samples // size), every * always) for stream, (size, every) in streams.items()}

    return ScheduleSpec(
        ranks=ranks,
        layers=len(config.network.layers),
        head_layers=config.head_layers,
        costs=costs_of(config, dataset),
        depth=config.schedule.depth,
        epochs=config.train.epochs,
        chapters=config.chapters,
        batches=tuple(-(-count // batch) for count in dataset.shards),
        candidate_batches=tuple(-(-count // images_at_once(config, classes - 1)) for count in dataset.shards),
        # With validation the test samples are scored once, at the end.
        test_batches=batches_of(dataset.test, not dataset.validation),
        validation_batches=batches_of(dataset.validation, True) if dataset.validation else {},
        save_every=config.checkpoint.every,
        adaptive=Adaptive(negatives.scores, negatives.lag) if negatives.adaptive else None,
        exchange=config.schedule.exchange,
        resample=negatives.resample,
        after=_after(config, dataset),
        forwards=tuple(
            2.0 * (config.train.batch_size if layer == 0 else train_rows(config)) * inputs * units
            for layer, (inputs, units) in enumerate(pairwise(widths(config, dataset.pixels, dataset.classes)))
        ),
    )


#: Share of rows that take part in an update: measured 5 to 30 % in training with the goodness rule.
_ACTIVE = 0.2


def costs_of(config: Config, dataset: DatasetInfo) -> tuple[float, ...]:
    """Return the FLOP of a training batch for each stage."""
    batch, pipeline = config.train.batch_size, config.schedule.by_batch
    sizes = widths(config, dataset.pixels, dataset.classes)
    learnt = train_rows(config)
    rows = joint_rows(config) if pipeline else 2 * learnt  # forward: once, or to learn and to be passed on
    active = learnt if config.local else _ACTIVE * learnt
    costs = [2.0 * (rows + active) * inputs * units for inputs, units in pairwise(sizes)]
    if not config.local:
        # The rows of an image share its products in the first layer.
        costs[0] = 2.0 * ((1 if pipeline else 2) + 2 * _ACTIVE) * batch * sizes[0] * sizes[1]
    if not pipeline:
        costs[-1] = 2.0 * (learnt + active) * sizes[-2] * sizes[-1]  # nobody learns from the last layer
    if config.head_layers:
        through = 0 if pipeline else sum(inputs * units for inputs, units in pairwise(sizes))
        read = sum(config.network.layers[layer] for layer in config.head_layers)
        costs.append(2.0 * batch * (2 * dataset.classes * read + through))
    return tuple(costs)


def _after(config: Config, dataset: DatasetInfo) -> float:
    """Return the FLOP of scoring samples after a chapter, for each of its training batches."""
    first, *others = (inputs * units for inputs, units in pairwise(widths(config, dataset.pixels, dataset.classes)))
    once, each = first + sum(others), sum(others)
    classify, negatives, shard = config.classify, config.negatives, dataset.train / len(dataset.shards)
    tested = dataset.validation or dataset.test
    scored = 0.0  # samples x weights
    if negatives.adaptive and negatives.scores == "goodness":
        scored += shard * (first + (dataset.classes - 1) * each)
    if "goodness" in config.methods and classify.goodness_every:
        scored += tested * (first + dataset.classes * each) / classify.goodness_every
    if (config.local or "softmax" in config.methods) and classify.softmax_every:
        scored += tested * once / classify.softmax_every
    return 2.0 * scored * config.train.batch_size / (shard * config.train.epochs / config.chapters)
