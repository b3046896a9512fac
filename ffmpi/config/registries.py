"""All families, each a list of names: a new member is one file, and its name here."""

from __future__ import annotations

from .registry import Registry

#: Objects, whose settings are the same, those of [data]: reading a configuration asks a family with settings of its own
#: for all its members, and a format's libraries, HDF5 or Pillow, are for those who read it.
FORMATS = Registry(
    "data set",
    "ffmpi.data",
    ["digits", "mnist", "fashion-mnist", "cifar10", "hdf5", "numpy", "csv", "folder", "memory"],
    "FORMAT",
)

AUGMENTATIONS = Registry("augmentation", "ffmpi.data.augmentations", ["shift", "flip", "crop"])

RULES = Registry(
    "learning rule",
    "ffmpi.rules",
    [
        "goodness",
        "peer-normalisation",
        "collaboration",
        "symba",
        "swish",
        "local-softmax",
        "local-error",
        "class-groups",
    ],
)

SCHEDULES = Registry(
    "schedule", "ffmpi.schedule", ["sequential", "pipeline", "single-layer", "all-layers", "federated"]
)

OPTIMIZERS = Registry("optimiser", "ffmpi.network.optimisers", ["adam", "lion", "nesterov", "sgd"])

NORMALISATIONS = Registry("normalisation", "ffmpi.network.normalisations", ["rms", "l2", "none"])

TRANSFORMS = Registry("transform", "ffmpi.network.transforms", ["dropout"])

NEGATIVES = Registry("choice of negatives", "ffmpi.network.negatives", ["fixed", "random", "adaptive"])

LEARNING_RATES = Registry(
    "learning-rate schedule", "ffmpi.network.learning_rates", ["linear", "constant", "steps", "cosine"]
)
