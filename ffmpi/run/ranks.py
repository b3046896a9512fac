"""Which rank does what, and how it went, in words: rank by rank or, where there are many, host by host."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from rich.table import Table

from ..config.schema import Config
from ..errors import ranges
from ..schedule import Schedule
from .checksums import TOGETHER

MB = 2.0**20
#: Ranks of which each is told of.
MOST = 16
#: What is not added up over the ranks of a host.
_AVERAGED = ("seconds", "computing", "waiting", "waiting_share")


class Ranks:
    """The ranks of a run, in groups of which each is told of: of one rank, or of all ranks of a host."""

    def __init__(self, config: Config, schedule: Schedule, hosts: list[str]) -> None:
        """Take over the host of each rank."""
        self.config, self.schedule, self.hosts = config, schedule, hosts
        self.by_host = len(hosts) > MOST
        groups: dict[Any, list[int]] = {}
        for rank, host in enumerate(hosts):
            groups.setdefault(host if self.by_host else rank, []).append(rank)
        self.groups = list(groups.values())

    def duties(self, ranks: Sequence[int]) -> str:
        """Say which layers, counted from 1, which units of others, and what else `ranks` have together."""
        head, pieces = self.schedule.spec.layers, [self._pieces(rank) for rank in ranks]
        panels = {k: {one for piece in pieces for one in piece.get(k, ())} for k in {*chain(*pieces)}}
        whole = [k for k in sorted(panels) if len(panels[k]) == self.schedule.spec.panels[k]]
        layers = f"layer{'s' if len(whole) > 1 else ''} {ranges(k + 1 for k in whole)}"
        parts = [self._units(k, sorted(panels[k])) for k in sorted(panels) if k not in whole]
        before = sum(k < whole[0] for k in panels) if whole else 0
        parts[before:before] = [layers] if whole else []
        if any(head in self.schedule.trained(rank) for rank in ranks):
            part = self.config.schedule.by_batch and not set(self.config.head_layers) <= set(whole)
            parts.append("part of the head" if part else "softmax head")
        count = self.config.shards.count
        if count > 1:
            shards = sorted({shard + 1 for rank in ranks for shard in self.schedule.shards(rank)})
            parts.append(f"shard{'s' if len(shards) > 1 else ''} {ranges(shards)} of {count}")
        return " + ".join(parts)

    def _pieces(self, rank: int) -> dict[int, range]:
        """Return the panels of each layer that a rank trains."""
        trained = self.schedule.trained(rank)
        return {layer: panels for layer, panels in self.schedule.pieces(rank).items() if layer in trained}

    def _units(self, layer: int, panels: list[int]) -> str:
        """Say which units, counted from 1, are those of the `panels` of a layer."""
        runs: list[list[int]] = []
        for panel in panels:
            if not runs or panel > runs[-1][1]:
                runs.append([panel, panel])
            runs[-1][1] = panel + 1
        most = self.config.network.layers[layer]
        texts = [f"{first * TOGETHER + 1} to {min(stop * TOGETHER, most)}" for first, stop in runs]
        return f"units {', '.join(texts)} of layer {layer + 1}"

    def lines(self, memory: Sequence[float]) -> list[str]:
        """Return a line for each group, with what it needs of `memory` at most, bytes by rank, if that is known."""
        found = []
        for ranks in self.groups:
            host = self.hosts[ranks[0]]
            who = f"{host}, rank{'s' if len(ranks) > 1 else ''} {ranges(ranks)}" if self.by_host else ""
            needs = f"; memory up to {sum(memory[rank] for rank in ranks) / MB:.0f} MB" if memory else ""
            found.append(f"{who or f'rank {ranks[0]} on {host}'}: {self.duties(ranks)}{needs}")
        return found

    def rows(self, numbers: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
        """Return a chapter's `numbers` by rank as they are written down: a row for each group."""
        if not self.by_host:
            return list(numbers)
        return [_of_host(self.hosts[ranks[0]], [numbers[rank] for rank in ranks]) for ranks in self.groups]

    def rates(self, numbers: Sequence[dict[str, float]]) -> str:
        """Return GFLOP/s and waiting of each group in a chapter, of which `numbers` have what each rank measured."""
        there = [[numbers[rank] for rank in ranks if numbers[rank]["seconds"]] for ranks in self.groups]
        there = [group for group in there if group]  # those that had a part in the chapter
        speeds = " ".join(f"{sum(rank['gflops'] for rank in group):.0f}" for group in there)
        waiting = " ".join(f"{100 * _mean(group, 'waiting_share'):.0f} %" for group in there)
        return f"GFLOP/s {speeds}, waiting {waiting}"

    def table(self, last: dict[int, dict[str, float]]) -> Table:
        """Return what each group did and needed; `last` has the last chapter's numbers of ranks that had a part."""
        of_hosts = ": seconds in the mean of a host's ranks, all else added up"
        title = f"last chapter, by {f'host{of_hosts}' if self.by_host else 'rank'}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        first = ("host", "ranks") if self.by_host else ("rank", "host")
        for name in (*first, "owns", "computing", "waiting", "GFLOP/s", "peak memory", "at most"):
            words = name in ("host", "ranks", "owns")  # may be broken, numbers may not
            table.add_column(name, justify="left" if words else "right", no_wrap=not words, overflow="fold")
        for ranks in self.groups:
            group = [last[rank] for rank in ranks if rank in last]
            if group:
                names = [ranges(ranks), self.hosts[ranks[0]]]
                table.add_row(
                    *(reversed(names) if self.by_host else names),
                    self.duties(ranks),
                    f"{_mean(group, 'computing'):.2f} s",
                    f"{_mean(group, 'waiting'):.2f} s",
                    f"{sum(rank['gflops'] for rank in group):.0f}",
                    f"{sum(rank['peak_bytes'] for rank in group) / MB:.0f} MB",
                    f"{sum(rank['priced_bytes'] for rank in group) / MB:.0f} MB",
                )
        return table


def _of_host(host: str, every: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return one row for all ranks of a host: seconds in the mean of those that had a part, all else added up."""
    group = [rank for rank in every if rank["seconds"]] or every
    row: dict[str, Any] = {"host": host, "ranks": len(every)}
    for name in every[0]:
        row[name] = _mean(group, name) if name in _AVERAGED else sum(rank[name] for rank in every)
    row["elapsed"] = max(rank["elapsed"] for rank in group)
    for name in ("computing", "waiting"):
        row[f"least_{name}"] = min(rank[name] for rank in group)
        row[f"most_{name}"] = max(rank[name] for rank in group)
    return row


def _mean(group: Sequence[dict[str, float]], name: str) -> float:
    return sum(rank[name] for rank in group) / len(group)
