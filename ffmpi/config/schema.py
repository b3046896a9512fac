"""The configuration's tables: what can be set, in which limits, and the defaults.

What comes out of `config.read` is complete: it is written into the run directory and into every checkpoint. A table of
a family, such as [optimizer], holds the chosen member's settings: these stand with the member, found in `registries`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .fields import Count, CountOrNone, Fraction, Positive, Size, Table
from .presets import PRESETS
from .registries import (
    AUGMENTATIONS,
    FORMATS,
    LEARNING_RATES,
    NEGATIVES,
    NORMALISATIONS,
    OPTIMIZERS,
    RULES,
    SCHEDULES,
    TRANSFORMS,
)
from .registry import ListOf, NameIn, OneOf

_RULE = OneOf(RULES, "goodness")
_SCHEDULE = OneOf(SCHEDULES, "pipeline")
_NEGATIVES = OneOf(NEGATIVES, "random")
_LEARNING_RATE = OneOf(LEARNING_RATES, "linear")
_NORMALISE = OneOf(NORMALISATIONS, "rms")
_OPTIMIZER = OneOf(OPTIMIZERS, "sgd")
_HEAD_OPTIMIZER = OneOf(OPTIMIZERS, "sgd", {"sgd": {"learning_rate": 0.1, "weight_decay": 0.003}})

#: What stands in data.path for the number of a shard.
SHARD = "{shard}"


class Data(Table, frozen=True):
    """Which samples, how a pixel becomes an input, (pixel / 255 - mean) / std, and where the label stands.

    Float pixels are not divided by 255.
    """

    name: Annotated[
        str, NameIn(FORMATS), Meta(description="The data set, or the format of own data: see 'ffmpi data'.")
    ] = "digits"
    path: Annotated[str, Meta(description="Directory or file of the set; digits need none.")] = ""
    mean: Annotated[float, Meta(description="What is taken from each pixel.", extra={"unit": "inputs"})] = 0.0
    std: Annotated[Positive, Meta(description="What it is then divided by.", extra={"unit": "inputs"})] = 1.0
    standardise: Annotated[
        Literal["auto", "fixed", "set", "pixel"],
        Meta(
            description="Where mean and standard deviation come from: given here (fixed), or measured on the training "
            "samples, of the whole set or of each pixel; auto: 'set' for own data for which none are given, else "
            "'fixed'."
        ),
    ] = "auto"
    label: Annotated[
        Literal["auto", "overlay", "append"],
        Meta(
            description="Where the label is written: over the first pixels, or beside them; auto: over them if it "
            "covers no more than a tenth."
        ),
    ] = "auto"
    label_value: Annotated[
        Literal["auto"] | Positive,
        Meta(
            description="What stands in the place of the class shown; auto: in proportion to the length of a measured "
            "input, else 1.",
            extra={"unit": "inputs"},
        ),
    ] = "auto"
    images: Annotated[
        str,
        Meta(
            description="Name of the images in an HDF5 or NumPy file, in groups train and test or at the root; or with "
            "the split in it, '{split}_set_x', '{train|valid}/x', 'x{|_test}'."
        ),
    ] = "images"
    labels: Annotated[
        str,
        Meta(
            description="Name of the labels in an HDF5 or NumPy file, as data.images; in CSV, of their column, or "
            "'first' or 'last'."
        ),
    ] = "labels"
    weights: Annotated[
        str,
        Meta(
            description="Name of what says how often the loss of each training sample counts, beside the labels; in "
            "CSV, of its column; none: all count once."
        ),
    ] = ""
    validation: Annotated[
        CountOrNone | Fraction,
        Meta(
            description="Training samples that are drawn to validate with and never learnt from: how many, or a share "
            "of them below 1.",
            extra={"unit": "samples"},
        ),
    ] = 0
    window: Annotated[
        CountOrNone,
        Meta(
            description="Training samples that are shuffled together; an HDF5 file's images are then read window by "
            "window as they are needed, and need not fit into memory; 0: all samples, in memory.",
            extra={"unit": "samples"},
        ),
    ] = 0


class Network(Table, frozen=True):
    """The layers' units and what happens between two layers."""

    layers: Annotated[
        list[Size], Meta(min_length=1, max_length=1024, description="Each layer's units.", extra={"unit": "units"})
    ] = msgspec.field(default_factory=lambda: [1000, 1000, 1000])
    normalise: Annotated[Any, _NORMALISE] = msgspec.field(default_factory=_NORMALISE)
    transforms: Annotated[
        tuple[Any, ...],
        ListOf(TRANSFORMS),
        Meta(
            description="What happens to each layer's input but the first's while the layer learns, one after the "
            "other; tables [[network.transforms]]."
        ),
    ] = ()
    input_transforms: Annotated[
        tuple[Any, ...],
        ListOf(TRANSFORMS),
        Meta(
            description="What happens to the images, scaled and without labels, while the network learns, one after "
            "the other; tables [[network.input_transforms]]."
        ),
    ] = ()
    init: Annotated[
        Literal["normal", "uniform"],
        Meta(
            description="Distribution of the first weights, of standard deviation or bound 1 / sqrt(inputs); uniform: "
            "biases, too, as in PyTorch's Linear, else they are zero."
        ),
    ] = "normal"


class Head(Table, frozen=True):
    """The softmax classifier on the activations of all layers but the first; with local-softmax, each layer's own."""

    step: Annotated[
        Literal["batch", "epoch"],
        Meta(
            description="When the head takes a step: on each batch, or once an epoch on the mean gradient of all its "
            "batches, as in the code of the paper's first author."
        ),
    ] = "batch"
    init: Annotated[
        Literal["zero", "uniform"], Meta(description="First weights: zeros, or uniform in +-1 / sqrt(inputs).")
    ] = "zero"
    bias: Annotated[bool, Meta(description="Whether logits have a bias.")] = True
    normalise: Annotated[bool, Meta(description="Whether the head reads normalised activations.")] = True
    optimizer: Annotated[Any, _HEAD_OPTIMIZER] = msgspec.field(default_factory=_HEAD_OPTIMIZER)


class Classify(Table, frozen=True):
    """How samples are classified, and how often that is measured."""

    methods: Annotated[
        list[str],
        Meta(description="Ways to classify, of those the rule offers; none: all of them.", extra={"unit": "methods"}),
    ] = msgspec.field(default_factory=list)
    softmax_every: Annotated[
        CountOrNone,
        Meta(
            description="How often accuracy is measured by softmax classifiers; 0: after the last chapter only.",
            extra={"unit": "chapters"},
        ),
    ] = 1
    goodness_every: Annotated[
        CountOrNone,
        Meta(
            description="How often accuracy is measured by goodness; 0: after the last chapter only.",
            extra={"unit": "chapters"},
        ),
    ] = 0
    goodness_layers: Annotated[
        list[Count],
        Meta(
            description="Layers whose goodness is summed, counted from 1, for classes as for adaptive negatives; none: "
            "all but the first.",
            extra={"unit": "layers"},
        ),
    ] = msgspec.field(default_factory=list)


class Train(Table, frozen=True):
    """How long and in what portions."""

    epochs: Annotated[
        Count, Meta(description="How often each layer learns from each sample.", extra={"unit": "epochs"})
    ] = 100
    chapters: Annotated[
        CountOrNone,
        Meta(
            description="How many parts the epochs are cut into, in which the layers of a chapter schedule learn in "
            "turn; a divisor of the epochs; 0: as many as epochs.",
            extra={"unit": "chapters"},
        ),
    ] = 0
    batch_size: Annotated[
        Size, Meta(description="Samples that a layer takes one step on.", extra={"unit": "samples"})
    ] = 100
    shuffle: Annotated[
        bool,
        Meta(
            description="Whether samples come in another order each epoch; where layers learn in turn, each chapter, "
            "since its batches come again, unless negatives.resample is 'batch'."
        ),
    ] = True


class Shards(Table, frozen=True):
    """How schedule `federated` divides the training samples; chapter c learns from shard c modulo `count`."""

    count: Annotated[Count, Meta(description="Shards, at most one a chapter.", extra={"unit": "shards"})] = 1
    by: Annotated[
        Literal["shuffle", "class", "file"],
        Meta(
            description="What decides which shard a sample is in: a seeded shuffle, the order of the classes, or the "
            "file it stands in; then data.path has {shard} in it, which is the shard's number, from 1."
        ),
    ] = "shuffle"
    sizes: Annotated[
        list[Positive],
        Meta(description="Shares of the samples, one a shard; none: equal ones.", extra={"unit": "shares"}),
    ] = msgspec.field(default_factory=list)
    test_path: Annotated[str, Meta(description="Path of the samples to test with, for shards by file.")] = ""


class Checkpoint(Table, frozen=True):
    """How often the state is saved; it always is after the last chapter."""

    every: Annotated[
        Count, Meta(description="Chapters from one checkpoint to the next.", extra={"unit": "chapters"})
    ] = 1
    best: Annotated[
        bool,
        Meta(
            description="Whether a copy is kept of the checkpoint that is best on the validation samples, by the first "
            "of the methods to classify."
        ),
    ] = False
    wait: Annotated[
        bool,
        Meta(
            description="Whether the pipeline waits while its state is saved. Else training goes on, for which ranks "
            "keep a copy of their weights and moments until these are saved."
        ),
    ] = False


class Config(Table, frozen=True):
    """Everything a run's weights depend on, and how it is carried out."""

    preset: Annotated[
        str,
        NameIn(PRESETS),
        Meta(description="Whose settings are the defaults: those of a published code; none: ffmpi's own, hinton's."),
    ] = ""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="What all random numbers of the run are made from.")] = 0
    data: Data = msgspec.field(default_factory=Data)
    augment: Annotated[
        tuple[Any, ...],
        ListOf(AUGMENTATIONS),
        Meta(description="How training images are moved, anew in each epoch, one after the other; tables [[augment]]."),
    ] = ()
    network: Network = msgspec.field(default_factory=Network)
    rule: Annotated[Any, _RULE] = msgspec.field(default_factory=_RULE)
    negatives: Annotated[Any, _NEGATIVES] = msgspec.field(default_factory=_NEGATIVES)
    optimizer: Annotated[Any, _OPTIMIZER] = msgspec.field(default_factory=_OPTIMIZER)
    learning_rate: Annotated[Any, _LEARNING_RATE] = msgspec.field(default_factory=_LEARNING_RATE)
    head: Head = msgspec.field(default_factory=Head)
    classify: Classify = msgspec.field(default_factory=Classify)
    train: Train = msgspec.field(default_factory=Train)
    schedule: Annotated[Any, _SCHEDULE] = msgspec.field(default_factory=_SCHEDULE)
    shards: Shards = msgspec.field(default_factory=Shards)
    checkpoint: Checkpoint = msgspec.field(default_factory=Checkpoint)

    @property
    def chapters(self) -> int:
        """The number of chapters S; each is epochs / S epochs for every layer."""
        return self.train.chapters or self.train.epochs

    @property
    def methods(self) -> tuple[str, ...]:
        """How samples are classified."""
        return tuple(self.classify.methods) or self.rule.methods

    @property
    def _upper(self) -> tuple[int, ...]:
        """All layers but the first, by index from 0; if there is only one, that one."""
        count = len(self.network.layers)
        return tuple(range(min(1, count - 1), count))

    @property
    def head_layers(self) -> tuple[int, ...]:
        """The layers the head reads, by index from 0: all but the first; none without a head."""
        return self._upper if "softmax" in self.methods else ()

    @property
    def goodness_layers(self) -> tuple[int, ...]:
        """The layers whose goodness tells the class, by index from 0."""
        return tuple(layer - 1 for layer in self.classify.goodness_layers) or self._upper
