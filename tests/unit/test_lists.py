"""Lists of the activations that are not zero, against a plain loop over all of them."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from ffmpi import kernels
from ffmpi.kernels import sparse
from ffmpi.kernels.compress import EIGHT
from tests.conftest import Run

PANELS, PITCH = 5, 40
SHAPES = [(0.15, 37), (0.5, 8), (1.0, 9), (0.0, 3), (0.6, 1), (0.3, 0)]


def activations(share: float, seed: int = 0) -> np.ndarray:
    """Return some of which a share is not zero; among them are a NaN, an infinity, a denormal and a negative zero."""
    draws = np.random.default_rng(seed)
    a = kernels.zeros(PANELS, PITCH, kernels.LANES)
    a[...] = draws.standard_normal(a.shape)
    a[draws.random(a.shape) > share] = 0
    if share:
        a[0, 0, 3], a[1, 2, 5], a[4, 0, 15], a[2, 0, 8] = np.nan, -0.0, np.inf, 1e-45
    return a


@pytest.mark.parametrize(("share", "rows"), SHAPES)
def test_rows_are_listed_in_order(share: float, rows: int) -> None:
    a = activations(share)
    values, places, bounds = sparse.list_rows(a, rows, kernels.Nonzeros(PITCH, PANELS).arrays)
    n = 0
    for block, first in enumerate(range(0, PANELS, sparse.BLOCK)):
        panels = a[first : first + sparse.BLOCK]
        for row in range(rows):
            numbers = panels[:, row].ravel()
            (expected,) = np.nonzero(numbers)
            assert (bounds[block, row], bounds[block, row + 1]) == (n, n + len(expected))
            np.testing.assert_array_equal(places[n : n + len(expected)], expected)
            np.testing.assert_array_equal(values[n : n + len(expected)], numbers[expected])
            n += len(expected)


@pytest.mark.parametrize(("share", "count"), SHAPES)
def test_inputs_are_listed_in_the_order_of_rows(share: float, count: int) -> None:
    """Lists of neighbours do not run into each other, also where all is listed."""
    a, draws = activations(share), np.random.default_rng(1)
    padded = np.zeros(count + 2 * EIGHT, np.int64)
    padded[:count] = np.sort(draws.choice(PITCH, count, replace=False))
    active = padded[:count]
    values, places, counts, pitch = sparse.list_inputs(a, active, kernels.Nonzeros(PITCH, PANELS).arrays)
    for k in range(PANELS * kernels.LANES):
        numbers = a[k // kernels.LANES, active, k % kernels.LANES]
        (expected,) = np.nonzero(numbers)
        assert counts[k] == len(expected)
        listed = slice(k * pitch, k * pitch + len(expected))
        np.testing.assert_array_equal(places[listed], expected)
        np.testing.assert_array_equal(values[listed], numbers[expected])


@pytest.mark.perf
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names an x86 processor")
def test_processors_without_a_permutation_list_the_same(run: Run, tmp_path: object) -> None:
    old = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = run(0, "-m", "pytest", "-q", "-n", "0", __file__, "-k", "listed", seconds=400, **old)
    assert done.returncode == 0 and f"{2 * len(SHAPES)} passed" in done.stdout, done.stdout
