"""Negatives chosen by what the network says."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from ...config.fields import Count
from . import Negatives


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
