"""Schedules: who does what, when, as data."""

from __future__ import annotations

from ..errors import UserError
from . import pipeline, sequential
from .placement import Placement
from .steps import Steps, Work

__all__ = ["Placement", "Steps", "Work", "steps_of"]


def steps_of(name: str, work: Work, rank: int, first_chapter: int = 0) -> Steps:
    """Return the steps of `rank` under the schedule called `name`, from `first_chapter` on."""
    if name == "pipeline":
        return pipeline.steps(work, rank, first_chapter)
    if work.ranks > 1:
        raise UserError(
            f"schedule.name = 'sequential' with {work.ranks} ranks: expected one rank, or schedule.name = 'pipeline'"
        )
    return sequential.steps(work, rank, first_chapter)
