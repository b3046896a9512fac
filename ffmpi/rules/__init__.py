"""Learning rules: how a layer learns from its own input and output; one file a rule."""

from __future__ import annotations

from typing import Any, ClassVar

from ..config.fields import Member
from ..errors import nearest


class Rule(Member, frozen=True, kw_only=True):
    """What a learning rule says of itself."""

    #: Rows of a batch: pairs, positives and negatives of the same samples, with a label shown; plain, without labels.
    layout: ClassVar[str]
    #: The ways to classify that it offers.
    methods: ClassVar[tuple[str, ...]]

    def conflict(self, config: Any) -> str:
        """Refuse ways to classify that are another rule's."""
        methods = config.classify.methods
        if len(set(methods)) < len(methods) or not set(methods) <= set(self.methods):
            hint = next((nearest(method, self.methods) for method in methods if method not in self.methods), "")
            return (
                f"classify.methods = {methods}: expected each method once, for rule.name = {self.name!r} of "
                f"{', '.join(self.methods)}{hint}"
            )
        return ""
