"""What each layer of a network says alone, and what its activations are like: `ffmpi evaluate --by-layer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..config.schema import Config
from ..network.methods import METHODS
from .confusion import aligned


def ways_of(config: Config) -> dict[str, str]:
    """Return the ways in which a layer alone says a class, each with a method that adds that up.

    `last-layer` and `all-layers` add up the same, what each layer's own classifier says.
    """
    found: dict[str, str] = {}
    for method in config.methods:
        found.setdefault(method if METHODS[method].stream != "plain" else "classifier", method)
    return found


def layers_of(
    config: Config, accuracies: Mapping[str, np.ndarray], spans: Sequence[tuple[float, float]]
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a record for each layer.

    accuracies : by way, (layers,) in percent; spans : each layer's effective rank and share of dead units
    """
    head = set(config.head_layers)
    return [
        {
            "layer": index + 1,
            "units": config.network.layers[index],
            "accuracy": {
                way: float(each[index]) for way, each in accuracies.items() if way != "softmax" or index in head
            },
            "effective_rank": float(f"{rank:.6g}"),
            "dead_units": dead,
        }
        for index, (rank, dead) in enumerate(spans)
    ]


def layer_table(layers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table of these records."""
    ways = list(dict.fromkeys(way for layer in layers for way in layer["accuracy"]))
    rows = [
        (
            str(layer["layer"]),
            str(layer["units"]),
            *(f"{layer['accuracy'][way]:.2f} %" if way in layer["accuracy"] else "" for way in ways),
            f"{layer['effective_rank']:.1f}",
            f"{100 * layer['dead_units']:.1f} %",
        )
        for layer in layers
    ]
    return aligned([("layer", "units", *ways, "effective rank", "dead units"), *rows])
