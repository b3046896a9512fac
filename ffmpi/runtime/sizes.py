"""What a schedule has to know of a run, and what its steps cost: from configuration, data set and rows of batches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

from ..config.schema import Config
from ..data.info import DatasetInfo
from ..network.activations import Activations
from ..network.layout import BatchLayout
from ..network.methods import METHODS
from ..network.stages import declared, every_block, sizes_of
from ..schedule import Schedule, ScheduleSpec
from ..schedule.core import CORE, PANEL, Core
from ..schedule.cost import Rows, StepCosts
from ..schedule.messages import MessageSizes
from ..schedule.spec import Adaptive
from ..schedule.steps import LEARNT, Batch, Forward, Split, Stream, Update
from ..schedule.totals import Balance, balance_of, stage_loads


def spec_of(config: Config, dataset: DatasetInfo, ranks: int, core: Core = CORE) -> ScheduleSpec:
    """Return what the schedule has to know of a run, with the share of the work that each stage has on `core`."""
    spec = replace(_unpriced(config, dataset, ranks), core=core)
    plan, costs = config.schedule.plan(replace(spec, ranks=1)), step_costs(config, dataset, spec)
    whole, after = stage_loads(plan, costs)
    fixed, _ = stage_loads(plan, costs.on({}))
    return replace(spec, costs=whole, fixed=fixed, after=after)


def _unpriced(config: Config, dataset: DatasetInfo, ranks: int) -> ScheduleSpec:
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
        panels=tuple(-(-layer // PANEL) for layer in config.network.layers),
        costs=(1.0,) * (len(config.network.layers) + bool(config.head_layers)),
        depth=config.schedule.depth,
        epochs=config.train.epochs,
        chapters=config.chapters,
        batches=tuple(layout.batches("train", count) for count in dataset.shards),
        candidate_batches=tuple(layout.batches("candidates", count) for count in dataset.shards),
        # With validation the test samples are scored once, at the end.
        test_batches=batches_of(dataset.test, not dataset.validation),
        validation_batches=batches_of(dataset.validation, True) if dataset.validation else {},
        save_every=config.checkpoint.every,
        save_waits=config.checkpoint.wait,
        adaptive=Adaptive(negatives.scores, negatives.lag) if negatives.adaptive else None,
        exchange=config.schedule.exchange,
        resample=negatives.resample,
        finishes=config.rule.finishes,
        scores_training=config.rule.scores_training,
    )


def step_costs(config: Config, dataset: DatasetInfo, spec: ScheduleSpec) -> StepCosts:
    """Return the costs of the steps of a run, with the shares of rows and inputs that are expected to count."""
    layers, classes = range(spec.layers), dataset.classes
    learnt = spec.epochs * sum(spec.batches) / len(spec.batches)
    scaled = config.data.mean != 0 or dataset.scaling is not None  # then a pixel of zero is no input of zero
    return StepCosts(
        widths=tuple(sizes_of(config, dataset)),
        classes=classes,
        batches=_batches(config, dataset, spec),
        head_layers=config.head_layers,
        moments=config.optimizer.moments,
        head_moments=config.head.optimizer.moments,
        shared=BatchLayout(config, classes).labelled,
        density=1.0 if scaled else dataset.nonzero,
        rules=tuple(config.rule.cost(config, layer, classes, learnt) for layer in layers),
        threads=config.schedule.threads,
        core=spec.core.with_threads(config.schedule.threads),
    )


def message_sizes(config: Config, dataset: DatasetInfo, spec: ScheduleSpec) -> MessageSizes:
    """Return what messages hold."""
    layout, classes, units = BatchLayout(config, dataset.classes), dataset.classes, config.network.layers
    outputs = sum(config.rule.outputs(classes).values())
    stages = [declared(config, dataset, stage).values() for stage in range(spec.stages)]
    every = every_block(config, dataset).values()
    return MessageSizes(
        batches=_batches(config, dataset, spec),
        classes=classes,
        samples=dataset.train,
        shares=tuple(config.rule.share_size(count, layout.train_rows, classes, True) for count in units),
        outputs=tuple(4 * Activations.floats(count, layout.most_rows, outputs) for count in units),
        neutral=tuple(4 * Activations.floats(count, layout.size, 0) for count in units),
        states=tuple(sum(4 * block.floats() for block in blocks) for blocks in stages),
        weights=tuple(sum(4 * block.floats(learns=False) for block in blocks) for blocks in stages),
        in_place=config.schedule.shared_memory,
        saved=sum(4 * math.prod(shape) for block in every for shape in block.shapes().values()),
    )


def _batches(config: Config, dataset: DatasetInfo, spec: ScheduleSpec) -> dict[tuple[Split, Stream], Rows]:
    """Return what the batches of each split and stream hold, in the mean."""
    layout = BatchLayout(config, dataset.classes)
    counts: dict[tuple[Split, Stream], tuple[int, int]] = {  # samples, and batches of them
        ("train", stream): (dataset.train, sum(spec.batches)) for stream in ("train", "joint", "neutral")
    }
    counts["train", "candidates"] = dataset.train, sum(spec.candidate_batches)
    for split, streams in spec.scored:
        for stream, (batches, _) in streams.items():
            counts[split, stream] = dataset.samples(split), batches
    found = {}
    for (split, stream), (samples, batches) in counts.items():
        neutral = samples if stream == "joint" and config.head_layers else 0
        learning = layout.rows(stream, samples) if stream in LEARNT else 0
        rows = layout.rows(stream, samples, neutral)
        found[split, stream] = Rows(*(count / max(1, batches) for count in (samples, rows, learning)))
    return found


def expected_balance(config: Config, dataset: DatasetInfo, schedule: Schedule) -> Balance:
    """Return how the work is expected to be shared out between the ranks of `schedule`."""
    return balance_of(schedule, step_costs(config, dataset, schedule.spec))


#: Epochs of training from which on it is told how long scoring every class takes.
_LONG = 5.0


def long_scoring(config: Config, dataset: DatasetInfo, spec: ScheduleSpec) -> list[str]:
    """Return a sentence on each way of scoring samples shown with every class that takes as long as epochs do."""
    costs, layers = step_costs(config, dataset, spec), range(spec.layers)

    def seconds(stream: Stream, split: Split, batches: int) -> float:
        each = (costs.of(Forward(layer, Batch(stream, 0, split))).seconds for layer in layers)
        return batches * sum(each)

    learnt = sum(costs.of(Update(layer, Batch("train", 0), 0)).seconds for layer in layers) * sum(spec.batches)
    epoch = seconds("train", "train", sum(spec.batches)) + learnt
    told = []
    for split, streams in spec.scored:
        batches, every = streams.get("goodness", (0, 0))
        if (took := seconds("goodness", split, batches) / epoch if batches else 0.0) >= _LONG:
            when = "once, at the end" if not every else f"every {every} chapters" if every > 1 else "each chapter"
            told.append(
                f"to tell the {dataset.samples(split)} {split} samples by goodness, each shown with all "
                f"{dataset.classes} classes, takes as long as about {took:.0f} epochs, {when}: classify.methods and "
                "classify.goodness_every choose"
            )
    if spec.adaptive and spec.adaptive.scores == "goodness":
        took = seconds("candidates", "train", sum(spec.candidate_batches)) / epoch
        if took >= _LONG:
            told.append(
                f"to choose negatives by goodness among {dataset.classes - 1} wrong classes takes as long as about "
                f"{took:.0f} epochs, each chapter: negatives.scores = 'softmax' takes less than one"
            )
    return told
