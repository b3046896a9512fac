"""Which rank does what, and how it went, in words: rank by rank or, where there are many, host by host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from ..config.schema import Config
from ..errors import ranges
from ..schedule import Schedule
from ..schedule.cost import PANEL

MB = 2.0**20
#: Ranks of which each is told of.
MOST = 16


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
        """Say which layers or parts of layers, counted from 1, and what else `ranks` have."""
        spec = self.schedule.spec
        stages = {stage for rank in ranks for stage in self.schedule.trained(rank)}
        panels: dict[int, int] = Counter()
        units: dict[int, str] = {}
        for rank in ranks:
            for layer, part in self.schedule.pieces(rank).items():
                panels[layer] += len(part)
                last = min(part.stop * PANEL, self.config.network.layers[layer])
                units[layer] = f"units {part.start * PANEL + 1} to {last} of" if len(ranks) == 1 else "a part of"
        trained = sorted(stage for stage in stages if stage < spec.layers)
        whole = [layer + 1 for layer in trained if panels[layer] >= spec.panels[layer]]
        parts = [f"{units[layer]} layer {layer + 1}" for layer in trained if layer + 1 not in whole]
        parts += [f"layer{'s' if len(whole) > 1 else ''} {ranges(whole)}"] if whole else []
        if len(trained) < len(stages):
            parts.append("softmax head")
        count = self.config.shards.count
        if count > 1:
            shards = sorted({shard + 1 for rank in ranks for shard in self.schedule.shards(rank)})
            parts.append(f"shard{'s' if len(shards) > 1 else ''} {ranges(shards)} of {count}")
        return " + ".join(parts)

    def lines(self, memory: Sequence[float]) -> list[str]:
        """Return a line for each group, with what it needs of `memory` at most, bytes by rank, if that is known."""
        found = []
        for ranks in self.groups:
            host = self.hosts[ranks[0]]
            who = f"{host}, rank{'s' if len(ranks) > 1 else ''} {ranges(ranks)}" if self.by_host else ""
            needs = f"; memory up to {sum(memory[rank] for rank in ranks) / MB:.0f} MB" if memory else ""
            found.append(f"{who or f'rank {ranks[0]} on {host}'}: {self.duties(ranks)}{needs}")
        return found

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


def _mean(group: Sequence[dict[str, float]], name: str) -> float:
    return sum(rank[name] for rank in group) / len(group)
