"""What the activations of each layer of a trained network are like on many images, found by all ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..data.streamed import Images
from ..network.inference import Inference
from ..network.spectrum import Spectrum
from . import stop
from .mpi import allgather, make_progress

#: Bytes of sums of products that a rank has at once, unless one layer needs more.
_BYTES = 2**30


def _shares(units: Sequence[int], ranks: int) -> list[range]:
    """Return runs of layers, each for one pass over the images: so many that ranks have equally many, if they can."""
    most, shares, run = -(-len(units) // ranks), list[range](), range(0)
    for layer in range(len(units)):
        needed = sum(Spectrum.nbytes(units[one]) for one in (*run, layer))
        if run and (len(run) == most or needed > _BYTES):
            shares.append(run)
            run = range(layer, layer)
        run = range(run.start, layer + 1)
    return [*shares, run]


def memory_of_spectra(units: Sequence[int], ranks: int) -> float:
    """Return the bytes that one of `ranks` needs at most for layers of so many `units`."""
    return float(max(sum(Spectrum.nbytes(units[layer]) for layer in share) for share in _shares(units, ranks)))


def spectra(
    comm: Any, network: Inference, images: Images, labels: np.ndarray, block: int
) -> list[tuple[float, float]]:  # fmt: skip
    """Return the effective rank and the share of dead units of each layer, on all ranks, which divide the layers.

    Each layer's sums are made by one rank in the order of the images, so they do not depend on the number of ranks.

    labels : (n,) int64, the class that each image is shown with; block : how many images are read at once
    """
    advance = make_progress(comm) if comm.size > 1 else lambda: None
    units = network.config.network.layers
    found: dict[int, tuple[float, float]] = {}
    for share in _shares(units, comm.size)[comm.rank :: comm.size]:
        sums = [Spectrum(units[layer]) for layer in share]
        for part in _blocks(len(images), block):
            for outputs in network.outputs(images[part], share, labels[part]):
                for one, h in zip(sums, outputs, strict=True):
                    one.add(h)
                advance()
                stop.check()
        for layer, one in zip(share, sums, strict=True):
            found[layer] = one.effective_rank(), one.dead
            advance()
    whole = {layer: each for part in allgather(comm, found) for layer, each in part.items()}
    return [whole[layer] for layer in range(len(units))]


def _blocks(count: int, block: int) -> Iterator[slice]:
    return (slice(first, min(first + block, count)) for first in range(0, count, block))
