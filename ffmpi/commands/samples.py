"""A trained network beside samples of its data set, in one process and without MPI: what pictures and reports ask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.pixels import converted
from ..data.shapes import rearranged
from ..data.split import subset
from ..errors import UserError
from ..network.inference import Inference
from ..run.directory import checkpoint_path
from ..run.header import Header
from ..runtime.joined import Alone
from ..runtime.reading import read_split
from ..runtime.setup import trained_network
from ..schedule.steps import Split
from .evaluate import read_header


@dataclass(frozen=True)
class Samples:
    """A network, and samples as it takes them.

    Attributes
    ----------
    images : (n, pixels) uint8 or float32
    classes : (n,) int64
    of : how many samples the split has
    """

    header: Header
    network: Inference
    images: np.ndarray
    classes: np.ndarray
    split: Split
    of: int


def ask(path: str, split: Split = "test", settings: list[str] | None = None, most: int | None = None) -> Samples:
    """Return the network of the checkpoint or run directory `path`, and at most `most` samples, spread over the split.

    Raises UserError where either cannot be read, or if they do not belong together.
    """
    file = checkpoint_path(path)
    header, config = read_header(Alone(), file, settings or [], places=True)
    found = read_split(config, split)
    source = (split == "test" and config.shards.test_path) or config.data.path or config.data.name
    count = len(found.classes)
    if not count:
        raise UserError(f"{source}: has no {split} samples; expected some to ask the network about")
    if found.names != header.names:
        raise UserError(
            f"{source}: has the classes {', '.join(found.names)}; expected {', '.join(header.names)} as in {file}"
        )
    if most is not None and most < count:
        found = subset(found, np.arange(most) * count // most)
    assert found.images is not None
    images = np.asarray(rearranged(found.images, found.shape, header.shape, source))
    images = np.asarray(converted(images, header.pixel_format, source))
    network = trained_network(Alone(), file, header, config, float(images.nbytes))
    return Samples(header, network, images, found.classes.astype(np.int64), split, count)
