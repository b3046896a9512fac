"""What a schedule is to the others, and the settings that all schedules have."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, ClassVar, Protocol

from msgspec import Meta

from ..config.fields import Count, Member, Positive
from .cost import StepCosts
from .spec import ScheduleSpec
from .steps import LinkId, Step, Steps


class Schedule(Protocol):
    """What every schedule answers."""

    spec: ScheduleSpec
    first: int  # chapter of the run that is left

    def trained(self, rank: int) -> list[int]:
        """Return the stages that `rank` trains, or trains a piece of."""

    def computed(self, rank: int) -> list[int]:
        """Return the layers whose activations `rank` computes; it builds inputs if the first is among them."""

    def pieces(self, rank: int) -> dict[int, range]:
        """Return the panels that `rank` has of each layer whose activations it computes."""

    def shards(self, rank: int) -> list[int]:
        """Return the shards of the training samples that `rank` reads."""

    @property
    def links(self) -> list[LinkId]:
        """All links between the ranks."""

    def links_of(self, rank: int) -> list[LinkId]:
        """Return the links that begin or end on `rank`."""

    def stage_of(self, step: Step) -> int | None:
        """Return the stage that a step of computing is for; None if no stage has to wait for it."""

    @property
    def round(self) -> range:
        """Chapters in which each rank does its whole share of the work, by what it measures of them."""

    @property
    def delay(self) -> str:
        """Why ranks wait however evenly they share the work, to follow "ranks wait"; empty if they need not."""

    def steps(self, rank: int) -> Steps:
        """Yield what `rank` does to the end."""

    def steps_with(self, rank: int, links: list[LinkId]) -> Steps:
        """Yield the same with messages by these links only, which stand for all others that are like them."""

    def computing(self, rank: int) -> Steps:
        """Yield the same for those who price it: messages may be missing."""

    def costs_on(self, rank: int, costs: StepCosts) -> StepCosts:
        """Return what steps cost on `rank`, which may have parts of layers."""

    def kind_of(self, rank: int) -> Hashable:
        """Return what ranks have in common whose computing costs the same."""


class OfWholeLayers(Schedule, Protocol):
    """What the schedules answer alike whose ranks have whole layers: no rank is like another."""

    def links_of(self, rank: int) -> list[LinkId]:
        """Return the links that begin or end on `rank`."""
        return [link for link in self.links if rank in (link.source, link.target)]

    def costs_on(self, rank: int, costs: StepCosts) -> StepCosts:
        """Return what steps cost on `rank`: it has whole layers."""
        return costs

    def kind_of(self, rank: int) -> Hashable:
        """Return what ranks have in common whose computing costs the same."""
        return rank

    def steps_with(self, rank: int, links: list[LinkId]) -> Steps:
        """See `Schedule.steps_with`: no rank is like another, so these are all."""
        return self.steps(rank)

    def computing(self, rank: int) -> Steps:
        """Yield what `rank` does to the end, for those who price it: messages may be missing."""
        return self.steps(rank)


class Settings(Member, frozen=True, kw_only=True):
    """The settings of a schedule, and what it says of itself before it is made."""

    depth: Annotated[
        int, Meta(ge=1, le=1024, description="Buffers at each end of a link.", extra={"unit": "buffers"})
    ] = 3  # fmt: skip
    threads: Annotated[Count, Meta(description="Numba's threads of each rank.", extra={"unit": "threads"})] = 1
    timeout: Annotated[
        Positive,
        Meta(
            description="How long a rank waits without a sign of life from the one it waits for, or from the network, "
            "before it ends the job. A rank gives one between any two kernels: only a single kernel, or one read or "
            "write of a file, that takes longer needs more. What a suspended job sleeps does not count.",
            extra={"unit": "seconds"},
        ),
    ] = 3600.0

    #: Whether ranks of a host read each other's activations where they are; else these are sent.
    shared_memory = False
    #: Whether all layers learn from each batch as it flows by; else they learn in turn, a chapter each.
    by_batch: ClassVar[bool] = False
    #: What may flow back to a layer, of `Rule.feedback`: so far nothing does.
    feedback: ClassVar[tuple[str, ...]] = ()
    #: Whether chapters learn from the shards of the samples in turn.
    sharded: ClassVar[bool] = False
    #: Schedules of the same algorithm give the same bits, so that a run may change between them.
    algorithm: ClassVar[str] = "chapters"
    #: What a rank passes to the next: activations, or weights, to compute these once more.
    exchange = "activations"

    def plan(self, spec: ScheduleSpec, first: int = 0) -> Schedule:
        """Return the schedule of `spec` from chapter `first` on. Raises UserError if it cannot use so many ranks."""
        raise NotImplementedError  # each member of the family has its own
