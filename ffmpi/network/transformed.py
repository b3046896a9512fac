"""What is learnt from as the transforms have changed it: a copy of a layer's input, or a batch's images."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..config.schema import Config
from . import random
from .activations import Activations, Inputs, margin_of
from .transforms import Draw
from .tree import Tree


class TransformedInput:
    """The input of the layer with `index`, from 1, in a batch; the output of the layer below stays as it is.

    Attributes
    ----------
    made : what was made last
    """

    def __init__(self, config: Config, index: int, rows: int) -> None:
        """Make room for batches of at most `rows` rows."""
        self.made = Activations(config.network.layers[index - 1], rows, {})
        panels = len(self.made.h)
        self._squares, self._adds = kernels.zeros(panels, len(self.made.total)), Tree(0, panels, panels).adds
        self._seed, self._transforms = config.seed, config.network.transforms
        self._purposes = [random.of_transform(index, place) for place in range(len(self._transforms))]

    def of(self, a: Activations, rows: int, samples: np.ndarray, kinds: np.ndarray, epoch: int) -> Activations:
        """Return a batch of `rows` rows; the first ones, those of `samples`, are changed, since they are learnt from.

        samples, kinds : see `transforms.Draw`
        """
        made, count, source = self.made, len(samples), a
        for one, purpose in zip(self._transforms, self._purposes, strict=True):
            one.apply(source, Draw(samples, kinds, self._seed, epoch, purpose), made, self._squares, self._adds)
            source = made
        if count < rows:  # neutral rows, from which the head learns
            made.h[:, count:rows], made.total[count:rows] = a.h[:, count:rows], a.total[count:rows]
        made.arrays = a.arrays
        return made


class TransformedImages:
    """The images of a batch, changed where they are: the same in all rows that show them, and on every rank."""

    def __init__(self, config: Config, inputs: int, images: int) -> None:
        """Take room for batches of at most `images` images, of `inputs` inputs."""
        self._seed, self._transforms = config.seed, config.network.input_transforms
        self._purposes = [random.of_transform(0, place) for place in range(len(self._transforms))]
        panels, pitch = kernels.panels_of(inputs), margin_of(kernels.padded_rows(images))
        self._squares, self._adds = kernels.zeros(panels, pitch), Tree(0, panels, panels).adds

    def change(self, out: Inputs, samples: np.ndarray, epoch: int) -> None:
        """Change the images in `out`, which are those of `samples`, as they are seen in `epoch`."""
        kinds = np.zeros(len(samples), np.int64)
        for one, purpose in zip(self._transforms, self._purposes, strict=True):
            one.apply(out, Draw(samples, kinds, self._seed, epoch, purpose), out, self._squares, self._adds)
