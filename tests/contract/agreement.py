"""The two things every kind of run must do: agree with plain NumPy, and come through a kill unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ffmpi import config
from ffmpi.data.split import load
from tests.conftest import Run
from tests.contract.plain import Matrix, Plain
from tests.helpers import DIGITS, KILLED, arrays, assert_same_bits, chapters_saved, lines, records

#: Rounding in float32 against float64, which training carries on: a share of the way that the weights have gone.
ROUNDING = 1e-3


def assert_agrees_with_plain_numpy(run: Path) -> None:
    """Train once more what `run` trained on uint8 images, and compare all that was learnt and measured."""
    settled = config.read(str(run / "config.toml"), [])
    sets = load(settled, "train", images=True), load(settled, "test", images=True)
    plain, begun = Plain(settled, *sets), Plain(settled, *sets)
    plain.run()
    found = arrays(run)
    matrices = {name: (m, m0) for (name, m), m0 in zip(_named(plain).items(), _named(begun).values(), strict=True)}
    assert matrices.keys() == {name.rsplit("/", 1)[0] for name in found if name.endswith("/weights")}
    for name, (learnt, first) in matrices.items():
        assert found[f"{name}/steps"] == learnt.steps > 0
        for part in ("weights", "bias"):
            expected, way = getattr(learnt, part), np.linalg.norm(getattr(learnt, part) - getattr(first, part))
            assert np.linalg.norm(found[f"{name}/{part}"] - expected) <= ROUNDING * way, (name, part)
    last = records(run)[-1]
    np.testing.assert_allclose([layer["loss"] for layer in last["layers"]], plain.losses, rtol=ROUNDING)
    for method, percentage in plain.accuracy().items():
        assert abs(last["accuracy"][method] - percentage) < 0.6  # two of 360 images


def _named(plain: Plain) -> dict[str, Matrix]:
    """Return all weights by their name in a checkpoint."""
    named = {f"layers/{k}": matrix for k, matrix in enumerate(plain.layers)}
    named |= {f"head/{k}": block for k, block in plain.head.items()}
    return named | {f"layers/{k}/classifier": blocks[k] for k, blocks in enumerate(plain.classifiers)}


def assert_survives_kill(
    run: Run, whole: Path, directory: Path, settings: list[str], before: int, after: int, *more: str
) -> None:
    """Kill the last of `before` ranks after the first checkpoint, resume on `after` ranks, and compare with `whole`."""
    done = run(before, "-c", KILLED, before - 1, "train", DIGITS, "--run", directory, *settings)
    assert done.returncode != 0
    saved, measured = chapters_saved(directory), lines(directory)
    assert 0 < saved < len(lines(whole))
    done = run(after, "-m", "ffmpi", "resume", directory, *more)
    assert done.returncode == 0, done.stderr
    assert_same_bits(whole, directory)
    assert len(lines(directory)) == len(lines(whole))
    assert lines(directory)[:saved] == measured[:saved]  # with their seconds: nothing was trained again
