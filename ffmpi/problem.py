"""The sizes of a run: what the data set and the configuration say together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .config import Config
from .layer import widths
from .schedule import Work


@dataclass(frozen=True)
class Problem:
    """The sizes that the data set gives to a run; every rank knows them."""

    shape: tuple[int, ...]  # of an image
    names: tuple[str, ...]  # of the classes
    train: int  # samples
    test: int
    digest: int = 0  # CRC-32 of the training images and classes

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return int(np.prod(self.shape))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)


def rows_of(config: Config, classes: int) -> int:
    """Return the rows of the largest batch: positives, negatives and neutral inputs, or one image with every class."""
    return max(config.train.batch * (3 if config.head_layers else 2), classes)


def work_of(config: Config, problem: Problem, ranks: int) -> Work:
    """Return what the schedule has to know of a run."""
    batch, head_layers = config.train.batch, config.head_layers
    sizes = widths(config, problem.pixels, problem.classes)
    forward_rows = batch * (3 if head_layers else 2)
    costs = [2.0 * (forward_rows + 2 * batch) * inputs * units for inputs, units in pairwise(sizes)]
    costs[0] = 4.0 * batch * sizes[0] * sizes[1]  # each image once forward, once in the update
    if head_layers:
        costs.append(4.0 * batch * problem.classes * sum(config.network.layers[layer] for layer in head_layers))
    methods = config.classify.methods
    return Work(
        ranks=ranks,
        layers=len(config.network.layers),
        head_layers=head_layers,
        costs=tuple(costs),
        depth=config.schedule.depth,
        epochs=config.train.epochs,
        chapters=config.chapters,
        batches=-(-problem.train // batch),
        softmax_batches=-(-problem.test // batch) if "softmax" in methods else 0,
        goodness_batches=-(-problem.test // images_at_once(config, problem.classes)) if "goodness" in methods else 0,
        softmax_every=config.classify.softmax_every,
        goodness_every=config.classify.goodness_every,
        save_every=config.checkpoint.every,
    )


def images_at_once(config: Config, classes: int) -> int:
    """Return how many images are scored by goodness in one batch, each with all its candidates."""
    return rows_of(config, classes) // classes
