"""The command `predict`: the class of each image, by a checkpoint's network."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .. import data
from ..data.split import glimpse
from ..errors import UserError
from ..run.directory import checkpoint_path
from ..runtime.agreement import agree
from ..runtime.answering import block_size, converted_on_all, in_order, memory_of
from ..runtime.mpi import all_ranks_or_raise, on_rank_0
from ..runtime.setup import trained_network
from .evaluate import read_header


def predict(
    comm: Any, path: str, images_path: str, method: str | None, name: str | None, as_json: bool
) -> None:  # fmt: skip
    """Print the class and the scores of each image, as they are found."""
    file: Path = on_rank_0(comm, lambda: checkpoint_path(path))
    header, settled = read_header(comm, file, [])
    method = method or settled.methods[0]
    sources = [name] if name else list(dict.fromkeys([settled.data.images, "images"]))
    with all_ranks_or_raise(comm):
        if method not in settled.methods:
            raise UserError(f"--method {method}: not in {file}; expected {' or '.join(settled.methods)}")
        images, names = data.read_images(images_path, header.shape, sources)
        checksums = glimpse(images), zlib.crc32(repr(names).encode())
    fact = "{} images, a few of CRC-32 {:08x}, their names of {:08x}".format(len(images), *checksums)
    agree(comm, {images_path: fact}, "the same images on all ranks")
    images = converted_on_all(comm, images, header.pixel_format, images_path)
    network = trained_network(comm, file, header, settled, memory_of(images))
    block = block_size(network, images, (method,), comm.size)
    scores = in_order(comm, images, block, lambda part: network.scores(part, method), settled.schedule.timeout)
    for part, found in scores:
        _print_predictions(header.names, names[part], found, as_json)


def _print_predictions(classes: tuple[str, ...], names: Iterable[object], scores: np.ndarray, as_json: bool) -> None:
    for name, row in zip(names, scores, strict=True):
        best = int(row.argmax())
        if as_json:
            print(json.dumps({"image": str(name), "class": best, "name": classes[best], "scores": row.tolist()}))
        else:
            print(f"{name}\t{classes[best]}\t" + " ".join(f"{score:.5g}" for score in row))
    sys.stdout.flush()
