"""How many directions activations span, and who has which layer's sums."""

from __future__ import annotations

import numpy as np
import pytest

from ffmpi.network.spectrum import Spectrum
from ffmpi.runtime import by_layer


def spectrum(*parts: np.ndarray) -> Spectrum:
    made = Spectrum(parts[0].shape[1])
    for part in parts:
        made.add(part.astype(np.float32))
    return made


def test_effective_ranks() -> None:
    rng = np.random.default_rng(0)
    row = rng.random((1, 40))
    assert spectrum(*(row * factor for factor in range(1, 9))).effective_rank() == pytest.approx(1, abs=1e-3)
    assert spectrum(np.eye(7, 40), 2 * np.eye(7, 40)).effective_rank() == pytest.approx(7)
    assert spectrum(np.zeros((3, 5))).effective_rank() == 0.0
    h = rng.random((60, 40)).astype(np.float32)
    values = np.linalg.svd(h.astype(float), compute_uv=False)
    p = values / values.sum()
    assert spectrum(h[:17], h[17:]).effective_rank() == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-6)


def test_dead_units_are_below_zero_in_all_rows() -> None:
    made = spectrum(np.array([[0, 1, 0, -0.5]]), np.array([[0, 0, 2, -0.1]]))
    assert made.dead == 0.5


@pytest.mark.parametrize(
    ("units", "ranks", "shares"),
    [
        ([100] * 5, 1, [(0, 5)]),
        ([100] * 5, 2, [(0, 3), (3, 5)]),
        ([100] * 3, 8, [(0, 1), (1, 2), (2, 3)]),
        ([8000, 100, 100, 8000, 8000], 1, [(0, 3), (3, 4), (4, 5)]),
        ([100, 16384], 1, [(0, 1), (1, 2)]),
    ],
)
def test_shares_of_layers_fit(units: list[int], ranks: int, shares: list[tuple[int, int]]) -> None:
    assert by_layer._shares(units, ranks) == [range(*share) for share in shares]
    most = max(sum(16 * units[layer] ** 2 for layer in range(*share)) for share in shares)
    assert by_layer.memory_of_spectra(units, ranks) == most
