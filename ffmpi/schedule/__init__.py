"""Schedules: who does what, when, as data."""

from __future__ import annotations

from ..config.registries import SCHEDULES
from .interface import Schedule, Settings
from .pipeline import Pipeline
from .spec import ScheduleSpec
from .steps import LinkId, Steps, tag_of

__all__ = ["LinkId", "Pipeline", "Schedule", "ScheduleSpec", "Settings", "Steps", "schedule_of", "tag_of"]


def schedule_of(name: str, spec: ScheduleSpec, first: int = 0) -> Schedule:
    """Return the schedule called `name` from chapter `first` on; UserError if it cannot use so many ranks."""
    settings: Settings = SCHEDULES[name]()
    return settings.plan(spec, first)
