"""The configuration's tables: what can be set, the defaults and the presets.

What comes out of `config.read` is complete: it is written into the run directory and into every checkpoint.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Size = Annotated[int, Meta(ge=1, le=2**20)]  # of what memory is made for
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]


class Table(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the configuration."""


class Data(Table, frozen=True):
    """Which samples, how a pixel becomes an input, (pixel / 255 - mean) / std, and where the label stands.

    Float pixels are not divided by 255. With `standardise` mean and standard deviation are not those given here but
    measured on the training samples: of the whole set, or of each pixel. `auto` is 'set' for own data, for which none
    are given, else 'fixed'. The label is written over the first pixels or beside them, `auto`: over them if it covers
    no more than a tenth; its value, `auto`, is in proportion to the length of a measured input, else 1.
    """

    name: str = "digits"
    path: str = ""  # directory or file of the set; digits need none
    mean: float = 0.0
    std: Positive = 1.0
    standardise: Literal["auto", "fixed", "set", "pixel"] = "auto"
    label: Literal["auto", "overlay", "append"] = "auto"
    label_value: Literal["auto"] | Positive = "auto"
    images: str = "images"  # names in an HDF5 file: in groups train and test, or at the root; a name may itself say
    labels: str = "labels"  # where the split's stands: '{split}_set_x', '{train|valid}/y' or 'x{|_test}'


class Network(Table, frozen=True):
    """The layers' units and what happens between two layers."""

    layers: Annotated[list[Size], Meta(min_length=1, max_length=1024)] = msgspec.field(
        default_factory=lambda: [1000, 1000, 1000]
    )
    normalise: Literal["rms", "l2"] = "rms"
    eps: Positive = 1e-8
    init: Literal["normal", "uniform"] = "normal"  # uniform: biases, too, as in PyTorch's Linear; else they are zero


class Rule(Table, frozen=True):
    """How a layer learns: by its goodness, or by a softmax classifier of its own (the paper's Performance-Optimized).

    Goodness is the sum or mean of the squared activities, compared with threshold x units.
    """

    name: Literal["goodness", "local-softmax"] = "goodness"
    goodness: Literal["sum", "mean"] = "sum"
    threshold: Positive = 1.0


class Negatives(Table, frozen=True):
    """Wrong classes, one a sample: drawn once for the run, drawn anew, or chosen by what the network says.

    Adaptive ones are the class of the greatest goodness, or drawn by the head's softmax; random ones until there are
    scores. They are for the chapter, or the batch, that is `lag` after the one for which the network gave the scores.
    So many can be under way at once: with fewer than there are ranks, these wait for each other; with more, negatives
    come of an older network than they need to.
    """

    kind: Literal["fixed", "random", "adaptive"] = "random"
    redraw: Literal["chapter", "batch"] = "chapter"  # for each chapter, or whenever a batch is learnt
    scores: Literal["softmax", "goodness"] = "softmax"
    lag: Count = 1


class Optimizer(Table, frozen=True):
    """Adam (with decoupled decay), or SGD along the running mean of the gradient.

    Rate and decay here are SGD's; where an optimiser is only named it has those of `OPTIMIZERS`.
    """

    name: Literal["adam", "sgd"] = "sgd"
    rate: Positive = 0.01
    decay: NotNegative = 0.001
    momentum: Fraction = 0.9
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Positive = 1e-8


class Head(Table, frozen=True):
    """The softmax classifier on the activities of all layers but the first; with local-softmax, those on each layer.

    The head takes a step on each batch, or one an `epoch` on the mean gradient of all its batches, as in the code of
    the paper's first author.
    """

    step: Literal["batch", "epoch"] = "batch"
    init: Literal["zero", "uniform"] = "zero"
    bias: bool = True
    normalise: bool = True
    optimizer: Optimizer = Optimizer(rate=0.1, decay=0.003)


class Classify(Table, frozen=True):
    """How classes are read out, and after how many chapters each is measured (0: after the last one only).

    No methods: all that the rule has, softmax and goodness, or the last layer's classifier and that of all layers.
    Goodness is summed over `goodness_layers`, counted from 1; if there are none, over all but the first. So it is for
    adaptive negatives by goodness.
    """

    methods: list[Literal["softmax", "goodness", "last-layer", "all-layers"]] = msgspec.field(default_factory=list)
    softmax_every: Annotated[int, Meta(ge=0)] = 1  # also for the layers' classifiers
    goodness_every: Annotated[int, Meta(ge=0)] = 0
    goodness_layers: list[Count] = msgspec.field(default_factory=list)


class Train(Table, frozen=True):
    """How long and in what portions; the rate falls linearly to 0 after `constant` of the epochs.

    With `shuffle` the samples are in another order each epoch; where the layers learn in turn, each chapter, since its
    batches come again, unless negatives.redraw is 'batch', whichever the rule.
    """

    epochs: Count = 100
    chapters: Annotated[int, Meta(ge=0)] = 0  # 0: as many as epochs
    batch: Size = 100
    shuffle: bool = True
    constant: Annotated[float, Meta(ge=0, le=1)] = 0.5


class Schedule(Table, frozen=True):
    """Who does what when; `depth` is the number of buffers at each end of a link.

    A waiting rank ends the job when the rank it waits for, or the network between, has given no sign of life for
    `timeout` seconds. A rank gives one between any two kernels: only a single kernel, or one read or write of a file,
    that takes longer needs a longer `timeout`. What a suspended job sleeps does not count.
    """

    name: Literal["sequential", "pipeline", "single-layer", "all-layers", "federated"] = "pipeline"
    exchange: Literal["activations", "weights"] = "activations"  # between the ranks of single-layer
    depth: Annotated[int, Meta(ge=1, le=1024)] = 3
    threads: Count = 1  # Numba threads of each rank
    timeout: Positive = 3600.0  # seconds


#: What stands in data.path for the number of a shard.
SHARD = "{shard}"


class Shards(Table, frozen=True):
    """How schedule `federated` divides the training samples; chapter c learns from shard c modulo `count`.

    By a seeded shuffle or in the order of the classes; then `sizes` are the shards' shares, equal ones if empty. Or by
    file: data.path has {shard} for the shard's number, from 1, and `held_out` is the path of the samples to test with.
    """

    count: Count = 1
    by: Literal["shuffle", "class", "file"] = "shuffle"
    sizes: list[Positive] = msgspec.field(default_factory=list)
    held_out: str = ""


class Checkpoint(Table, frozen=True):
    """How often the state is saved, in chapters; it is always saved after the last one."""

    every: Count = 1


class Config(Table, frozen=True):
    """Everything a run's weights depend on, and how it is carried out."""

    preset: Literal["", "hinton", "paper", "dff"] = ""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    data: Data = Data()
    network: Network = Network()
    rule: Rule = Rule()
    negatives: Negatives = Negatives()
    optimizer: Optimizer = Optimizer()
    head: Head = Head()
    classify: Classify = Classify()
    train: Train = Train()
    schedule: Schedule = Schedule()
    shards: Shards = Shards()
    checkpoint: Checkpoint = Checkpoint()

    @property
    def chapters(self) -> int:
        """The number of chapters S; each is epochs / S epochs for every layer."""
        return self.train.chapters or self.train.epochs

    @property
    def local(self) -> bool:
        """Whether each layer learns by a classifier of its own."""
        return self.rule.name == "local-softmax"

    @property
    def methods(self) -> tuple[str, ...]:
        """How classes are read out."""
        return tuple(self.classify.methods) or RULE_METHODS[self.rule.name]

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


#: The ways to read out classes that each learning rule has.
RULE_METHODS = {"goodness": ("softmax", "goodness"), "local-softmax": ("last-layer", "all-layers")}

#: What an optimiser begins with where the configuration names it and the preset has another one.
OPTIMIZERS: dict[str, dict[str, dict[str, float]]] = {
    "optimizer": {"sgd": {"rate": 0.01, "decay": 0.001}, "adam": {"rate": 0.001, "decay": 0.0}},
    "head.optimizer": {"sgd": {"rate": 0.1, "decay": 0.003}, "adam": {"rate": 0.001, "decay": 0.0}},
}

#: hinton: after Hinton's published code, but without its peer normalisation, and with random negatives where it draws
#: them by softmax for each batch; `runs/paper/mnist-hinton.toml` draws them so, but `negatives.lag` batches ahead.
#: paper: after the paper with its first author's code, but that adaptive negatives by softmax are drawn, where that
#: takes the wrong class of the greatest score, and that the head takes a step on each batch, where that takes one on
#: the whole set once an epoch (`head.step = "epoch"`).
#: dff: after the code of DFF, for MNIST: its label has the value of the brightest pixel, its goodness a threshold of 2
#: (times no units: 500 x 0.004). But that learns from 50,000 of the samples, and takes another sample's class for a
#: negative, which is the right one for every tenth.
PRESETS: dict[str, dict[str, Any]] = {
    "": {},
    "hinton": {},  # the defaults
    "paper": {
        "data": {"mean": 0.1307, "std": 0.3081},
        "network": {"layers": [2000, 2000, 2000, 2000], "normalise": "l2", "eps": 1e-4, "init": "uniform"},
        "rule": {"goodness": "mean", "threshold": 0.01},
        "optimizer": {"name": "adam", "rate": 0.01, "decay": 0.0},
        "head": {
            "init": "uniform",
            "bias": False,
            "normalise": False,
            "optimizer": {"name": "adam", "rate": 1e-4, "decay": 0.0},
        },
        "train": {"epochs": 100, "chapters": 100, "batch": 64, "shuffle": False},
    },
    "dff": {
        "data": {"mean": 0.1307, "std": 0.3081, "label": "overlay", "label_value": 2.8215},
        "network": {"layers": [500, 500], "normalise": "l2", "eps": 1e-4, "init": "uniform"},
        "rule": {"goodness": "mean", "threshold": 0.004},
        "negatives": {"kind": "fixed"},
        "optimizer": {"name": "adam", "rate": 0.03, "decay": 0.0},
        "classify": {"methods": ["goodness"], "goodness_layers": [1, 2]},
        "train": {"epochs": 1000, "chapters": 1, "batch": 60000, "shuffle": False, "constant": 1.0},
    },
}
