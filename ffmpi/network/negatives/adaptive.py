"""Negatives chosen by what the network says."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta

from ... import kernels
from ...config.fields import Count
from . import Negatives, wrong_classes


class Adaptive(Negatives, frozen=True, kw_only=True, tag="adaptive"):
    """The wrong class of the greatest goodness, or one drawn by the head's softmax; random until there are scores."""

    scores: Annotated[
        Literal["softmax", "goodness"], Meta(description="What chooses: a draw by the head's softmax, or goodness.")
    ] = "softmax"
    lag: Annotated[
        Count,
        Meta(
            description="How long after the scores their negatives come. So many chapters or batches can be under way "
            "at once: with fewer than ranks these wait for each other, with more the scores are of an older network.",
            extra={"unit": "chapters, or batches with resample = 'batch'"},
        ),
    ] = 1

    adaptive: ClassVar[bool] = True

    def choose(self, scores: np.ndarray, classes: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Return the wrong class of the greatest goodness, or one drawn by the softmax of the wrong classes' logits.

        scores : (n, number) float32, the logits of all classes; or (n, number - 1), the goodness of the wrong ones
        classes : (n,) int64, the true ones; words : (n,) uint64, a random one for each
        """
        each = np.arange(len(classes))
        if self.scores == "goodness":
            hardest: np.ndarray = wrong_classes(classes, scores.shape[1] + 1)[each, scores.argmax(axis=1)]
            return hardest
        scores = scores.astype(np.float64)
        scores[each, classes] = -np.inf
        powers = np.ascontiguousarray(scores - scores.max(axis=1, keepdims=True))
        kernels.exponentials(powers.reshape(-1))
        upto = powers.cumsum(axis=1)
        share = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53 * upto[:, -1]
        # The first class beyond the share; a share rounded up to the whole must not lead beyond the last one.
        chosen: np.ndarray = (upto <= np.minimum(share, np.nextafter(upto[:, -1], 0))[:, None]).sum(axis=1)
        return chosen

    def conflict(self, config: Any) -> str:
        """Refuse scores that nobody computes, and choices that could not be where they are needed."""
        if config.rule.layout == "plain":
            return f"negatives.name = 'adaptive': rule.name = {config.rule.name!r} has no negatives"
        if self.scores == "softmax" and not config.head_layers:
            return (
                "negatives.scores = 'softmax': there is no head; expected 'goodness', or 'softmax' among "
                f"classify.methods = {config.classify.methods}"
            )
        if self.resample == "batch" and not (config.schedule.by_batch and self.scores == "softmax"):
            return (
                "negatives.resample = 'batch' with negatives.name = 'adaptive': expected schedule.name = 'pipeline' "
                "and negatives.scores = 'softmax'"
            )
        if config.shards.count > 1:
            return (
                f"negatives.name = 'adaptive' with shards.count = {config.shards.count}: the choices would have to "
                "leave their rank for the checkpoint; expected 'fixed' or 'random'"
            )
        return ""
