"""Schedule `federated`: all-layers where each chapter learns from a shard of the samples."""

from __future__ import annotations

from typing import ClassVar

from .all_layers import AllLayers
from .interface import Schedule, Settings
from .spec import ScheduleSpec


class Federated(Settings, frozen=True, kw_only=True, tag="federated"):
    """All-layers where chapter c learns from shard c modulo the number of shards, and only layers travel."""

    sharded: ClassVar[bool] = True
    algorithm: ClassVar[str] = "shards"

    def plan(self, spec: ScheduleSpec, first: int = 0) -> Schedule:
        """See `Settings.plan`."""
        return AllLayers(spec, first)
