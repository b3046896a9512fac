"""Numba's threads: how many a parallel kernel may use."""

from __future__ import annotations

import numba


def available_threads(count: int) -> int:
    """Return `count`, or as many threads as this process may have; the bits do not depend on it."""
    return int(min(count, numba.config.NUMBA_NUM_THREADS))


def use_threads(count: int) -> None:
    """Let parallel kernels use `count` threads, or as many as this process may."""
    numba.set_num_threads(available_threads(count))
