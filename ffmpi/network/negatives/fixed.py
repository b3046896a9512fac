"""The same negatives to the end."""

from __future__ import annotations

from . import Negatives


class Fixed(Negatives, frozen=True, kw_only=True, tag="fixed"):
    """One random wrong class a sample, for the whole run."""

    def key(self, epoch: int, first: int) -> int:
        """See `Negatives.key`."""
        return 0
