"""Every normalisation of the family gives each row the factor of its textbook, with and without a label in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ffmpi import config, kernels
from ffmpi.config.registries import NORMALISATIONS
from ffmpi.network.activations import Activations, Inputs
from ffmpi.network.normalise import Normalisation

ROWS, UNITS, CLASSES, OFFSET = 5, 7, 3, 2

TEXTBOOK: dict[str, Callable[[Any, np.ndarray], np.ndarray]] = {
    "rms": lambda n, v: 1 / (np.sqrt((v**2).mean(axis=1)) + n.epsilon),
    "l2": lambda n, v: 1 / (np.linalg.norm(v, axis=1) + n.epsilon),
    "none": lambda n, v: np.ones(len(v)),
}


@pytest.mark.parametrize("name", NORMALISATIONS.names)
def test_factors(name: str) -> None:
    member = NORMALISATIONS[name](**({"epsilon": 0.125} if hasattr(NORMALISATIONS[name](), "epsilon") else {}))
    rng, v = np.random.default_rng(4), np.zeros((ROWS, UNITS))
    v[:] = rng.normal(size=v.shape) * np.arange(ROWS)[:, None]  # the first is a row of zeros
    a = Activations(UNITS, ROWS, {})
    a.total[:ROWS] = (v**2).sum(axis=1)
    made = Normalisation(member.norm(UNITS), ROWS)
    kernels.row_scale(a.total, ROWS, *made.arguments)
    assert_allclose(made.scale[:ROWS], TEXTBOOK[name](member, v), rtol=1e-6)

    # Each image is shown with two labels and with the neutral one, in places where it has zeros itself.
    v[:, OFFSET : OFFSET + CLASSES] = 0
    shown = Inputs(UNITS, ROWS, OFFSET, CLASSES, value=1.5)
    shown.total[:ROWS] = (v**2).sum(axis=1)
    shown.source, shown.labels = np.repeat(np.arange(ROWS), 3), np.tile([0, 2, kernels.NEUTRAL], ROWS)
    rows = v[shown.source]
    for row, label in zip(rows, shown.labels, strict=True):
        row[OFFSET : OFFSET + CLASSES] = 0.5 if label == kernels.NEUTRAL else 1.5 * (np.arange(CLASSES) == label)
    made = Normalisation(member.norm(UNITS), 3 * ROWS)
    kernels.row_scale_labelled(shown.total, shown.source, shown.labels, CLASSES, shown.value, *made.arguments)
    assert_allclose(made.scale[: 3 * ROWS], TEXTBOOK[name](member, rows), rtol=1e-6)


def test_settings_of_another_member() -> None:
    none = config.parse("", "test", ["network.normalise=none", "network.normalise.epsilon=0.5"])
    assert not hasattr(none.network.normalise, "epsilon")
