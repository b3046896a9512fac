"""The command `bench machine`: what this machine can do, into a file by which runs are planned."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import structs
from rich.console import Console
from rich.table import Table

from ... import __version__
from ...errors import UserError
from ...kernels import cache_problem, compile_each, use_threads
from ...plan.machine import Machine, Messages, measured_path, read_machine, write_machine
from ...run.directory import processor
from ...runtime import stop
from ...runtime.limits import memory_limits
from ...runtime.mpi import all_ranks_or_raise, allgather, host, on_rank_0, one_per_host_first, spin, wait
from ...runtime.setup import warn_of_cache
from ...schedule.core import Core
from . import messages, trials
from .figures import SHAPES, Kernels, timed

#: Whose figures of the network between hosts are taken where there is one host.
_TYPICAL = "epyc-avx2"
#: Shares of the time: kernels, messages inside a host, and as much between hosts.
_KERNELS, _MESSAGES = 0.5, 0.15
#: How often each kernel is timed at least.
_LEAST = 3
#: Below so many seconds few shapes are timed.
_BRIEF = 10.0


def machine(comm: Any, output: str | None, seconds: float, as_json: bool) -> None:
    """Measure in about `seconds`, and write the figures to the file `output`, or where plans look for them."""
    if comm.size < 2:
        raise UserError("bench machine on 1 rank: expected at least 2, such as mpiexec -n 2 ffmpi bench machine")
    path = Path(output) if output else measured_path()
    with all_ranks_or_raise(comm):
        if comm.rank == 0 and (output and not path.parent.is_dir()):
            raise UserError(f"{path}: cannot be written (no such directory); expected a place for a file")
    began = time.perf_counter()
    found = _measured(comm, seconds)
    on_rank_0(comm, lambda: write_machine(found, path) if found else None)
    warn_of_cache(cache_problem())
    if found:
        if as_json:
            print(json.dumps({"file": str(path)} | msgspec.to_builtins(found)))
        else:
            _show(found, path, time.perf_counter() - began)


def _measured(comm: Any, seconds: float) -> Machine | None:
    """Return the machine, on rank 0."""
    use_threads(1)
    with one_per_host_first(comm):
        for _ in compile_each(threads=1):
            stop.check()
    spin(True)
    places = allgather(comm, host())
    kernels = Kernels(SHAPES[:2] if seconds < _BRIEF else SHAPES)
    alone, busy, colder = _core(comm, kernels, places, seconds)
    together = trials.median_of(allgather(comm, trials.steps_together(comm, busy)))
    together = {kind: colder * each for kind, each in together.items()}
    steps = {"steps": busy.steps | together}
    found = {"core": structs.replace(busy, **steps), "alone": structs.replace(alone, **steps)}
    here = [rank for rank, place in enumerate(places) if place == places[0]][:2]
    elsewhere = [0, *(rank for rank, place in enumerate(places) if place != places[0])][:2]
    inside, between = (_messages(comm, pair, seconds * _MESSAGES) for pair in (here, elsewhere))
    if comm.rank > 0:
        return None
    typical = read_machine(_TYPICAL)
    missing = [
        f"messages {where} a host are those of {typical.name}"
        for where, one in (("inside", inside), ("between ranks of", between)) if one is None
    ]  # fmt: skip
    when = time.strftime("%Y-%m-%d %H:%M")
    beside = Path.cwd() if os.access(Path.cwd(), os.W_OK) else None  # where runs are written, or else /tmp
    return Machine(
        name=f"{processor()} of {host()}",
        source="; ".join([f"ffmpi {__version__} bench machine on {comm.size} ranks, {when}", *missing]),
        processor=processor(),
        measured=True,
        cores=os.cpu_count() or 1,
        memory=float(min(limit.bytes for limit in memory_limits(host()))),
        disk=trials.disk_rate(beside),
        card=_rate(between) if between else typical.card,
        inside=inside or typical.inside,
        between=between or typical.between,
        **found,
    )


def _core(comm: Any, kernels: Kernels, places: list[str], seconds: float) -> tuple[Core, Core, float]:
    """Return a core while the others are idle, and while all are busy: the mean over the hosts, and over the ranks.

    And how many times as long steps take in wide layers.
    """
    first = places.index(places[comm.rank]) == comm.rank
    alone, mixed, together = _times(comm, kernels, first, _KERNELS * seconds)
    found = []
    colder = 1.0
    # What a core loses to the others is seen where weights are not in its caches, as they are between large layers.
    for taking_part, times in ((first, alone), (True, alone * together / mixed)):
        wait(comm.Ibarrier())
        own = (times, *trials.steps_alone(kernels.core(times))) if taking_part else None
        every = [each for each in allgather(comm, own) if each is not None]
        taken, steps, pixels, factors = zip(*every, strict=True)
        colder = float(np.median(factors))
        core = kernels.core(np.mean(taken, axis=0))
        found.append(structs.replace(core, steps=trials.median_of(list(steps)), pixels=float(np.mean(pixels))))
    return found[0], found[1], colder


def _times(comm: Any, kernels: Kernels, first: bool, seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what the kernels' actions take: alone, alone in an order in which weights change, and so on all cores.

    All three by turns, since a machine that others use, too, is faster and slower by the minute. Alone is the `first`
    rank of each host; the others get the mean.
    """
    ways = ((kernels.in_turn, False), (kernels.mixed, False), (kernels.mixed, True))
    found: list[list[np.ndarray]] = [[], [], []]
    end, more = time.perf_counter() + seconds, True
    while more:
        for times, (order, together) in zip(found, ways, strict=True):
            wait(comm.Ibarrier())
            if together or first:
                times.append(timed(kernels.actions, order))
        more = allgather(comm, len(found[2]) < _LEAST or time.perf_counter() < end)[0]
    # The first time is not that of later ones.
    own = [np.median(times[1:], axis=0) if times else None for times in found]
    every = allgather(comm, own)
    means = [np.mean([each[way] for each in every if each[way] is not None], axis=0) for way in range(3)]
    alone, mixed, together = (mean if one is None else one for one, mean in zip(own, means, strict=True))
    return alone, mixed, together


def _messages(comm: Any, pair: list[int], seconds: float) -> Messages | None:
    """Return what messages between a pair of ranks take, on rank 0; None if there are not two."""
    found = None
    if len(pair) == 2 and comm.rank in pair:
        found = messages.measure(comm, pair[0], pair[1], seconds)
    wait(comm.Ibarrier())
    return found


def _rate(found: Messages) -> float:
    """Return the bytes a second of the largest messages."""
    return found.bytes[-1] / found.seconds[-1]


def _show(found: Machine, path: Path, took: float) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("one core", "all ranks at once"):
        table.add_column(name, justify="right")
    rows = {
        "dense forward, GFLOP/s": lambda core: f"{1e-9 * core.forward.rate:.1f}",
        "dense gradient, GFLOP/s": lambda core: f"{1e-9 * core.gradient.rate:.1f}",
        "of a dense product where half is zero, forward": lambda core: f"{_share(core.forward):.2f}",
        "gradient": lambda core: f"{_share(core.gradient):.2f}",
        "step of 1,000,000 parameters with one moment, us": lambda core: f"{1e12 * core.one_moment:.0f}",
        "with two": lambda core: f"{1e12 * core.two_moments:.0f}",
        "copied rows, GB/s": lambda core: f"{1e-9 * core.copying:.1f}",
        "copied into new memory": lambda core: f"{1e-9 * core.new:.1f}",
        "inputs, Mpixel/s": lambda core: f"{1e-6 * core.pixels:.0f}",
        "a Forward beside its arithmetic, us": lambda core: f"{1e6 * core.steps['Forward']:.1f}",
    }
    for name, text in rows.items():
        table.add_row(name, text(found.alone), text(found.core))
    console = Console(width=120, highlight=False)
    console.print(f"{found.name}: {found.cores} cores, {found.memory / 2**30:.1f} GiB; measured in {took:.0f} s")
    console.print(table)
    for where, each in (("inside a host", found.inside), ("between hosts", found.between)):
        console.print(
            f"messages {where}: {1e6 * each.transfer(8):.1f} us for 8 bytes, {1e6 * each.transfer(1e5):.0f} us for "
            f"100 kB, then {1e-9 * _rate(each):.2f} GB/s"
        )
    console.print(f"a checkpoint: {1e-6 * found.disk:.0f} MB/s")
    for remark in found.source.split("; ")[1:]:
        console.print(f"not measured: {remark}")
    there = " (plans made here take it)" if path == measured_path() else f": ffmpi plan --machine {path}"
    console.print(f"written to {path}{there}")


def _share(form: Any) -> float:
    """Return the time of a wide layer's product half of whose inputs are zero, beside a dense one."""
    return float(form.seconds(200, 1000, 1008, 0.5) / form.seconds(200, 1000, 1008, 1.0))
