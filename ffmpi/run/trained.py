"""A trained network from a checkpoint, to be asked: only what a forward needs is read."""

from __future__ import annotations

from ..config.schema import Config
from ..data.info import DatasetInfo, resolved
from ..network.inference import Inference
from ..network.parameters import Parameters
from ..network.stages import every_block
from .checkpoint import Reader, reading
from .directory import checkpoint_path
from .header import Header


def load(path: str) -> tuple[Header, Inference]:
    """Return the network of the checkpoint, or of the run directory, at `path`. Raises UserError."""
    with reading(checkpoint_path(path)) as reader:
        network = empty(reader.header, reader.header.config)
        fill(network, reader)
        return reader.header, network


def empty(header: Header, config: Config) -> Inference:
    """Return a network of the sizes that `header` tells, all zeros, to be read out as in `config`.

    That is the checkpoint's configuration, but for how samples are classified.
    """
    dataset = DatasetInfo(
        header.shape, header.names, header.train, 0, header.digest, scaling=header.scaling,
        pixel_format=header.pixel_format,
    )  # fmt: skip
    config = resolved(config, dataset)
    blocks = {name: Parameters(block, learns=False) for name, block in every_block(config, dataset).items()}
    return Inference(config, dataset, blocks)


def fill(network: Inference, reader: Reader) -> None:
    """Read the network's arrays, each checked: size and type, checksum, and whether it is finite."""
    for name, parameters in network.blocks.items():
        reader.load(name, parameters)
