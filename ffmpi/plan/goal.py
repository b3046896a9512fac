"""The steps of all ranks in GOAL, the format that the independent simulator LogGOPSim reads.

Each rank is a block of operations: `calc` of so much time, `send` and `recv` of bytes. One `requires` another if it
begins after its end, and `irequires` it if it begins after its beginning. As in MPI, a message meets the first `recv`
from its source with its tag. Times are in picoseconds: LogGOPSim takes whole numbers, also for that of a byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..schedule import Schedule, tag_of
from ..schedule import steps as s
from ..schedule.cost import StepCosts
from ..schedule.messages import MessageSizes
from .events import EAGER
from .machine import Machine
from .simulation import on_hosts
from .stashed import StashMemory


def goal(
    schedule: Schedule, costs: StepCosts, sizes: MessageSizes, machine: Machine, ranks_per_host: int
) -> Iterator[str]:  # fmt: skip
    """Yield the lines of a run: all its steps, but for what ranks report; of saves what rank 0 writes.

    The first lines name the options with which LogGOPSim has the messages of `machine`.
    """
    per_host, priced = on_hosts(schedule, costs, machine, ranks_per_host)
    yield f"num_ranks {schedule.spec.ranks}"
    yield f"// LogGOPSim {' '.join(_options(machine, schedule.spec.ranks <= per_host))}"
    for rank in range(schedule.spec.ranks):
        yield ""
        yield f"rank {rank} {{"
        yield from _Rank(schedule, rank, schedule.costs_on(rank, priced), sizes, machine, per_host).lines()
        yield "}"


def _options(machine: Machine, same_host: bool) -> Iterator[str]:
    """Yield LogGOPSim's options that stand for the figures of messages."""
    overhead, latency = (each(0, same_host) for each in (machine.overhead_s, machine.transfer))
    byte, moved = (
        (each(_LONG, same_host) - least) / _LONG
        for each, least in ((machine.transfer, latency), (machine.overhead_s, overhead))
    )
    options = {"L": max(0.0, latency - 2 * overhead), "o": overhead, "g": overhead, "G": byte, "O": moved}
    yield from (f"-{name} {_ps(seconds)}" for name, seconds in options.items())
    yield f"-S {EAGER}"


#: Bytes of a message by which the time of one is found.
_LONG = 1 << 20


def _ps(seconds: float) -> int:
    return round(1e12 * seconds)


class _Rank:
    """The block of one rank."""

    def __init__(
        self, schedule: Schedule, rank: int, costs: StepCosts, sizes: MessageSizes, machine: Machine, per_host: int
    ) -> None:  # fmt: skip
        self.per_host = per_host
        self.schedule, self.rank, self.costs, self.sizes, self.machine = schedule, rank, costs, sizes, machine
        self.memory = StashMemory(sizes.outputs)
        self.count = 0
        self.after: dict[str, str] = {}  # what the next operation needs: by label, to have ended or begun
        self.under_way: dict[tuple[s.LinkId, int], str] = {}
        self.computed = 0.0  # not written yet

    def lines(self) -> Iterator[str]:
        """Yield its operations and what they need."""
        for step in self.schedule.steps(self.rank):
            match step:
                case s.Post(link, buffer, item):
                    yield from self._message(f"recv {self._bytes(link, item)}b from {link.source}", link, buffer)
                case s.Send(link, buffer, item):
                    yield from self._message(f"send {self._bytes(link, item)}b to {link.target}", link, buffer)
                case s.Receive(link, buffer) | s.Reserve(link, buffer):
                    label = self.under_way.pop((link, buffer), None)
                    if label is not None:
                        yield from self._calc()
                        self.after[label] = "requires"
                case s.Save() if self.rank == 0:
                    self.computed += self.sizes.saved / self.machine.disk
                case s.StashActivations() | s.FreeActivations():
                    new = self.memory.new(step) / self.costs.core.new
                    self.computed += self.costs.of(step).seconds + new
                case _:
                    self.computed += self.costs.of(step).seconds
        yield from self._calc()

    def _bytes(self, link: s.LinkId, item: s.Item) -> int:
        same_host = link.source // self.per_host == link.target // self.per_host
        return self.sizes.of(self.schedule, link, item, same_host)

    def _message(self, text: str, link: s.LinkId, buffer: int) -> Iterator[str]:
        """Yield the beginning of a message: what follows goes on at once."""
        yield from self._calc()
        label = self._label()
        yield f"{label}: {text} tag {tag_of(link)}"
        yield from self._needs(label, "irequires")
        self.under_way[link, buffer] = label

    def _calc(self) -> Iterator[str]:
        """Yield what has been computed since the last operation."""
        if self.computed:
            label = self._label()
            yield f"{label}: calc {_ps(self.computed)}"
            yield from self._needs(label, "requires")
            self.computed = 0.0

    def _label(self) -> str:
        self.count += 1
        return f"l{self.count}"

    def _needs(self, label: str, then: str) -> Iterator[str]:
        """Yield what an operation needs; the next one needs this one."""
        yield from (f"{label} {how} {other}" for other, how in self.after.items())
        self.after = {label: then}


def write(path: str, lines: Iterable[str]) -> int:
    """Write `lines` to a file and return how many there are; OSError if that cannot be done."""
    count = 0
    with open(path, "w", encoding="ascii") as file:
        for line in lines:
            file.write(line + "\n")
            count += 1
    return count
