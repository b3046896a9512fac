"""Schedules: who does what, when, as data."""

from __future__ import annotations

from typing import Protocol

from ..errors import UserError
from .all_layers import AllLayers
from .pipeline import Pipeline
from .single_layer import SingleLayer
from .spec import ScheduleSpec
from .steps import LinkId, Steps

__all__ = ["Pipeline", "Schedule", "Steps", "Work", "schedule_of"]


class Schedule(Protocol):
    """What every schedule answers."""

    spec: ScheduleSpec

    def trained(self, rank: int) -> list[int]:
        """Return the stages that `rank` trains."""

    def computed(self, rank: int) -> list[int]:
        """Return the layers whose activities `rank` computes; it composes inputs if the first is among them."""

    def shards(self, rank: int) -> list[int]:
        """Return the shards of the training samples that `rank` reads."""

    @property
    def links(self) -> list[LinkId]:
        """All links between the ranks."""

    @property
    def bound(self) -> float:
        """The speed-up over one rank that the schedule allows."""

    def steps(self, rank: int) -> Steps:
        """Yield what `rank` does to the end."""


def schedule_of(name: str, spec: ScheduleSpec, first: int = 0) -> Schedule:
    """Return the schedule called `name` from chapter `first` on; UserError if it cannot use so many ranks."""
    if name == "pipeline":
        return Pipeline(spec, first)
    if name == "single-layer":
        return SingleLayer(spec, first)
    if name == "sequential" and spec.ranks > 1:
        raise UserError(
            f"schedule.name = 'sequential' with {spec.ranks} ranks: expected one rank, or another schedule: "
            "'all-layers' gives the same bits on several"
        )
    return AllLayers(spec, first)
