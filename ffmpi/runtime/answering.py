"""Answers about many images from all ranks: each has the whole network, and reads and answers its own images only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from ..data.files import CHUNK
from ..data.pixels import PixelFormat, converted, span_of
from ..data.streamed import AROUND, Images
from ..network.inference import Inference
from . import stop
from .mpi import all_ranks_or_raise, allgather, make_progress, wait

#: Batches of the network's that are answered at once, of so many bytes of images; how many of a rank's answers may be
#: under way.
_BATCHES, _BYTES, _UNDER_WAY = 16, 4 * CHUNK, 2
_TAG = 1


def converted_on_all(comm: Any, images: Images, trained: PixelFormat | None, where: str) -> Images:
    """Return `images`, of which all ranks have the same, as `pixels.converted` does; each rank looks at a part."""
    if trained is None:
        return images
    count = len(images)
    with all_ranks_or_raise(comm):
        span = span_of(images, trained, slice(count * comm.rank // comm.size, count * (comm.rank + 1) // comm.size))
    whole = reduce(add, allgather(comm, span))
    with all_ranks_or_raise(comm):
        return converted(images, trained, where, whole)


def block_size(network: Inference, images: Images, methods: tuple[str, ...], ranks: int) -> int:
    """Return how many of `images` are read and answered at once on one of `ranks`."""
    at_once = _BATCHES * min(map(network.images_at_once, methods))
    fitting = _BYTES // (images.shape[1] * images.dtype.itemsize)
    return max(1, min(at_once, fitting, -(-len(images) // ranks)))


def memory_of(images: Images) -> float:
    """Return the bytes of images that are in memory, if a rank answers for its part of `images`."""
    return float(images.nbytes if isinstance(images, np.ndarray) else 2 * _BYTES + 2 * images.row_bytes + AROUND)


def in_order(
    comm: Any, images: Images, block: int, answer: Callable[[np.ndarray], np.ndarray], timeout: float
) -> Iterator[tuple[slice, np.ndarray]]:  # fmt: skip
    """Yield on rank 0 which images have been answered, and the answers, from the first image to the last.

    Blocks of `block` images are dealt to the ranks in turn, so that answers come as they are made, and a rank that is
    ahead waits. Other ranks yield nothing, but are to be asked, too.

    answer : given images (n, pixels), returns (n, width), of a width and a type that are always the same
    """
    advance = make_progress(comm) if comm.size > 1 else lambda: None
    stop.defer()  # what a signal would tear apart here, other ranks would wait for
    like = answer(images[:0])
    sent: deque[tuple[Any, np.ndarray]] = deque()
    coming: list[Any] = []
    try:
        for number, first in enumerate(range(0, len(images), block)):
            part, owner = slice(first, min(first + block, len(images))), number % comm.size
            if owner == comm.rank:
                found = answer(images[part])
                advance()
                stop.check()
            elif comm.rank == 0:
                found = np.empty((part.stop - part.start, like.shape[1]), like.dtype)
                coming = [comm.Irecv(found, owner, _TAG)]
                wait(coming[0], timeout, f"the answers of rank {owner}", owner)
                coming = []
            if comm.rank == 0:
                yield part, found
            elif owner == comm.rank:
                if len(sent) == _UNDER_WAY:
                    wait(sent[0][0], timeout, "rank 0 to take answers", 0)
                    sent.popleft()
                sent.append((comm.Isend(found, 0, _TAG), found))
        for request, _ in sent:
            wait(request, timeout, "rank 0 to take answers", 0)
    except BaseException:
        for left, requests in zip(stop.unfinished, ([request for request, _ in sent], coming), strict=True):
            left.extend(requests)
        raise
