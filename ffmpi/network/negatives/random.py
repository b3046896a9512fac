"""Random negatives."""

from __future__ import annotations

from . import Negatives


class Random(Negatives, frozen=True, kw_only=True, tag="random"):
    """A random wrong class a sample, resampled for each chapter or batch."""
