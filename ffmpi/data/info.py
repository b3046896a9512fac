"""The sizes of a run: what the data set and the configuration say together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from msgspec import structs

from ..config.schema import Config
from .pixels import PixelFormat
from .scaling import PixelScaling, label_value


@dataclass(frozen=True)
class DatasetInfo:
    """The sizes that the data set gives to a run; every rank knows them."""

    shape: tuple[int, ...]  # of an image
    names: tuple[str, ...]  # of the classes
    train: int  # samples to learn from
    test: int
    digest: int = 0  # CRC-32 of the training images and classes
    shards: tuple[int, ...] = ()  # samples of each
    scaling: PixelScaling | None = None  # of the training pixels, if they are measured
    pixel_format: PixelFormat | None = None  # of the training images
    validation: int = 0  # samples that were taken from the training samples
    nonzero: float = 1.0  # share of pixels that are not zero
    weighted: bool = False  # whether samples to learn from have weights

    def __post_init__(self) -> None:
        if not self.shards:
            object.__setattr__(self, "shards", (self.train,))

    def samples(self, split: str) -> int:
        """Return the number of samples of a split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return int(np.prod(self.shape))

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel in memory."""
        return np.dtype(self.pixel_format.dtype).itemsize if self.pixel_format else 1

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def statistics(self) -> dict[str, np.ndarray]:
        """What a checkpoint keeps of the training samples: float32 arrays by their names in it.

        Reading it gives them back as `checkpoint.Header.scaling`.
        """
        return {} if self.scaling is None else self.scaling.arrays()


#: The share of the pixels that a label may cover.
_MOST_COVERED = 0.1


def resolved(config: Config, dataset: DatasetInfo) -> Config:
    """Return `config` with what it leaves to the data: where the label stands, and its value."""
    data = config.data
    if data.label == "auto":
        over = dataset.classes <= _MOST_COVERED * dataset.pixels
        data = structs.replace(data, label="overlay" if over else "append")
    if data.label_value == "auto":
        data = structs.replace(data, label_value=label_value(dataset.scaling))
    return structs.replace(config, data=data)
