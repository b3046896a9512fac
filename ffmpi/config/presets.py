"""Presets: the settings of published codes, as defaults of a run."""

from __future__ import annotations

from typing import Any

#: hinton: after Hinton's published code, but without its peer normalisation, and with random negatives where it draws
#: them by softmax for each batch; `runs/paper/mnist-hinton.toml` draws them so, but `negatives.lag` batches ahead.
#: paper: after the paper with its first author's code, but that adaptive negatives by softmax are drawn, where that
#: takes the wrong class of the greatest score, and that the head takes a step on each batch, where that takes one on
#: the whole set once an epoch (`head.step = "epoch"`).
#: dff: after the code of DFF, for MNIST: its label has the value of the brightest pixel, its goodness a threshold of 2
#: (times no units: 500 x 0.004). But that learns from 50,000 of the samples, and takes another sample's class for a
#: negative, which is the right one for every tenth.
#: mono-forward: layer after layer by the cross-entropy of its own matrix, on activations as they are (Gong, Li and
#: Abdulla, arXiv 2501.09238), with the optimiser and epochs of BeyondBackpropagation's code; but without its early
#: stopping and its matrix on the pixels, which classifies nothing, and with biases drawn as the weights are.
PRESETS: dict[str, dict[str, Any]] = {
    "": {},
    "hinton": {},  # the defaults
    "paper": {
        "data": {"mean": 0.1307, "std": 0.3081},
        "network": {
            "layers": [2000, 2000, 2000, 2000], "normalise": {"name": "l2", "epsilon": 1e-4}, "init": "uniform",
        },
        "rule": {"goodness": "mean", "threshold": 0.01},
        "optimizer": {"name": "adam", "learning_rate": 0.01, "weight_decay": 0.0},
        "head": {
            "init": "uniform",
            "bias": False,
            "normalise": False,
            "optimizer": {"name": "adam", "learning_rate": 1e-4, "weight_decay": 0.0},
        },
        "train": {"epochs": 100, "chapters": 100, "batch_size": 64, "shuffle": False},
    },
    "dff": {
        "data": {"mean": 0.1307, "std": 0.3081, "label": "overlay", "label_value": 2.8215},
        "network": {"layers": [500, 500], "normalise": {"name": "l2", "epsilon": 1e-4}, "init": "uniform"},
        "rule": {"goodness": "mean", "threshold": 0.004},
        "negatives": {"name": "fixed"},
        "optimizer": {"name": "adam", "learning_rate": 0.03, "weight_decay": 0.0},
        "learning_rate": {"constant": 1.0},
        "classify": {"methods": ["goodness"], "goodness_layers": [1, 2]},
        "train": {"epochs": 1000, "chapters": 1, "batch_size": 60000, "shuffle": False},
    },
    "mono-forward": {
        "network": {"layers": [1000, 1000], "normalise": {"name": "none"}, "init": "uniform"},
        "rule": {"name": "local-softmax"},
        "optimizer": {"name": "adam", "learning_rate": 1.57e-3, "weight_decay": 0.0},
        "learning_rate": {"name": "constant"},
        "head": {
            "init": "uniform",
            "bias": False,
            "normalise": False,
            "optimizer": {"name": "adam", "learning_rate": 1.57e-3, "weight_decay": 0.0},
        },
        "classify": {"methods": ["last-layer"]},
        "train": {"epochs": 14, "chapters": 1, "batch_size": 128},
        "schedule": {"name": "sequential"},
    },
}  # fmt: skip
