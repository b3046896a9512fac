"""The stages of a network: the sizes of its layers, and what each stage's parameters are called in a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .classifier import classifier_block
from .layer import blocks_of
from .layout import BatchLayout
from .parameters import Block

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..data.info import DatasetInfo


def sizes_of(config: Config, dataset: DatasetInfo) -> list[int]:
    """Return the inputs of the first layer and then each layer's units."""
    return [BatchLayout(config, dataset.classes).inputs(config, dataset.pixels), *config.network.layers]


def name_of(layer: int, block: str) -> str:
    """Return the name in a checkpoint of a layer's `block`, which is called so in `Layer.blocks`."""
    return f"layers/{layer}/{block}" if block else f"layers/{layer}"


def declared(config: Config, dataset: DatasetInfo, stage: int) -> dict[str, Block]:
    """Return the declarations of a stage's parameters, by their name in a checkpoint."""
    layers, classes = config.network.layers, dataset.classes
    if stage == len(layers):
        return {f"head/{layer}": classifier_block(config, layers[layer], classes) for layer in config.head_layers}
    blocks = blocks_of(config, sizes_of(config, dataset)[stage], layers[stage], classes)
    return {name_of(stage, name): block for name, block in blocks.items()}


def every_block(config: Config, dataset: DatasetInfo) -> dict[str, Block]:
    """Return the declarations of all stages' parameters, by their name in a checkpoint."""
    stages = range(len(config.network.layers) + 1)
    return {name: block for stage in stages for name, block in declared(config, dataset, stage).items()}
