"""The layout of a batch: how many rows it has, and which of them are positive, negative, neutral or plain.

Nobody else knows. Rows of a batch come in the order: the rows that layers learn from (positives, then negatives; or
plain images), then the neutral rows that the head reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..config.schema import Config


@dataclass(frozen=True)
class Layout:
    """What a rule learns from.

    labelled : rows show a label, and a head reads neutral ones; else rows are plain images, which a head reads, too
    rows : of a sample in a training batch
    """

    labelled: bool
    rows: int


#: The layouts that a rule may ask for. Of pairs, all positives come first, so a pair's rows are `samples` apart.
LAYOUTS = {"pairs": Layout(labelled=True, rows=2), "plain": Layout(labelled=False, rows=1)}


class BatchLayout:
    """The rows of every stream's batches under one configuration."""

    def __init__(self, config: Config, classes: int) -> None:
        self.layout = LAYOUTS[config.rule.layout]
        self.labelled = self.layout.labelled
        self.classes = classes
        #: Samples in a training batch.
        self.size: int = config.train.batch_size
        #: Rows of a batch that layers learn from.
        self.train_rows = self.size * self.layout.rows
        #: Rows of one in which the head's neutral rows come along.
        self.joint_rows = self.train_rows + (self.size if self.labelled and config.head_layers else 0)
        #: Rows of the largest batch; one image with every class fits into it.
        self.most_rows = max(self.joint_rows if config.schedule.by_batch else self.train_rows, classes)
        ahead = config.negatives.adaptive and config.negatives.resample == "batch"
        #: The most images that a batch shows: its own, and perhaps those of another's neutral rows.
        self.most_images = max(self.size * (2 if ahead else 1), self.scored_at_once(classes - 1))
        if not self.labelled:
            self.most_images = max(self.most_images, self.most_rows)

    def scored_at_once(self, labels: int) -> int:
        """Return how many images are scored by goodness in one batch, each with `labels` labels."""
        return self.most_rows // labels

    def labels_each(self, stream: str) -> int:
        """Return with how many labels a batch of `stream` shows each sample to score it, or 0 if it does not."""
        return {"goodness": self.classes, "candidates": self.classes - 1}.get(stream, 0)

    def samples(self, stream: str) -> int:
        """Return the number of samples of all batches of `stream` but the last."""
        labels = self.labels_each(stream)
        return self.scored_at_once(labels) if labels else self.size

    def batches(self, stream: str, samples: int) -> int:
        """Return how many batches of `stream` show `samples`."""
        return -(-samples // self.samples(stream))

    def rows(self, stream: str, samples: int, neutral: int = 0) -> int:
        """Return the rows of a batch of `samples` of `stream`, with which `neutral` samples' rows come along."""
        if stream in ("train", "joint"):
            return samples * self.layout.rows + (neutral if self.labelled else 0)
        return samples * (self.labels_each(stream) or 1)

    def kinds(self, samples: int) -> np.ndarray:
        """Return what the rows that layers learn from show of `samples`: 0 positive or plain, 1 negative; int64."""
        return np.repeat(np.arange(self.layout.rows), samples)

    def head_rows(self, stream: str, samples: int, neutral: int) -> tuple[int, int]:
        """Return the first of the rows that the head reads in a batch, and how many there are."""
        if stream != "joint":
            return 0, samples
        return (samples * self.layout.rows, neutral) if self.labelled else (0, samples)

    def shape(self, stream: str, samples: int, neutral: int) -> tuple[int, int, int]:
        """Return the rows of a batch, the first that the head reads, and how many it reads."""
        return self.rows(stream, samples, neutral), *self.head_rows(stream, samples, neutral)

    def inputs(self, config: Config, pixels: int) -> int:
        """Return the number of inputs of the first layer: a label stands in the image or beside it."""
        return pixels + self.classes if self.labelled and config.data.label == "append" else pixels
