"""Speed-up over ranks: as measured by runs, as their load balance would allow, and as planned."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config.schema import Config
from ..errors import UserError
from ..run.differences import CARRIED_OUT, FREE, settings_of
from ..run.history import History, by_configuration, names_of
from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Settings in which runs may differ that are compared: they say how a run is carried out.
_HOW = ("seed", "schedule.", *CARRIED_OUT)


@dataclass(frozen=True)
class Speeds:
    """The speed-ups of one configuration and schedule.

    Attributes
    ----------
    key : what the configurations of its runs have in common, see `key_of`
    measured : by ranks, of each run
    balanced : by ranks, what the load balance of a run would allow
    planned : by ranks, on the machine called `machine`
    least : ranks of the run that the others are compared with, whose speed-up counts as so many
    """

    name: str
    key: Hashable = None
    measured: dict[int, list[float]] = field(default_factory=dict)
    balanced: dict[int, float] = field(default_factory=dict)
    planned: dict[int, float] = field(default_factory=dict)
    machine: str = ""
    least: int = 1


def key_of(config: Config) -> Hashable:
    """Return what configurations have in common that may be compared in one line: all but the number of ranks."""
    settings = settings_of(config)
    free = (*FREE, "schedule.name")
    values = {key: value for key, value in settings.items() if not key.startswith(free)}
    return config.schedule.name, repr(values)


def planned_speeds(name: str, config: Config, seconds: dict[int, float], machine: str) -> Speeds:
    """Return the speed-ups of a plan that takes so many `seconds` by ranks, against its run on the fewest."""
    least = min(seconds)
    planned = {ranks: least * seconds[least] / each for ranks, each in sorted(seconds.items())}
    return Speeds(name, key_of(config), planned=planned, machine=machine, least=least)


def together(measured: Sequence[Speeds], planned: Sequence[Speeds]) -> list[Speeds]:
    """Return the measured speed-ups, each with what was planned of the same configuration, and other plans."""
    found, rest = [], list(planned)
    for each in measured:
        own = next((one for one in rest if one.key == each.key and one.least == each.least), None)
        if own:
            rest.remove(own)
            each = replace(each, planned=own.planned, machine=own.machine)
        found.append(each)
    return [*found, *rest]


def speeds_of(runs: Sequence[History]) -> list[Speeds]:
    """Return the speed-ups of each configuration and schedule among `runs`, against the run on the fewest ranks.

    That is one of the same schedule or, on one rank, of another that computes the same. Raises UserError if there is
    nothing to compare.
    """
    groups = by_configuration(runs, _HOW)
    found: list[Speeds] = []
    for name, group in zip(names_of(groups, _HOW), groups, strict=True):
        schedules: dict[str, list[History]] = {}
        exchanges = {run.config.schedule.exchange for run in group}
        for run in group:
            how = run.config.schedule
            schedules.setdefault(how.name + (f", {how.exchange}" if len(exchanges) > 1 else ""), []).append(run)
        for how, own in schedules.items():
            rates = _rates(own)
            alike = [run for run in group if run.config.schedule.by_batch == own[0].config.schedule.by_batch]
            against = rates if 1 in rates else _rates(alike) if 1 in _rates(alike) else rates
            least = min(against)
            base = statistics.median(against[least]) / least
            speeds = {ranks: [rate / base for rate in several] for ranks, several in sorted(rates.items())}
            allowed = {run.chapters[-1].rank_count: one for run in own if (one := run.chapters[-1].ideal_speedup)}
            title = how if len(groups) == 1 else f"{name}, {how}" if len(schedules) > 1 else name
            key = key_of(own[0].config)
            found.append(Speeds(title, key, speeds, dict(sorted(allowed.items())), least=least))
    found = [each for each in found if each.measured.keys() != {each.least}]
    if not found:
        raise UserError("one number of ranks has no speed-up; expected runs of one configuration on several")
    return found


def _rates(runs: Sequence[History]) -> dict[int, list[float]]:
    """Return the samples a second of each run by its ranks: the median over its chapters, of which some may be slow."""
    found: dict[int, list[float]] = {}
    for run in runs:
        ranks = run.chapters[-1].rank_count
        rates = [one.samples_per_second for one in run.chapters if one.rank_count == ranks]
        if 0 < (rate := statistics.median(rates)) < math.inf:
            found.setdefault(ranks, []).append(rate)
    if not found:
        raise UserError(f"{runs[0].path}: has no samples a second in its metrics; expected those of a training")
    return found


def draw(figure: Figure, speeds: Sequence[Speeds]) -> None:
    """Draw a line for each, on axes whose steps are doublings."""
    from matplotlib.lines import Line2D

    width = figure.get_size_inches()[0]
    figure.set_size_inches(width, 0.78 * min(width, 4.5) + 0.14 * len(speeds))
    axes = figure.subplots()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    counts = sorted({ranks for each in speeds for ranks in (*each.measured, *each.planned)})
    low, high = counts[0], counts[-1]
    axes.plot([low, high], [low, high], color="#9a9a9a", linewidth=0.8, zorder=1)
    handles, names, ends = [Line2D([], [], color="#9a9a9a", linewidth=0.8)], ["linear"], [""]
    for index, each in enumerate(speeds):
        colour, marker = style.COLOURS[index % len(style.COLOURS)], style.MARKERS[index % len(style.MARKERS)]
        looks: list[tuple[dict[int, Any], str, dict[str, Any]]] = [
            ({ranks: statistics.median(several) for ranks, several in each.measured.items()}, "", {"marker": marker}),
            (each.balanced, ", by load balance", {"marker": "_", "linestyle": style.DASHES[2], "linewidth": 0.8}),
            (
                each.planned,
                ", planned",
                {"marker": marker, "markerfacecolor": "white", "linestyle": style.DASHES[1]},
            ),
        ]
        for values, suffix, look in looks:
            if values:
                (line,) = axes.plot(list(values), list(values.values()), color=colour, **look)
                handles.append(line)
                names.append(each.name)
                ends.append(suffix)
        for ranks, several in each.measured.items():
            if len(several) > 1:
                axes.plot([ranks, ranks], [min(several), max(several)], color=colour, linewidth=0.8)
    leasts = {each.least for each in speeds}
    note = f" (that of {min(leasts)} taken as {min(leasts)})" if leasts and leasts != {1} else ""
    machines = dict.fromkeys(each.machine for each in speeds if each.machine)
    about = [textwrap.fill(f"planned for {name}", style.letters(figure)) for name in machines]
    axes.set(xlabel="\n".join(["ranks", *about]), ylabel=f"speed-up{note}")
    style.ticks(axes.xaxis, _doublings(counts))
    drawn: list[Any] = [one for line in axes.lines for one in np.asarray(line.get_ydata())]
    style.ticks(axes.yaxis, _doublings([min(drawn), max(drawn)]))
    figure.legend(handles, style.names(names, figure, ends), loc="outside upper left")


def _doublings(values: Sequence[float]) -> list[float]:
    """Return the few `values` as they are, or powers of two around them."""
    whole = [value for value in values if value == int(value)]
    if len(whole) == len(values) and 2 < len(values) <= 6:
        return list(values)
    found = [2.0**power for power in range(-8, 24) if min(values) / 1.5 <= 2.0**power <= max(values) * 1.5]
    return found[:: -(-len(found) // 8)]
