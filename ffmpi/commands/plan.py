"""The command `plan`: what a run would do, how fast, what bounds it, and what would help, without starting it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import config
from ..config.schema import Config
from ..data.assumed import Given, assumed
from ..data.info import DatasetInfo, resolved
from ..errors import UserError, note
from ..plan.advice import Advice, advise
from ..plan.bounds import Bound, bounds
from ..plan.goal import goal, write
from ..plan.machine import Machine, read_machine
from ..plan.planner import plan_of
from ..plan.simulation import STEPS, Plan
from ..plan.tracing import planned_trace
from ..run.ranks import Ranks
from ..runtime import memory
from ..runtime.joined import Alone
from ..runtime.reading import reading
from ..runtime.sizes import message_sizes, step_costs
from .plan_text import show_curve, show_plan, size_text

#: Ranks up to which other settings are planned, too, unless it is said.
_ADVISED = 64
#: Steps of another plan that is compared with the run's.
_FEWER = STEPS / 6
#: Ranks of the largest run of a curve, unless it is said; and those that are priced of it, each with its memory.
_LARGEST, _PRICED = 4096, 64


@dataclass
class Request:
    """What is to be planned, as the command line says it; `ranks_per_host` 0: as many as a host has cores."""

    path: str
    settings: list[str]
    ranks: int
    ranks_per_host: int
    machine_name: str
    given: Given
    as_json: bool
    machine: Machine = field(init=False)
    dataset: DatasetInfo = field(init=False)
    config: Config = field(init=False)

    def __post_init__(self) -> None:
        """Read the configuration, the machine and the sizes of the data set. Raises UserError."""
        read = config.read(self.path, self.settings, tell=True)
        self.machine = read_machine(self.machine_name)
        self.dataset = _dataset(read, self.given)
        self.config = resolved(read, self.dataset)

    def plan(self, settings: list[str], ranks: int, machine: Machine | None = None, steps: float = _FEWER) -> Plan:
        """Plan it with more settings, on so many ranks and another machine. Raises UserError if that cannot be."""
        changed = self.config
        if settings:
            changed = resolved(config.read(self.path, [*self.settings, *settings]), self.dataset)
        return plan_of(changed, self.dataset, ranks, machine or self.machine, self.ranks_per_host, steps)


def _dataset(read: Config, given: Given) -> DatasetInfo:
    """Return the sizes of the data set: as its files say if they are here, or else as it is known."""
    known, path = config.registries.FORMATS[read.data.name], os.path.expanduser(read.data.path or "")
    here = not known.path or os.path.exists(path) or read.shards.by == "file"
    if given or not here:
        if not given and known.train:
            note(f"data.path = {read.data.path!r}: not here, planned with the known sizes of {read.data.name!r}")
        return assumed(read, given)
    return reading(Alone(), read, None, None).dataset


def plan(request: Request, advice: bool | None, goal_file: str | None, trace_file: str | None) -> None:
    """Print the plan, or JSON, and write what else is asked for."""
    found = request.plan([], request.ranks, steps=STEPS)
    everything = request.ranks <= _ADVISED if advice is None else advice
    alone = found if request.ranks == 1 else _alone(request)
    limits = bounds(found, (lambda machine: request.plan([], request.ranks, machine)) if everything else None)
    told = advise(request.config, found, request.plan) if everything else []
    hosts = [f"host {rank // found.ranks_per_host + 1}" for rank in range(found.ranks)]
    needs, unfit = _memory(request, found)
    if goal_file:
        _write_goal(request, found, goal_file)
    if trace_file:
        _write_trace(request, found, trace_file, hosts)
    result = _facts(request, found, alone, limits, told, needs) | {"unfit": unfit}
    if request.as_json:
        print(json.dumps(result))
        return
    show_plan(request.config, request.dataset, found, Ranks(request.config, found.schedule, hosts), result)


def _alone(request: Request) -> Plan | None:
    """Return the plan on one rank, if the schedule can be carried out by one."""
    try:
        return request.plan([], 1)
    except UserError:
        return None


def _facts(
    request: Request, found: Plan, alone: Plan | None, limits: list[Bound], told: list[Advice], needs: list[float]
) -> dict[str, Any]:  # fmt: skip
    machine, spec = request.machine, found.schedule.spec
    sizes = message_sizes(request.config, request.dataset, spec)
    return {
        "machine": machine.name,
        "measured_here": machine.here,
        "schedule": request.config.schedule.name,
        "ranks": found.ranks,
        "hosts": found.hosts,
        "epochs": spec.epochs,
        "seconds": found.seconds,
        "seconds_per_epoch": found.seconds / max(1, spec.epochs),
        "seconds_on_one_rank": alone.seconds if alone else None,
        "speedup": alone.seconds / found.seconds if alone else None,
        "idle": found.idle,
        "bounds": [asdict(bound) for bound in limits],
        "advice": [asdict(advice) for advice in told],
        "checkpoint": {"bytes": sizes.saved, "seconds": sizes.saved / machine.disk, "every": spec.save_every},
        "slurm": _slurm(request, found),
        "per_rank": list(_per_rank(request, found, needs)),
    }


def _per_rank(request: Request, found: Plan, needs: list[float]) -> Iterator[dict[str, Any]]:
    """Yield what each rank does, the same for ranks that are equal."""
    spec, schedule = found.schedule.spec, found.schedule
    epochs = spec.epochs_per_chapter * sum(spec.batches[spec.shard_of(c)] for c in range(spec.chapters))
    widths = step_costs(request.config, request.dataset, spec).widths
    for group, usage in zip(found.groups, found.usage, strict=True):
        rank = group.ranks[0]
        trained, pieces = schedule.trained(rank), schedule.pieces(rank)
        units = {
            layer: min(16 * panels.stop, widths[layer + 1]) - 16 * panels.start for layer, panels in pieces.items()
        }
        yield {
            "ranks": list(group.ranks),
            "weights": sum(widths[layer] * count for layer, count in units.items() if layer in trained),
            "flop_per_batch": usage.flop / epochs,
            "sent_per_batch": usage.sent / epochs,
            "received_per_batch": usage.received / epochs,
            "messages_per_batch": usage.messages / epochs,
            "memory": needs[rank],
            "computing": usage.computing,
            "waiting": max(0.0, found.seconds - usage.busy),
        } | {name: getattr(usage, name) for name in ("busy", "moving", "saving", "flop", "sent", "received", "remote")}


def _memory(request: Request, found: Plan) -> tuple[list[float], str]:
    """Return the bytes that each rank needs at most, of many that are alike those of one; and why they are too many.

    They are 0 where not even the address space here has room for what a rank needs.
    """
    base, schedule, unfit = memory.base_of(request.config.schedule.threads), found.schedule, ""
    widths = step_costs(request.config, request.dataset, schedule.spec).widths
    known: dict[Any, float] = {}
    needs = [0.0] * found.ranks
    for group in found.groups:
        rank = group.ranks[0]
        key: Any = rank
        if found.ranks > _PRICED:
            pieces, head = schedule.pieces(rank), schedule.spec.head_layers
            alike = ((*widths[k : k + 2], len(panels), k in head, k == 0) for k, panels in pieces.items())
            key = rank == 0, tuple(alike)
        if key not in known:
            try:
                known[key] = memory.price(request.config, request.dataset, schedule, rank, base).total
            except UserError as error:
                known[key], unfit = 0.0, str(error)
        for one in group.ranks:
            needs[one] = known[key]
    host = max(
        sum(needs[first : first + found.ranks_per_host]) for first in range(0, found.ranks, found.ranks_per_host)
    )
    if host > request.machine.memory and not unfit:
        sizes = size_text(host), size_text(request.machine.memory)
        unfit = f"not enough memory: the ranks of a host need up to {sizes[0]}, more than its {sizes[1]}"
    return needs, unfit


def _slurm(request: Request, found: Plan) -> str:
    """Return options of a batch script: with a quarter more time than is expected, in whole minutes."""
    minutes = max(1, -(-int(1.25 * found.seconds) // 60))
    hours, minutes = divmod(minutes, 60)
    threads = request.config.schedule.threads
    return f"#SBATCH -N {found.hosts} -n {found.ranks} -c {threads} --time={hours:02d}:{minutes:02d}:00"


def _write_goal(request: Request, found: Plan, path: str) -> None:
    spec = found.schedule.spec
    costs = step_costs(request.config, request.dataset, spec)
    sizes = message_sizes(request.config, request.dataset, spec)
    try:
        count = write(path, goal(found.schedule, costs, sizes, request.machine, request.ranks_per_host))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); expected a place with room for it") from None
    note(f"{path}: {count} lines, times in picoseconds")


def _write_trace(request: Request, found: Plan, path: str, hosts: list[str]) -> None:
    sizes = message_sizes(request.config, request.dataset, found.schedule.spec)
    who = Ranks(request.config, found.schedule, hosts)
    owns = [who.duties([rank]) for rank in range(found.ranks)]
    planned_trace(found, sizes, owns, hosts).save(path)


def curve(request: Request) -> None:
    """Print, or as JSON, the times on 1, 2, 4, ... ranks, up to as many as the run can use."""
    most = request.ranks if request.ranks > 1 else _LARGEST
    counts = sorted({most, *(1 << k for k in range(most.bit_length()) if 1 << k <= most)})
    points: list[dict[str, Any]] = []
    for count in counts:
        try:
            found = request.plan([], count)
        except UserError as error:
            points.append({"ranks": count, "error": str(error)})
            if count > 1:
                break
            continue
        first = next((point["seconds"] for point in points if point["ranks"] == 1), found.seconds)
        limit = bounds(found)[0]
        points.append({
            "ranks": count, "hosts": found.hosts, "seconds": found.seconds, "speedup": first / found.seconds,
            "idle": found.idle, "bound": limit.name, "share": limit.share,
        })  # fmt: skip
    if request.as_json:
        print(json.dumps({"machine": request.machine.name, "measured_here": request.machine.here, "curve": points}))
    else:
        show_curve(request.config, request.dataset, request.machine, points)
