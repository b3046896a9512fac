"""Every optimiser of the family takes the steps of its textbook, which are written out here once more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ffmpi import kernels
from ffmpi.config.registries import OPTIMIZERS
from ffmpi.kernels import reference

RATE, STEPS = 0.02, 6


def sgd(o: Any, w: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """PyTorch's SGD with momentum: at learning rate (1 - momentum) times ours it is the same."""
    v = np.zeros_like(w)
    for g in gradients:
        v = o.momentum * v + g
        w = w * (1 - RATE * decay) - RATE * (1 - o.momentum) * v
    return w


def adam(o: Any, w: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """PyTorch's AdamW."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        w = w * (1 - RATE * decay)
        m, v = o.beta1 * m + (1 - o.beta1) * g, o.beta2 * v + (1 - o.beta2) * g * g
        w = w - RATE / (1 - o.beta1**t) * m / (np.sqrt(v) / np.sqrt(1 - o.beta2**t) + o.epsilon)
    return w


def nesterov(o: Any, w: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """PyTorch's SGD with nesterov=True, at learning rate (1 - momentum) times ours."""
    v = np.zeros_like(w)
    for g in gradients:
        v = o.momentum * v + g
        w = w * (1 - RATE * decay) - RATE * (1 - o.momentum) * (g + o.momentum * v)
    return w


def lion(o: Any, w: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """Algorithm 2 of arXiv 2302.06675."""
    m = np.zeros_like(w)
    for g in gradients:
        w = w * (1 - RATE * decay) - RATE * np.sign(o.beta1 * m + (1 - o.beta1) * g)
        m = o.beta2 * m + (1 - o.beta2) * g
    return w


TEXTBOOK = {"adam": adam, "lion": lion, "nesterov": nesterov, "sgd": sgd}


@pytest.mark.parametrize("name", OPTIMIZERS.names)
@pytest.mark.parametrize("head", [False, True])
def test_steps_are_those_of_the_textbook(name: str, head: bool) -> None:
    """Of weights, which decay, and of the bias, which does not; with other settings than the default ones, too."""
    optimiser = OPTIMIZERS[name](weight_decay=0.3)
    if head:
        changed = {key: 0.7 for key in ("momentum", "beta1") if hasattr(optimiser, key)}
        optimiser = OPTIMIZERS[name](weight_decay=0.0, **changed)
    rng, rows, inputs, units = np.random.default_rng(0), 5, 20, 17
    start = rng.standard_normal((inputs, units)).astype(np.float32)
    w, bias = kernels.to_panels(start, 32), kernels.zeros(2, 16)
    m, mb = np.zeros_like(w), np.zeros_like(bias)
    moments = (m, np.zeros_like(w), mb, np.zeros_like(bias)) if optimiser.moments == 2 else (m, m, mb, mb)
    scale, dw, db = np.ones(8, np.float32), [], []
    for step in range(1, STEPS + 1):
        a, z = (rng.standard_normal((rows, count)).astype(np.float32) for count in (inputs, units))
        c = rng.standard_normal(rows).astype(np.float32)
        gradients = reference.gradients(*(array.astype(np.float64) for array in (a, scale[:rows], c, z)))
        dw.append(gradients[0])
        db.append(gradients[1])
        constants = np.atleast_2d(optimiser.constants(np.array([step]), RATE))[0]
        pa, pz = kernels.to_panels(a, 8), kernels.to_panels(z, 8)
        rest = w, bias, moments, constants, kernels.NO_LABELS, kernels.DENSE
        kernels.update(optimiser.kind, pa, scale, c, pz, *rest)
    found = kernels.from_panels(w, inputs, units)
    np.testing.assert_allclose(
        found, TEXTBOOK[name](optimiser, start.astype(np.float64), dw, optimiser.weight_decay), rtol=1e-4, atol=1e-5
    )
    assert np.abs(found - start).max() > RATE / 2
    np.testing.assert_allclose(
        bias.reshape(-1)[:units], TEXTBOOK[name](optimiser, np.zeros(units), db, 0.0), rtol=1e-4, atol=1e-5
    )
