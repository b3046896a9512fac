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
        return reader.header, restored(reader, reader.header.config)


def restored(reader: Reader, config: Config) -> Inference:
    """Return the network that `reader` has, to be read out as in `config`: the checkpoint's, but for how it classifies.

    Its arrays are checked one by one: size and type, checksum, and whether they are finite.
    """
    header = reader.header
    dataset = DatasetInfo(
        header.shape, header.names, header.train, 0, header.digest, scaling=header.scaling,
        pixel_format=header.pixel_format,
    )  # fmt: skip
    config = resolved(config, dataset)
    blocks = {name: Parameters(block, learns=False) for name, block in every_block(config, dataset).items()}
    for name, parameters in blocks.items():
        reader.load(name, parameters)
    return Inference(config, dataset, blocks)
