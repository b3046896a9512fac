"""How often the losses of samples count: one number each, beside their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UserError

_WANTED = "one finite number from 0 for each sample to learn from"


def expect_weights(shape: tuple[int, ...], dtype: np.dtype, kind: str, samples: int, where: str) -> None:
    """Raise UserError if this shape and type are not those of the weights of so many `samples`."""
    if shape not in ((samples,), (samples, 1)) or dtype.kind not in "iufb":
        raise UserError(f"{where} is {kind} of shape {shape}, expected shape ({samples},), {_WANTED}")


def weights_of(values: np.ndarray, where: str) -> np.ndarray:
    """Return weights, (samples,) float32, checked. Raises UserError.

    values : (samples,) or (samples, 1) of any type of numbers
    """
    with np.errstate(over="ignore"):  # what is too large is found as infinite
        found = values.reshape(-1).astype(np.float32)
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if wrong.size:
        raise UserError(f"{where}: sample {wrong[0]} has the weight {values.flat[wrong[0]]:g}, expected {_WANTED}")
    return found


def expect_some(parts: Sequence[np.ndarray | None], where: str) -> None:
    """Raise UserError if all weights of one of `parts`, the shards of the training samples, are 0."""
    for shard, weights in enumerate(parts):
        if weights is not None and not weights.any():
            which = f"of shard {shard + 1} " if len(parts) > 1 else ""
            raise UserError(f"{where}: the weights {which}are all 0, expected a greater one, or no data.weights")
