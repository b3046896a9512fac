"""What runs have left, as tables: results, settings, environment, ranks."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..config.defaults import usual
from ..config.read import flat
from ..config.schema import Config
from ..run.differences import labels, setting_text, settings_of
from ..run.history import History
from ..run.planned import planned
from ..run.results import Result, common, grouped, over_seeds
from ..run.trace import KINDS, Trace
from .page import Cell, Row, Table

MB = 2.0**20
_NONE = "–"  # noqa: RUF001 - a dash
#: Of more ranks only the least, the middle and the greatest of each number are told.
_MOST_RANKS = 64
_LONGEST = 400  # letters of what a file says
#: What is told of a run's environment, by its key in environment.json.
_ENVIRONMENT = {
    "ffmpi": "ffmpi", "commit": "commit", "python": "Python", "packages": "packages", "mpi": "MPI", "ranks": "ranks",
    "host": "host", "system": "system", "processor": "processor", "cores": "cores", "command": "command",
    "variables": "variables", "ideal_speedup": "ideal speed-up, by load balance",
}  # fmt: skip


def _row(name: str, texts: Sequence[str], marked: bool = False) -> Row:
    """Return a line, which is `marked` if texts differ that could be the same."""
    return Row(name, [Cell(text or _NONE) for text in texts], marked and len(set(texts)) > 1)


def results_table(titles: Sequence[str], results: Sequence[Result], runs: Sequence[History]) -> Table:
    """Return what each run has reached, a column each."""
    rows = [_row("epochs", [_epochs(result) for result in results], marked=True)]
    ways = dict.fromkeys((split, way) for each in results for split, ways in each.accuracies.items() for way in ways)
    for split, method in ways:
        found = [result.accuracies.get(split, {}).get(method) for result in results]
        texts = ["" if value is None else f"{value:.2f} %" for value in found]
        rows.append(_row(f"{split} accuracy by {method}", texts))
    rows.append(_row("time of training", [f"{result.seconds:.1f} s" for result in results]))
    plans = [planned(run.path) for run in runs]
    rows += [_row("time of all steps", [plan.text if plan else "" for plan in plans])] if any(plans) else []
    rates = [statistics.median(chapter.samples_per_second for chapter in run.chapters) for run in runs]
    rows.append(_row("samples a second, median of chapters", [f"{rate:.0f}" for rate in rates]))
    for key in ("ranks", "machine", "commit"):
        rows.append(_row(key, [text_of(result.where.get(key)) for result in results], marked=True))
    note = "After the epochs that are done. ≠: not the same in all columns." if len(results) > 1 else ""
    return Table("What was reached", ["", *titles], rows, note)


def _epochs(result: Result) -> str:
    whole = result.config.train.epochs
    return f"{result.epochs} of {whole}" + ("" if result.epochs == whole else ", not finished")


def seeds_table(results: Sequence[Result]) -> Table | None:
    """Return mean and standard deviation of each configuration over its seeds, if one has several."""
    rows: list[Row] = []
    groups = grouped(results)
    names = labels([group[0].config for group in groups])
    ways = dict.fromkeys((split, way) for each in results for split, ways in each.accuracies.items() for way in ways)
    for group, name in zip(groups, names, strict=True):
        cells = [Cell(", ".join(str(result.config.seed) for result in group))]
        for split, method in ways:
            found = over_seeds(group, split, method)
            spread = f" ± {found['deviation']:.2f}" if found and found["deviation"] is not None else ""
            cells.append(Cell(f"{found['mean']:.2f}{spread} %" if found else _NONE))
        rows.append(Row(name or common([result.name for result in group]), cells))
    if len(groups) == len(results):
        return None
    columns = ["", "seeds", *(f"{split} accuracy by {method}" for split, method in ways)]
    return Table("Over seeds", columns, rows, "Mean ± standard deviation.")


def settings_tables(titles: Sequence[str], configs: Sequence[Config]) -> tuple[Table, Table]:
    """Return the settings that are not as usual or not the same, and all of them.

    Usual is what the preset says or, where it says nothing, the default.
    """
    values = [settings_of(config) for config in configs]
    bases = [flat(usual(msgspec.to_builtins(config))) for config in configs]
    chosen, everything = [], []
    for key in dict.fromkeys(key for each in values for key in each):
        pairs = [(each.get(key), base.get(key)) for each, base in zip(values, bases, strict=True)]
        cells = [
            Cell(setting_text(value) or _NONE, "" if value in (base, None) or base == "auto" else "set")
            for value, base in pairs
        ]
        usually = list(dict.fromkeys(setting_text(base) or _NONE for value, base in pairs if value is not None))
        row = Row(key, [*cells, Cell(" or ".join(usually))], len({repr(value) for value, _ in pairs}) > 1)
        everything.append(row)
        if row.differs or any(value not in (base, None) for value, base in pairs):
            chosen.append(row)
    columns = ["setting", *titles, "default or preset"]
    note = (
        "What is 'auto' has been settled by the data, if it was not set. *: not what the preset or the default says."
        + (" ≠: not the same in all runs." if len(titles) > 1 else "")
    )
    return Table("Settings that were chosen", columns, chosen, note), Table("All settings", columns, everything)


def environment_table(facts: dict[str, Any]) -> Table:
    """Return on what a run ran; where it was resumed elsewhere, what was other there."""
    legs = [facts, *facts.get("continued", [])]
    rows = [Row(name, [Cell(text_of(facts[key], key))]) for key, name in _ENVIRONMENT.items() if facts.get(key)]
    data = facts.get("data")
    if isinstance(data, dict):
        if isinstance(shape := data.get("shape"), list):
            rows.append(Row("images", [Cell(" x ".join(map(text_of, shape)))]))
        splits = data.get("splits")
        for split, about in splits.items() if isinstance(splits, dict) else ():
            about = about if isinstance(about, dict) else {}
            told = {key: about[key] for key in ("samples", "dtype", "mean", "std") if key in about}
            rows.append(Row(f"{split} samples", [Cell(text_of(told))]))
    for number, leg in enumerate(legs[1:], 1):
        other = {name: leg[key] for key, name in _ENVIRONMENT.items() if key in leg and leg[key] != facts.get(key)}
        texts = [f"{name} {text_of(value, name)}" for name, value in other.items()]
        rows.append(Row(f"resumed, {number}", [Cell("; ".join(texts) or "in the same way")]))
    return Table("Environment", ["", ""], rows)


def text_of(value: Any, key: str = "") -> str:
    """Return what a file says as text of a bounded length."""
    if isinstance(value, dict):
        found = ", ".join(f"{name} {text_of(one)}" for name, one in value.items())
    elif isinstance(value, list):
        found = shlex.join(map(str, value)) if key == "command" else ", ".join(map(text_of, value))
    else:
        found = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return found if len(found) <= _LONGEST else found[:_LONGEST] + "..."


def ranks_table(run: History, owns: Sequence[str], trace: Trace | None) -> Table:
    """Return what each rank did in all chapters together, or each host; what was sent is known by a trace only."""
    groups = [(row.host, row.ranks) for row in run.chapters[-1].ranks]
    chapters = [chapter for chapter in run.chapters if [(row.host, row.ranks) for row in chapter.ranks] == groups]
    count, by_host = run.chapters[-1].rank_count, bool(groups[0][0])
    trace = trace if trace and trace.ranks == count else None

    def of(name: str, add: Callable[[Sequence[float]], float] = sum) -> list[float]:
        rows = zip(*(chapter.ranks for chapter in chapters), strict=True)
        return [float(add([getattr(one, name) for one in each])) for each in rows]

    seconds, computing, waiting, flop = of("seconds"), of("computing"), of("waiting"), of("flop")
    columns: dict[str, tuple[list[float], Callable[[float], str]]] = {
        "computing": (computing, lambda value: f"{value:.2f} s")
    }
    if by_host:
        columns["least"], columns["most"] = (
            (of(f"{which}_computing"), lambda value: f"{value:.2f} s") for which in ("least", "most")
        )
    columns |= {
        "waiting": (waiting, lambda value: f"{value:.2f} s"),
        "computing share": ([100 * one / all_ if all_ else 0.0 for one, all_ in zip(computing, seconds, strict=True)],
                       lambda value: f"{value:.0f} %"),
        "GFLOP/s": ([1e-9 * one / of_ if of_ else 0.0 for one, of_ in zip(flop, computing, strict=True)],
                    lambda value: f"{value:.1f}"),
        "peak memory": (of("peak_bytes", max), lambda value: f"{value / MB:.0f} MB"),
        "at most": (of("priced_bytes", max), lambda value: f"{value / MB:.0f} MB"),
    }  # fmt: skip
    if trace:
        whose = [[rank for rank in range(count) if trace.hosts[rank] == host] for host, _ in groups]
        whose = whose if by_host else [[rank] for rank in range(count)]
        messages, nbytes = ([float(trace.sent[ranks, k].sum()) for ranks in whose] for k in (0, 1))
        columns["messages sent"] = (messages, lambda value: f"{value:.0f}")
        columns["sent"] = (nbytes, lambda value: f"{value / MB:.1f} MB")
    note = "GFLOP/s while computing; at most: the memory that was announced before the training."
    if by_host:
        note += (
            " Of a host seconds are those of its ranks in the mean, of the least and of the most; all else is added up."
        )
    what = "Hosts" if by_host else "Ranks"
    if len(groups) > _MOST_RANKS:
        picked: dict[str, Callable[[list[float]], float]] = {
            "least": min, "median": statistics.median, "greatest": max,
        }  # fmt: skip
        rows = [
            Row(name, [Cell(text(pick(values))) for values, text in columns.values()]) for name, pick in picked.items()
        ]
        return Table(f"{what}: {len(groups)}", ["", *columns], rows, note, numbers=True)
    owns = trace.owns if trace else owns
    rows = []
    for rank, (host, ranks) in enumerate(groups):
        who = (
            [host, f"{ranks} ranks"]
            if by_host
            else [f"rank {rank}", *([trace.hosts[rank]] if trace else []), *([owns[rank]] if rank < len(owns) else [])]
        )
        rows.append(Row(", ".join(who), [Cell(text(values[rank])) for values, text in columns.values()]))
    return Table(f"{what}, all chapters together", ["", *columns], rows, note, numbers=True)


def kinds_table(trace: Trace) -> Table:
    """Return on what the ranks' time went, by kinds of steps, as traced."""
    kinds = [index for index in range(len(KINDS)) if trace.seconds[:, index].any()]
    rows = []
    for rank in range(min(trace.ranks, _MOST_RANKS)):
        whole = float(trace.seconds[rank].sum()) or 1.0
        shares = [float(trace.seconds[rank, index]) / whole for index in kinds]
        rows.append(Row(f"rank {rank}", [Cell(f"{100 * share:.1f} %", shade=share) for share in shares]))
    note = "Shares of the time of all steps." + (f" {trace.note}" if trace.note else "")
    return Table("What ranks did, as traced", ["", *(KINDS[index] for index in kinds)], rows, note, numbers=True)
