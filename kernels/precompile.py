"""Every kernel run once on next to nothing: it is compiled then, or loaded from Numba's cache on disk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .augment import compose_moved
from .backward import backward
from .batch_norm import batch_norm, batch_norm_backward, batch_statistics
from .compose import compose, pairs
from .constants import LANES, SGD
from .dropout import dropout
from .forward import forward, forward_parallel
from .goodness_loss import goodness_loss, ranked
from .groups import group_backward, group_means
from .labels import forward_labelled, forward_labelled_parallel
from .logits import complete_logits, logits
from .panels import zeros
from .peers import peer_gradient, peer_means
from .powers import exponentials
from .rows import copy_rows, from_panels
from .scale import row_scale, row_scale_labelled
from .similarity import gram, similarity_backward, similarity_loss
from .softmax import softmax
from .sparse import DENSE, Nonzeros
from .tree import add_nodes, add_panels
from .update import (
    NO_LABELS,
    adam_constants,
    lion_constants,
    sgd_constants,
    step_along,
    step_vector,
    update,
    update_parallel,
)


def compile_all(*, threads: int = 1, weighted: bool = False) -> None:
    """Run every kernel once on next to nothing, so that it is compiled, or loaded from Numba's cache on disk.

    threads : with how many they are to run; weighted : also as they are for samples with weights
    """
    for _ in compile_each(threads=threads, weighted=weighted):
        pass


def compile_each(*, threads: int = 1, weighted: bool = False) -> Iterator[None]:
    """Do what `compile_all` does, a second's work at a time."""
    a, w, bias, row = zeros(1, 8, LANES), zeros(1, LANES, LANES), zeros(1, LANES), zeros(LANES)
    h, product, first = zeros(1, 8, LANES), zeros(1, 8, LANES), np.zeros(1, np.int64)
    squares, one, sums, adds = zeros(1, LANES), row[:1], row[None], np.zeros(1, np.int64)
    image, factors = np.zeros((1, 4), np.uint8), np.ones(4, np.float32)
    compose(image, first, 2, factors, factors, a, row)
    compose_moved(image, first, np.zeros((1, 3), np.int64), (1, 2, 2, 1), np.float32(0), 2, factors, factors, a, row)
    pairs(first, first, first, 0, 0, np.zeros(2, np.int64), np.zeros(2, np.int64))
    copy_rows(h, row, 0, 1, product, row)
    norm = (row, np.float32(1), np.float32(1), row)
    row_scale(row, 1, *norm[1:])
    row_scale_labelled(row, first, first, 2, np.float32(1), np.float32(1), np.float32(1), row)
    yield
    for nonzeros in (DENSE, Nonzeros(1, 1).arrays):  # a batch of zeros takes the sparse way if there is one
        rest = (a, norm, w, bias, h, sums, squares, adds, 1, nonzeros, True)
        forward(*rest)
        if threads > 1:
            forward_parallel(threads, *rest)
    yield
    of_images = (one, *norm[1:3], one)
    shown = (a, 1, first, first, 0, 2, np.float32(1), of_images, w, bias, product, h, sums, squares, adds, DENSE)
    forward_labelled(*shown)
    if threads > 1:
        forward_labelled_parallel(threads, *shown)
    yield
    for weights in (None, factors[:1]) if weighted else (None,):
        goodness_loss(one, np.float32(1), 1, 1.0, 1.0, 0.0, one, weights)
        softmax(h, first, 2, product, weights)
        batch_statistics(h, 1, np.float32(0), bias, bias, bias, bias, weights)
        batch_norm_backward(h, h, 1, bias, bias, np.float32(1), bias, True, h, bias, bias, weights)
        yield
        peer_means(h, 1, np.float32(0), bias, weights, adds, sums)
        peer_gradient(h, one, 1, 16, bias, np.float32(0), np.float32(0), product, one, weights)
        yield
    ranked(row, 1)
    exponentials(np.zeros(1))
    yield
    logits(h, w, adds, 1, product[None])
    complete_logits(product, row, np.float32(1), np.float32(1), row, bias, 1, False, product)
    add_panels(squares, adds, 1, sums)
    add_nodes(sums, adds, row)
    yield
    backward(product, 2, w, h, h, row, np.float32(1), np.float32(1), np.float32(0), 1, product)
    yield
    batch_norm(h, 1, bias, bias, np.float32(1), bias, bias, np.float32(0), h, sums, squares, adds)
    yield
    group_means(h, 1, 0, 16, 2, True, adds, product[None])
    group_backward(product, h, 1, 0, 16, 2, True, h)
    yield
    gram(h, 1, adds, np.zeros((1, 2), np.float32), 0)
    similarity_loss(product[0], row, 16, first, 2, 1.0, product[0], row)
    similarity_backward(product[0], h, one, 16, np.float32(0), h)
    yield
    dropout(h, 1, first, first, 0, 0, 0, 0, 0.5, h, sums, squares, adds)
    yield
    from_panels(h, 1, 1)
    adam_constants(np.ones(1, np.int64), 0.01, 0.0, 0.9, 0.999, 1e-8)
    lion_constants(0.01, 0.0, 0.9, 0.99)
    moments = (zeros(1, LANES, LANES), zeros(1, LANES, LANES), zeros(1, LANES), zeros(1, LANES))
    constants = sgd_constants(0.0, 0.0, 0.9)
    for nonzeros in (DENSE, Nonzeros(1, 1).arrays):
        step = (SGD, a, one, one, h, w, bias, moments, constants, NO_LABELS, nonzeros)
        update(*step)
        if threads > 1:
            update_parallel(threads, *step)
        yield
    step_vector(SGD, moments[2], (bias, moments[3], moments[3]), constants)
    step_along(SGD, (moments[0], moments[2]), (w, bias, *moments), constants)
