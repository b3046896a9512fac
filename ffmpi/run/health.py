"""What the measurements of a chapter say about the learning: which layer does not learn, and the likeliest cure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..config.schema import Config
from ..data import FORMATS
from ..data.info import DatasetInfo

#: Steps of the optimiser after which a layer is expected to have learnt something: on 29 batches an epoch sound layers
#: need up to four epochs until goodness ranks two pairs of three rightly.
_STEPS = 100
#: Percent of the pairs of a positive and a negative input of one sample in which the positive has more goodness. Blind
#: layers were measured at 0 to 59 %, sound ones after 100 steps from 67 % on, after 500 from 93 % on.
_UNDECIDED, _UNDECIDED_LATE = 60.0, 75.0
_LATE = 500  # steps
#: Share of the threshold on the goodness that a loss is not to reach; with random weights it is a quarter, with
#: all activations zero or far too large a half or more.
_LARGE = 1 / 3
#: Share of the threshold below which goodness counts as zero.
_ZERO = 1e-5
#: Share of the way from chance to 100 % that a classifier is to have gone, or, if that is less, chance once more.
_SKILL = 0.1
#: Share of a loss that its rule calls large above which a layer has learnt nothing, where that is a guess's.
_GUESS = 0.9
#: How much less a loss is to be than in the first chapter; else the layer has hardly moved.
_MOVED = 0.2


_DEAD = "all its activations are zero, so it does not learn"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    kind : dead, loss, undecided, chance or accuracy; with `who` it says whether two findings are the same
    who : ``layer 1``, ``softmax head`` or the name of a method
    text : what is wrong
    cure : what is likely to help
    """

    kind: str
    who: str
    text: str
    cure: str

    def __str__(self) -> str:
        return f"{self.who}: {self.text}; likely cure: {self.cure}"


def findings(
    record: dict[str, Any], first: dict[str, Any], config: Config, dataset: DatasetInfo, *, last: bool
) -> list[Finding]:  # fmt: skip
    """Return what is wrong after a chapter, the lowest layer first, as its `record` in the metrics says.

    Parameters
    ----------
    record, first : of the chapter and of the run's first one, as `Measurements.record` makes them
    last : whether it is the run's last chapter, after which accuracy is looked at, too
    """
    found: list[Finding] = []
    classes, per_epoch = dataset.classes, math.ceil(min(dataset.shards) / config.train.batch_size)
    done = record["epoch"]
    before = done - config.train.epochs // config.chapters  # without this chapter, whose first batches count, too
    late = last and done * per_epoch >= _LATE
    steps = before * per_epoch
    settled = steps >= _STEPS or late or (last and (done > 1 or done * per_epoch >= 2 * _STEPS))
    for index, (layer, began) in enumerate(zip(record["layers"], first["layers"], strict=False)):
        if not layer.keys() & {"training_accuracy", "positive_goodness"}:
            continue  # its rule measures nothing that could be judged
        cure = _cure(index, layer, began, config, classes, found)
        units = config.network.layers[index]
        if "training_accuracy" in layer:
            finding = _classifier(index, layer, units, _least(classes) if settled else 0.0, classes, cure)
        else:
            # The only chapter's mean has the first steps in it, too.
            least = 0.0 if not settled else _UNDECIDED_LATE if late and before else _UNDECIDED
            finding = _layer(index, layer, config.rule.loss_scale(units, classes), done > 1, least, cure)
        found += [finding] if finding else []
    if "head" in record and settled and (config.head.step == "batch" or before >= _STEPS):
        found += _head(record["head"], config, classes, found)
    if last and dataset.test:
        found += _accuracies(record["accuracy"], classes, dataset.test, found)
    return found


def _layer(index: int, now: dict[str, float], large: float, begun: bool, least: float, cure: str) -> Finding | None:
    """Return what is wrong with a layer that learns by goodness.

    Its loss counts if it has `begun` to learn; `least` percent of the pairs are to be told apart.
    """
    who, loss = f"layer {index + 1}", now["loss"]
    positive, negative = now["positive_goodness"], now["negative_goodness"]
    pairs = now.get("pairwise_accuracy", 100.0)  # records of older versions have none
    goodness = f"goodness {positive:.4g} of positives and {negative:.4g} of negatives"
    if max(positive, negative) <= _ZERO * large:
        return Finding("dead", who, _DEAD, cure)
    if begun and loss >= max(_LARGE * large, 2 * math.log(2)):
        text = f"loss {loss:.4g}, of the order of {large:g}, which is large: {goodness}"
        return Finding("loss", who, text, cure)
    if pairs < least:
        text = f"{goodness}, told apart in {pairs:.0f} % of the pairs, where 50 % is chance"
        return Finding("undecided", who, text, cure)
    return None


def _classifier(index: int, now: dict[str, float], units: int, least: float, classes: int, cure: str) -> Finding | None:
    """Return what is wrong with a layer that learns by a classifier of its own, `least` percent of whose are right."""
    accuracy = now["training_accuracy"]
    if now.get("squares", units) <= _ZERO * units:
        return Finding("dead", f"layer {index + 1}", _DEAD, cure)
    if accuracy >= least:
        return None
    text = f"the training accuracy of its classifier is {accuracy:.1f} %; {100 / classes:.3g} % is chance"
    return Finding("chance", f"layer {index + 1}", text, cure)


def _head(now: dict[str, float], config: Config, classes: int, below: Sequence[Finding]) -> list[Finding]:
    accuracy = now["training_accuracy"]
    if accuracy >= _least(classes):
        return []
    text = f"its training accuracy is {accuracy:.1f} %; {100 / classes:.3g} % is chance"
    rate = f"head.optimizer.learning_rate = {config.head.optimizer.learning_rate:g}"
    cure = f"fix {below[0].who} first" if below else f"change {rate}"
    return [Finding("chance", "softmax head", text, cure)]


def _least(classes: int) -> float:
    """Return the accuracy in percent below which a classifier says hardly more than chance does."""
    chance = 100 / classes
    return chance + min(_SKILL * (100 - chance), chance)


def _accuracies(accuracy: dict[str, float], classes: int, test: int, below: Sequence[Finding]) -> list[Finding]:
    """Return the methods whose accuracy on `test` samples may be chance's, to two standard deviations."""
    chance = 1 / classes
    least = min(_least(classes), 100 * (chance + 2 * math.sqrt(chance * (1 - chance) / test)))
    cure = f"fix {below[0].who} first" if below else "look whether the labels belong to the images"
    return [
        Finding("accuracy", method, f"test accuracy {value:.2f} %; {100 * chance:.3g} % is chance", cure)
        for method, value in accuracy.items()
        if value < least
    ]


def _cure(
    index: int, now: dict[str, float], began: dict[str, float], config: Config, classes: int, below: Sequence[Finding]
) -> str:  # fmt: skip
    """Return the likeliest cure of a layer that does not learn, whose record in the first chapter was `began`."""
    rate, loss = f"optimizer.learning_rate = {config.optimizer.learning_rate:g}", now["loss"]
    scale = config.rule.loss_scale(config.network.layers[index], classes)
    labelled = "positive_goodness" in now
    goodness = max(now["positive_goodness"], now["negative_goodness"]) if labelled else now.get("squares", 1.0)
    if below:
        return f"fix {below[0].who} first"
    if FORMATS[config.data.name].own and config.data.standardise == "fixed":
        return "set data.standardise = 'set', which brings the pixels to a common scale"
    if goodness <= _ZERO * scale:
        return f"lower {rate}"
    if config.network.normalise.unit_length and labelled:
        return "train longer, or set network.normalise = 'rms'"
    if (
        now is not began
        and loss > min(2 * math.log(2), _GUESS * scale)
        and abs(loss - began["loss"]) < _MOVED * began["loss"]
    ):
        return f"raise {rate}, or train longer: the loss has hardly changed since the first chapter"
    if index == 0 and loss < _LARGE * scale and labelled:
        return f"raise data.label_value = {config.data.label_value}, or lower {rate}"
    return f"lower {rate}, or train longer"
