"""The local-softmax rule: each layer learns by a softmax classifier of its own."""

from __future__ import annotations

from typing import Any, ClassVar

from . import Rule


class LocalSoftmax(Rule, frozen=True, kw_only=True, tag="local-softmax"):
    """Cross-entropy of a softmax classifier on each layer's activities: the paper's Performance-Optimized."""

    layout: ClassVar[str] = "plain"
    methods: ClassVar[tuple[str, ...]] = ("last-layer", "all-layers")
    unread: ClassVar[tuple[str, ...]] = (
        "negatives.name", "negatives.scores", "negatives.lag", "data.label", "data.label_value", "head.step",
    )  # fmt: skip

    def conflict(self, config: Any) -> str:
        """Refuse classifiers that would not learn together with their layers."""
        if config.head.step == "epoch":
            return (
                f"head.step = 'epoch': with rule.name = {self.name!r} classifiers learn together with their layers; "
                "expected 'batch'"
            )
        return super().conflict(config)
