"""Which samples come in which order, their classes, and the wrong classes they are shown with."""

from __future__ import annotations

import math

import numpy as np

from ..config.schema import Config
from ..data.labels import class_type
from . import random
from .blocks import Blocks
from .negatives import wrong_classes


def order_of(config: Config, epoch: int, count: int) -> np.ndarray:
    """Return the order in which `count` samples come in `epoch`, int64: whoever needs it can know it."""
    if not config.train.shuffle:
        return np.arange(count)
    if config.data.window:
        return Blocks(config, epoch, count).shuffled(random.words(config.seed, random.Purpose.ORDER, epoch, count))
    return random.order(config.seed, epoch, count)


class Epoch:
    """The order in which the samples come in an epoch, and the wrong classes that they are shown with.

    Attributes
    ----------
    epoch : from 0
    order, negatives : (samples,) int64
    """

    def __init__(self, epoch: int, order: np.ndarray, negatives: np.ndarray, size: int) -> None:
        """Let `size` samples be a batch."""
        self.epoch, self.order, self.negatives, self._size = epoch, order, negatives, size

    def batch(self, index: int) -> np.ndarray:
        """Return the samples of batch `index`, int64."""
        return self.order[index * self._size : (index + 1) * self._size]


class Labels:
    """The classes of the samples and their negatives.

    Attributes
    ----------
    classes : (samples,) int64
    weights : (samples,) float32, how often each sample's loss counts, or None: once
    choices : the adaptive negatives by chapter, (samples,) of `class_type`
    """

    def __init__(
        self, config: Config, classes: np.ndarray, number: int, weights: np.ndarray | None = None
    ) -> None:  # fmt: skip
        """Keep `classes` (samples,), values below `number`, and `weights` (samples,) float32, if there are any."""
        self.config, self.number = config, number
        self.classes = classes.astype(np.int64)
        self.weights = weights
        self._whole = 0.0 if weights is None else math.fsum(weights.tolist())
        self.choices: dict[int, np.ndarray] = {}
        self._words: tuple[int, np.ndarray] = (-1, np.empty(0, np.uint64))

    def of_epoch(self, epoch: int, chapter: int) -> Epoch:
        """Return the order of `epoch` with the negatives of `chapter`."""
        seed, negatives = self.config.seed, self.config.negatives
        if chapter in self.choices:
            shown = self.choices[chapter].astype(np.int64)
        else:
            first = chapter * self.config.train.epochs // self.config.chapters
            shown = random.wrong_classes(seed, negatives.key(epoch, first), self.classes, self.number)
        order = order_of(self.config, epoch, len(self.classes))
        return Epoch(epoch, order, shown, self.config.train.batch_size)

    def weigh(self, samples: np.ndarray) -> tuple[np.ndarray, float]:
        """Return how often the loss of each of `samples` counts in the mean over them, and their share of the whole.

        They count once in the mean; where none counts at all there are only zeros. Sums are exact, so they have no
        order.
        """
        assert self.weights is not None
        weights = self.weights[samples]
        total = math.fsum(weights.tolist())
        factor = len(samples) / total if total else 0.0
        return (weights * np.float64(factor)).astype(np.float32), total / self._whole

    def wrong(self, samples: np.ndarray) -> np.ndarray:
        """Return every wrong class of `samples`, (samples, classes - 1) int64, ascending."""
        return wrong_classes(self.classes[samples], self.number)

    def choose(self, chapter: int, samples: np.ndarray, scores: np.ndarray) -> None:
        """Choose negatives for `chapter` by the logits of all classes or the goodness of `wrong` ones, float32."""
        chosen = self.choices.setdefault(chapter, np.zeros(len(self.classes), class_type(self.number)))
        chosen[samples] = self._chosen(chapter, samples, scores)

    def choose_now(self, epoch: Epoch, samples: np.ndarray, scores: np.ndarray) -> None:
        """Choose negatives for `epoch` by scores, see `choose`."""
        epoch.negatives[samples] = self._chosen(epoch.epoch, samples, scores)

    def _chosen(self, key: int, samples: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the wrong class chosen for each sample; `key` says for which chapter or epoch."""
        if self._words[0] != key:
            self._words = key, random.words(self.config.seed, random.Purpose.CHOICE, key, len(self.classes))
        chosen: np.ndarray = self.config.negatives.choose(scores, self.classes[samples], self._words[1][samples])
        return chosen

    def give_choice(self, chapter: int, epoch: Epoch, index: int | None, out: np.ndarray) -> None:
        """Write the choice for `chapter`, or the one for batch `index` of `epoch`, into `out`, of `class_type`."""
        chosen = self.choices[chapter] if index is None else epoch.negatives[epoch.batch(index)]
        out[: len(chosen)] = chosen

    def take_choice(self, chapter: int, epoch: Epoch, index: int | None, found: np.ndarray) -> None:
        """Take over what `give_choice` wrote on another rank."""
        if index is None:
            self.choices[chapter] = found.copy()
        else:
            samples = epoch.batch(index)
            epoch.negatives[samples] = found[: len(samples)]

    def forget(self, chapter: int) -> None:
        """Let go of the choices for the chapters up to `chapter`."""
        for past in [past for past in self.choices if past <= chapter]:
            del self.choices[past]
