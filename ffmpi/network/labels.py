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


class Labels:
    """The order of the samples, their classes and their negatives, as they are now.

    Attributes
    ----------
    classes, order, negatives : (samples,) int64
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
        self.order = np.arange(len(classes))
        self.negatives = self.classes
        self.choices: dict[int, np.ndarray] = {}
        self._now = (-1, -1)
        self._words: tuple[int, np.ndarray] = (-1, np.empty(0, np.uint64))

    def set_epoch(self, epoch: int, chapter: int) -> None:
        """Take the order of `epoch` and the negatives of `chapter`."""
        if self._now == (epoch, chapter):
            return
        self._now = (epoch, chapter)
        seed, negatives = self.config.seed, self.config.negatives
        self.order = order_of(self.config, epoch, len(self.classes))
        if chapter in self.choices:
            self.negatives = self.choices[chapter].astype(np.int64)
            return
        first = chapter * self.config.train.epochs // self.config.chapters
        drawn = negatives.key(epoch, first)
        self.negatives = random.wrong_classes(seed, drawn, self.classes, self.number)

    def batch(self, index: int) -> np.ndarray:
        """Return the samples of batch `index`, int64."""
        size = self.config.train.batch_size
        return self.order[index * size : (index + 1) * size]

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

    def choose_now(self, samples: np.ndarray, scores: np.ndarray) -> None:
        """Choose negatives for the running epoch by scores, see `choose`."""
        self.negatives[samples] = self._chosen(self._now[0], samples, scores)

    def _chosen(self, key: int, samples: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the wrong class chosen for each sample; `key` says for which chapter or epoch."""
        if self._words[0] != key:
            self._words = key, random.words(self.config.seed, random.Purpose.CHOICE, key, len(self.classes))
        chosen: np.ndarray = self.config.negatives.choose(scores, self.classes[samples], self._words[1][samples])
        return chosen

    def give_choice(self, chapter: int, index: int | None, out: np.ndarray) -> None:
        """Write the choice for `chapter`, or the running epoch's for batch `index`, into `out`, of `class_type`."""
        chosen = self.choices[chapter] if index is None else self.negatives[self.batch(index)]
        out[: len(chosen)] = chosen

    def take_choice(self, chapter: int, index: int | None, found: np.ndarray) -> None:
        """Take over what `give_choice` wrote on another rank."""
        if index is None:
            self.choices[chapter] = found.copy()
        else:
            samples = self.batch(index)
            self.negatives[samples] = found[: len(samples)]

    def forget(self, chapter: int) -> None:
        """Let go of the choices for the chapters up to `chapter`."""
        for past in [past for past in self.choices if past <= chapter]:
            del self.choices[past]
