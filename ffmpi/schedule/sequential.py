"""Schedule `sequential`: all chapters on one rank."""

from __future__ import annotations

from typing import ClassVar

from ..errors import UserError
from .all_layers import AllLayers
from .interface import Schedule, Settings
from .spec import ScheduleSpec


class Sequential(Settings, frozen=True, kw_only=True, tag="sequential"):
    """One rank trains layer after layer, chapter by chapter: the algorithm that the paper distributes."""

    unread: ClassVar[tuple[str, ...]] = ("schedule.depth", "schedule.timeout")

    def plan(self, spec: ScheduleSpec, first: int = 0) -> Schedule:
        """See `Settings.plan`."""
        if spec.ranks > 1:
            raise UserError(
                f"schedule.name = 'sequential' with {spec.ranks} ranks: expected one rank, or another schedule: "
                "'all-layers' gives the same bits on several"
            )
        return AllLayers(spec, first)
