"""What `plan` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ..config.schema import Config
from ..data.info import DatasetInfo
from ..errors import ranges
from ..plan.machine import Machine
from ..plan.simulation import Plan
from ..run.progress import run_text
from ..run.ranks import Ranks

#: Shares of the time, and advice, that are told.
_TOLD, _ADVICE = 0.01, 6
#: Columns of what is not printed on a terminal.
_WIDTH = 160


def _console() -> Console:
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(width=_WIDTH, highlight=False, markup=False, emoji=False)


def show_plan(config: Config, dataset: DatasetInfo, plan: Plan, who: Ranks, result: dict[str, Any]) -> None:
    """Print a plan."""
    console = _console()

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    say(run_text(config, dataset))
    say(f"machine: {plan.machine.told}; {_many(plan.hosts, 'host')} of {_many(plan.ranks_per_host, 'rank')}")
    console.print(_table(who, plan, result["per_rank"]))
    together = ", all ranks of a host added up" if who.by_host else ""
    say(f"GFLOP, sent, received: for each training batch, with the scoring that falls to it{together}")
    per = f", {time_text(result['seconds_per_epoch'])} an epoch"
    say(f"expected: {time_text(plan.seconds)} for {config.train.epochs} epochs{per}")
    if plan.ranks > 1:
        ratio = f"; speed-up {result['speedup']:.2f} over one rank's" if result["speedup"] else ""
        if ratio:
            ratio += f" {time_text(result['seconds_on_one_rank'])}"
        say(f"ranks wait {100 * plan.idle:.0f} % of the time{ratio}")
    for bound in result["bounds"]:
        if bound["share"] >= _TOLD:
            say(f"{100 * bound['share']:3.0f} % {bound['name']}: {bound['why']}")
    if result["unfit"]:
        say(result["unfit"])
    for advice in result["advice"][:_ADVICE]:
        say(_advice(advice, plan))
    saved = result["checkpoint"]
    every = "chapter" if saved["every"] == 1 else f"{saved['every']} chapters"
    say(f"checkpoint: {size_text(saved['bytes'])} in {time_text(saved['seconds'])}, every {every}")
    say(result["slurm"])


def _advice(advice: dict[str, Any], plan: Plan) -> str:
    if advice["wider"]:
        idle = f"{100 * advice['idle']:.0f} % instead of {100 * plan.idle:.0f} %"
        return f"wider layers would keep ranks busier: with {advice['change']} they wait {idle} of the time"
    less = 100 * (1 - advice["seconds"] / plan.seconds)
    bits = "the same weights" if advice["same_bits"] else "other weights"
    return f"{advice['change']} would take {time_text(advice['seconds'])}, {less:.0f} % less, and give {bits}"


def _table(who: Ranks, plan: Plan, groups: Sequence[dict[str, Any]]) -> Table:
    """Return what each rank does or, where there are many, each host's together."""
    by_rank = {rank: group for group in groups for rank in group["ranks"]}
    table = Table(box=None, pad_edge=False)
    first = ("host", "ranks") if who.by_host else ("rank", "host")
    numbers = ("weights", "GFLOP", "sent", "received", "memory", "computing", "waiting")
    for name in (*first, "owns", *numbers):
        words = name in ("host", "ranks", "owns")
        table.add_column(name, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for ranks in who.groups:
        each = [by_rank[rank] for rank in ranks]
        total = {key: sum(one[key] for one in each) for key in each[0] if key != "ranks"}
        names = [ranges(ranks), who.hosts[ranks[0]].removeprefix("host ")]
        table.add_row(
            *(reversed(names) if who.by_host else names),
            who.duties(ranks),
            count_text(total["weights"]),
            f"{total['flop_per_batch'] / 1e9:.3g}",
            size_text(total["sent_per_batch"]),
            size_text(total["received_per_batch"]),
            size_text(total["memory"]) if all(one["memory"] for one in each) else "too much",
            f"{100 * total['computing'] / len(each) / plan.seconds:.0f} %",
            f"{100 * total['waiting'] / len(each) / plan.seconds:.0f} %",
        )
    return table


def show_curve(config: Config, dataset: DatasetInfo, machine: Machine, points: Sequence[dict[str, Any]]) -> None:
    """Print times on numbers of ranks."""
    console = _console()
    console.print(run_text(config, dataset), soft_wrap=True)
    console.print(f"machine: {machine.told}; schedule {config.schedule.name}", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for name in ("ranks", "hosts", "expected", "speed-up", "efficiency", "waiting"):
        table.add_column(name, justify="right")
    table.add_column("most of the time")
    for point in points:
        if "error" in point:
            console.print(table)
            console.print(point["error"], soft_wrap=True)
            return
        table.add_row(
            str(point["ranks"]), str(point["hosts"]), time_text(point["seconds"]), f"{point['speedup']:.2f}",
            f"{100 * point['speedup'] / point['ranks']:.0f} %", f"{100 * point['idle']:.0f} %",
            f"{point['bound']} {100 * point['share']:.0f} %",
        )  # fmt: skip
    console.print(table)


def _many(count: int, name: str) -> str:
    return f"{count} {name}{'s' if count > 1 else ''}"


def time_text(seconds: float) -> str:
    """Return seconds for reading, with three digits."""
    for least, unit, name in ((7200, 3600, "h"), (180, 60, "min"), (1, 1, "s"), (0, 1e-3, "ms")):
        if seconds >= least:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


def size_text(count: float) -> str:
    """Return bytes for reading, with three digits."""
    return _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def count_text(count: float) -> str:
    """Return a number for reading, with three digits."""
    return _scaled(count, ("", "k", "M", "G", "T")).strip()


def _scaled(count: float, units: Sequence[str]) -> str:
    for unit in units[:-1]:
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {units[-1]}"
