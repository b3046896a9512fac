"""What a schedule has to know of a run, from the configuration, the data set and the rows of batches."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from ..config.schema import Config
from ..data.info import DatasetInfo
from ..network.layout import BatchLayout
from ..network.methods import METHODS
from ..schedule import ScheduleSpec
from ..schedule.spec import Adaptive
from ..schedule.steps import Stream
from .model import sizes_of


def spec_of(config: Config, dataset: DatasetInfo, ranks: int) -> ScheduleSpec:
    """Return what the schedule has to know of a run."""
    layout, negatives = BatchLayout(config, dataset.classes), config.negatives
    methods = [METHODS[name] for name in METHODS if name in config.methods]

    def batches_of(samples: int, always: bool) -> dict[Stream, tuple[int, int]]:
        return {
            cast(Stream, found.stream): (
                layout.batches(found.stream, samples), getattr(config.classify, found.every) * always
            )
            for found in methods
        }  # fmt: skip

    return ScheduleSpec(
        ranks=ranks,
        layers=len(config.network.layers),
        head_layers=config.head_layers,
        costs=costs_of(config, dataset),
        depth=config.schedule.depth,
        epochs=config.train.epochs,
        chapters=config.chapters,
        batches=tuple(layout.batches("train", count) for count in dataset.shards),
        candidate_batches=tuple(layout.batches("candidates", count) for count in dataset.shards),
        # With validation the test samples are scored once, at the end.
        test_batches=batches_of(dataset.test, not dataset.validation),
        validation_batches=batches_of(dataset.validation, True) if dataset.validation else {},
        save_every=config.checkpoint.every,
        adaptive=Adaptive(negatives.scores, negatives.lag) if negatives.adaptive else None,
        exchange=config.schedule.exchange,
        resample=negatives.resample,
        finishes=config.rule.finishes,
        after=_after(config, dataset),
        forwards=tuple(
            2.0 * (layout.size if layer == 0 else layout.train_rows) * inputs * units
            for layer, (inputs, units) in enumerate(pairwise(sizes_of(config, dataset)))
        ),
    )


#: Share of rows that take part in an update: measured 5 to 30 % in training with the goodness rule.
_ACTIVE = 0.2


def costs_of(config: Config, dataset: DatasetInfo) -> tuple[float, ...]:
    """Return the FLOP of a training batch for each stage."""
    layout, pipeline = BatchLayout(config, dataset.classes), config.schedule.by_batch
    batch, sizes, learnt = layout.size, sizes_of(config, dataset), layout.train_rows
    rows = layout.joint_rows if pipeline else 2 * learnt  # forward: once, or to learn and to be passed on
    active = _ACTIVE * learnt if layout.labelled else learnt
    costs = [2.0 * (rows + active) * inputs * units for inputs, units in pairwise(sizes)]
    if layout.labelled:
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
    first, *others = (inputs * units for inputs, units in pairwise(sizes_of(config, dataset)))
    once, each = first + sum(others), sum(others)
    classify, negatives, shard = config.classify, config.negatives, dataset.train / len(dataset.shards)
    tested = dataset.validation or dataset.test
    scored = 0.0  # samples x weights
    if negatives.adaptive and negatives.scores == "goodness":
        scored += shard * (first + (dataset.classes - 1) * each)
    if "goodness" in config.methods and classify.goodness_every:
        scored += tested * (first + dataset.classes * each) / classify.goodness_every
    if "softmax_every" in {METHODS[method].every for method in config.methods} and classify.softmax_every:
        scored += tested * once / classify.softmax_every
    return 2.0 * scored * config.train.batch_size / (shard * config.train.epochs / config.chapters)
