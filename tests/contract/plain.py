"""Forward-Forward in plain NumPy and float64, as the formulas stand: what a run must agree with but for rounding.

No schedule, no buffers, no skipped rows; only the random draws, the settings and `kernels/reference.py` are shared.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from ffmpi.config.schema import Config
from ffmpi.data import DataSet
from ffmpi.kernels import reference
from ffmpi.network import random
from tests.contract import plain_rules


class Matrix:
    """Weights and bias that an optimiser moves."""

    def __init__(self, weights: np.ndarray, bias: np.ndarray, optimizer: Any, *, has_bias: bool = True) -> None:
        self.optimizer, self.has_bias, self.steps, self.seen = optimizer, has_bias, 0, 0
        self.weights, self.bias = weights.astype(float), bias.astype(float) * has_bias
        self.moments = {name: (np.zeros(()), np.zeros(())) for name in ("weights", "bias")}
        self.sums: dict[str, np.ndarray | float] = {"weights": 0.0, "bias": 0.0}  # of gradients, if a step takes many

    def step(self, rate: float, **gradients: np.ndarray) -> None:
        """Take a step along the gradients by weights and bias."""
        o, self.steps = self.optimizer, self.steps + 1
        for name, g in gradients.items():
            w, (m, v), decay = getattr(self, name), self.moments[name], o.weight_decay if name == "weights" else 0.0
            if o.name == "adam":
                w, m, v = reference.adam(w, g, m, v, self.steps, rate, decay, o.beta1, o.beta2, o.epsilon)
            else:
                w, m = reference.sgd(w, g, m, rate, decay, o.momentum)
            setattr(self, name, w)
            self.moments[name] = m, v
        if not self.has_bias:
            self.bias[:] = 0


class Plain:
    """A network that trains by schedule `pipeline`, or else by the paper's chapters."""

    def __init__(self, config: Config, train: DataSet, test: DataSet) -> None:
        """Draw the weights that a run of `config` begins with."""
        self.config, self.classes = config, len(train.names)
        self.train, self.test = train.classes.astype(int), test.classes.astype(int)
        self.weights = np.ones(len(self.train)) if train.weights is None else train.weights.astype(float)
        assert train.images is not None and test.images is not None
        pixels, mean, std = train.images / 255.0, config.data.mean, config.data.std
        self.pixels = pixels.reshape(-1, 1, *train.shape, 1)
        if config.data.standardise == "set":
            mean, std = pixels.mean(), pixels.std()
        elif config.data.standardise == "pixel":
            mean, std = pixels.mean(axis=0), np.maximum(pixels.std(axis=0), 0.1 * pixels.std())
        self.inputs = lambda pixels: (pixels - mean) / std
        self.images, self.test_images = self.inputs(pixels), self.inputs(test.images / 255.0)
        units, self.labelled = config.network.layers, config.rule.layout == "pairs"
        self.count, self.append = len(units), config.data.label == "append" and self.labelled
        sizes = [train.images.shape[1] + self.append * self.classes, *units]
        self.layers = []
        for k, (inputs, outputs) in enumerate(pairwise(sizes)):
            key, bound = (config.seed, random.Purpose.WEIGHTS, k), inputs**-0.5
            if config.network.init == "uniform":
                drawn = random.uniform(*key, (inputs + 1, outputs), bound)
            else:
                drawn = np.vstack([random.normal(*key, (inputs, outputs), bound), np.zeros(outputs)])
            self.layers.append(Matrix(drawn[:-1], drawn[-1], config.optimizer))
        self.head = self._blocks(config.head_layers)
        self.classifiers = [self._blocks((k,)) for k in range(self.count if config.rule.name == "local-softmax" else 0)]
        self.losses, self.rows, self.choices = np.zeros(self.count), np.zeros(self.count), dict[int, np.ndarray]()

    def _blocks(self, layers: tuple[int, ...]) -> dict[int, Matrix]:
        """Return a softmax classifier on the outputs of `layers`; the first block has the bias."""
        head, units = self.config.head, self.config.network.layers
        blocks, bound = {}, sum(units[k] for k in layers) ** -0.5 if layers else 0.0
        for k in layers:
            drawn = np.zeros((units[k] + 1, self.classes))
            if head.init == "uniform":
                drawn = random.uniform(self.config.seed, random.Purpose.HEAD, k, drawn.shape, bound)
            blocks[k] = Matrix(drawn[:-1], drawn[-1], head.optimizer, has_bias=head.bias and k == layers[0])
        return blocks

    # -- What a network says ------------------------------------------------------------------------------------------
    def show(self, images: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Return inputs with labels: in one place, for -1 even ones; beside the image or over its first pixels."""
        if labels is None:
            return images
        shown = np.where(labels[:, None] < 0, 1 / self.classes, labels[:, None] == np.arange(self.classes))
        value = self.config.data.label_value
        assert value != "auto"  # see info.resolved
        shown = value * shown
        return np.hstack([images if self.append else images[:, self.classes :], shown][:: 1 if self.append else -1])

    def scale(self, a: np.ndarray) -> np.ndarray:
        """Return the factor that normalises each row."""
        network = self.config.network
        return reference.row_scale(
            (a * a).sum(axis=1), a.shape[1] if network.normalise.name == "rms" else 1, network.normalise.epsilon
        )

    def forward(self, k: int, a: np.ndarray) -> np.ndarray:
        """Return what layer `k` makes of `a`."""
        return reference.forward(a, self.scale(a), self.layers[k].weights, self.layers[k].bias)

    def through(self, a: np.ndarray) -> list[np.ndarray]:
        """Return what every layer makes of the first one's input."""
        outs: list[np.ndarray] = []
        for k in range(self.count):
            outs.append(self.forward(k, outs[-1] if outs else a))
        return outs

    def rate(self, optimizer: Any, epoch: int) -> float:
        """Return the learning rate of `optimizer` in `epoch`."""
        return float(optimizer.learning_rate * self.config.learning_rate.factor(epoch, self.config.train.epochs))

    def head_scale(self, h: np.ndarray) -> np.ndarray:
        """Return the factors with which a classifier reads `h`."""
        return self.scale(h) if self.config.head.normalise else np.ones(len(h))

    def logits(self, blocks: dict[int, Matrix], outs: list[np.ndarray]) -> np.ndarray:
        """Return a classifier's logits."""
        return sum(self.head_scale(outs[k])[:, None] * (outs[k] @ m.weights) + m.bias for k, m in blocks.items())

    def every_class(self, images: np.ndarray) -> np.ndarray:
        """Return the goodness of images with every class, (images, classes): chosen layers', or all but the first's."""
        first = 1 if self.config.rule.name == "collaboration" else min(2, self.count)
        chosen, columns = self.config.classify.goodness_layers or range(first, self.count + 1), []
        for label in range(self.classes):
            outs = self.through(self.show(images, np.full(len(images), label)))
            columns.append(sum(plain_rules.goodness(self.config.rule, outs[k - 1]) for k in chosen))
        return np.stack(columns, axis=1)

    def accuracy(self) -> dict[str, float]:
        """Return the percentage of test images that each method classifies rightly."""
        scores: dict[str, np.ndarray] = {}
        for method in self.config.methods:
            neutral = np.full(len(self.test), -1) if self.labelled else None
            if method == "goodness":
                scores[method] = self.every_class(self.test_images)
                continue
            outs = self.through(self.show(self.test_images, neutral))
            if self.config.rule.name == "class-groups":
                each = [plain_rules.group_goodness(h, self.classes) for h in outs]
            else:
                each = [self.logits(blocks, outs) for blocks in self.classifiers or [self.head]]
            scores[method] = sum(each) if method == "all-layers" else each[-1]
        return {method: 100 * float(np.mean(score.argmax(axis=1) == self.test)) for method, score in scores.items()}

    # -- Learning -----------------------------------------------------------------------------------------------------
    def learn(
        self, k: int, a: np.ndarray, h: np.ndarray, samples: np.ndarray, epoch: int, outs: list[np.ndarray]
    ) -> None:  # fmt: skip
        """Let layer `k` learn from what it made of `a`: positives, then negatives, or images, of `samples`.

        `outs` is what the layers below have made of the batch.
        """
        rate, rule, rows = self.rate(self.config.optimizer, epoch), self.config.rule, len(a)
        classes, often = self.train[samples], self.often(samples)
        if not often.any():
            return
        often = np.tile(often, rows // len(samples))
        if rule.name == "local-softmax":
            block, outs = self.classifiers[k][k], [h] * self.count
            error, loss = reference.softmax(self.logits({k: block}, outs), classes)
            divisor = self.config.head.normalise * (h.shape[1] if self.config.network.normalise.name == "rms" else 1)
            slope = reference.backward(
                error, block.weights, h, self.head_scale(h), divisor, self.config.network.normalise.epsilon
            )
            self.learn_classes({k: block}, outs, error, samples, epoch)
        elif rule.name in ("symba", "swish"):
            slope, loss = plain_rules.by_pairs(rule, h)
        elif rule.name == "class-groups":
            slope, loss = plain_rules.by_groups(h, classes, self.classes)
        else:
            together = outs if rule.name == "collaboration" else []
            below = sum(plain_rules.goodness(rule, one) for one in together)
            theta = rule.threshold * (h.shape[1] + sum(one.shape[1] for one in together))
            slope, loss = plain_rules.by_goodness(rule, h, below, theta)
        self.losses[k] += (often * loss).sum()
        self.rows[k] += rows
        weights, bias = reference.gradients(a, self.scale(a), often, slope)
        self.layers[k].step(rate, weights=weights, bias=bias)

    def transformed(self, k: int, a: np.ndarray, samples: np.ndarray, epoch: int) -> np.ndarray:
        """Return the input `a` of layer `k` as it learns from it: some of it is dropped."""
        each = len(a) // len(samples)
        rows = np.tile(samples, each), np.repeat(np.arange(each), len(samples))
        for place, one in enumerate(self.config.network.transforms if k else ()):
            assert one.name == "dropout"
            a = reference.dropout(a, *rows, self.config.seed, epoch, random.of_transform(k, place), one.probability)
        return a

    def often(self, samples: np.ndarray) -> np.ndarray:
        """Return how often each of `samples` counts in the mean over them: once in the mean, or not at all."""
        weights = self.weights[samples]
        return weights / (weights.mean() or 1.0)

    def learn_classes(
        self, blocks: dict[int, Matrix], outs: list[np.ndarray], error: np.ndarray, samples: np.ndarray, epoch: int
    ) -> None:  # fmt: skip
        """Let a classifier learn by the derivative of its loss by the logits of `samples`."""
        rate, often = self.rate(self.config.head.optimizer, epoch), self.often(samples)
        for k, block in blocks.items():
            weights, bias = reference.gradients(outs[k], self.head_scale(outs[k]), often, error)
            if self.config.head.step == "batch":
                if often.any():
                    block.step(rate, weights=weights, bias=bias)
                continue
            for name, gradient in (("weights", weights), ("bias", bias)):
                block.sums[name] += (
                    gradient * self.weights[samples].sum()
                )  # of their own losses, not of the batch's mean
            block.seen += len(error)
            if block.seen == len(self.train):
                block.step(rate, **{name: total / self.weights.sum() for name, total in block.sums.items()})
                block.sums, block.seen = {"weights": 0.0, "bias": 0.0}, 0

    def move(self, epoch: int) -> None:
        """Take the training images as they are seen in `epoch`: moved, then transformed, one after the other."""
        moved = self.pixels
        for place, one in enumerate(self.config.augment):
            moves = one.moves(random.augmentation(self.config.seed, epoch, place, len(moved)))
            moved = np.stack([reference.move(image, *move, 0) for image, move in zip(moved, moves, strict=True)])
        self.images = self.inputs(moved.reshape(len(moved), -1))
        rows = np.arange(len(moved)), np.zeros(len(moved), int)
        for place, one in enumerate(self.config.network.input_transforms):
            assert one.name == "dropout"
            key = self.config.seed, epoch, random.of_transform(0, place)
            self.images = reference.dropout(self.images, *rows, *key, one.probability)

    def draw(self, chapter: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the samples and the negatives of each batch as drawn in `epoch` of `chapter`."""
        c, n = self.config, len(self.train)
        self.move(epoch)
        order = random.order(c.seed, epoch, n) if c.train.shuffle else np.arange(n)
        first = chapter * c.train.epochs // c.chapters
        key = 0 if c.negatives.name == "fixed" else epoch if c.negatives.resample == "batch" else first
        negatives = self.choices.get(chapter, random.wrong_classes(c.seed, key, self.train, self.classes))
        for start in range(0, n, c.train.batch_size):
            samples = order[start : start + c.train.batch_size]
            yield samples, negatives[samples]

    def layer_input(self, samples: np.ndarray, negatives: np.ndarray) -> np.ndarray:
        """Return positives, then negatives; or plain images."""
        if not self.labelled:
            return self.images[samples]
        return np.vstack([self.show(self.images[samples], labels) for labels in (self.train[samples], negatives)])

    def learn_neutral(self, samples: np.ndarray, outs: list[np.ndarray], epoch: int) -> np.ndarray:
        """Let the head learn from neutral inputs, and return its logits from before."""
        logits = self.logits(self.head, outs)
        self.learn_classes(self.head, outs, reference.softmax(logits, self.train[samples])[0], samples, epoch)
        return logits

    def chosen(self, key: int, samples: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return negatives of `samples` for chapter or epoch `key` by scores of every class, (samples, classes)."""
        scores[np.arange(len(scores)), self.train[samples]] = -np.inf
        if self.config.negatives.scores == "softmax":
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            shares = np.cumsum(powers / powers.sum(axis=1, keepdims=True), axis=1)
            word = random.words(self.config.seed, random.Purpose.CHOICE, key, len(self.train))[samples]
            scores = shares > (word / 2.0**64)[:, None]  # the first of these is the class
        return scores.argmax(axis=1)

    def run(self) -> None:
        """Train to the end; `losses` are the layers' means in the last chapter."""
        c, chapter_epochs = self.config, self.config.train.epochs // self.config.chapters
        for chapter in range(c.chapters):
            self.losses[:], self.rows[:] = 0, 0
            epochs = range(chapter * chapter_epochs, (chapter + 1) * chapter_epochs)
            scores = np.zeros((len(self.train), self.classes))
            (self._pipeline if c.schedule.name == "pipeline" else self._chapter)(chapter, epochs, scores)
            if c.negatives.name == "adaptive" and c.negatives.resample == "chapter":
                if c.negatives.scores == "goodness":
                    self.move(epochs[0])
                    scores = self.every_class(self.images)
                key = chapter + c.negatives.lag
                self.choices[key] = self.chosen(key, np.arange(len(scores)), scores)
            self.losses /= self.rows

    def _pipeline(self, chapter: int, epochs: range, scores: np.ndarray) -> None:
        """Let every layer learn from each batch; the next one gets its output from before.

        If the head chooses every batch's negatives, it reads its neutral inputs `ahead` batches before.
        """
        each = self.config.negatives.name == "adaptive" and self.config.negatives.resample == "batch"
        ahead = self.config.negatives.lag if each else 0
        for epoch in epochs:
            batches = list(self.draw(chapter, epoch))
            for now in range(-ahead, len(batches)):
                if self.head and now + ahead < len(batches):
                    samples, negatives = batches[now + ahead]
                    neutral = self.through(self.show(self.images[samples], np.full(len(samples), -1)))
                    scores[samples] = self.learn_neutral(samples, neutral, epoch)
                    if each:
                        negatives[:] = self.chosen(epoch, samples, scores[samples])
                if now < 0:
                    continue
                samples, negatives = batches[now]
                a = self.layer_input(samples, negatives)
                outs: list[np.ndarray] = []
                for k in range(self.count):
                    a = self.transformed(k, a, samples, epoch)
                    h = self.forward(k, a)
                    self.learn(k, a, h, samples, epoch, outs)
                    outs.append(h)
                    a = h

    def _chapter(self, chapter: int, epochs: range, scores: np.ndarray) -> None:
        """Let one layer after another learn for all epochs, then the head (paper, Algorithms 1 and 2)."""
        each = self.config.negatives.resample == "batch"
        for k in range(self.count):
            for epoch in epochs:
                for samples, negatives in self.draw(chapter, epoch if each else epochs[0]):
                    a = self.layer_input(samples, negatives)
                    outs: list[np.ndarray] = []
                    for before in range(k):
                        a = self.forward(before, a)
                        outs.append(a)
                    a = self.transformed(k, a, samples, epoch)
                    self.learn(k, a, self.forward(k, a), samples, epoch, outs)
        for epoch in epochs if self.head else ():
            for samples, _ in self.draw(chapter, epochs[0]):
                neutral = self.through(self.show(self.images[samples], np.full(len(samples), -1)))
                scores[samples] = self.learn_neutral(samples, neutral, epoch)
