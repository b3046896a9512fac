"""Equal ranks, of which one stands for all: what it sends to one it sends to all of a group.

The pipeline cuts layers into pieces, and most of those that share a layer do the same at the same time. On several
hosts it also matters with whom a rank shares its host, since these share the network card: ranks are equal if they do
the same and all ranks of their hosts do.
"""

from __future__ import annotations

from collections.abc import Hashable
from copy import copy
from dataclasses import dataclass

from ..schedule import LinkId, Pipeline, Schedule
from ..schedule.steps import Payload

#: Groups beyond which it no longer matters in how many parts ranks send their sums: their messages are short.
_MANY = 256


@dataclass(frozen=True)
class Lane:
    """Links of a rank that are alike: the same comes or goes by them at the same time.

    Attributes
    ----------
    link : one of them; count : how many there are
    source, target : the groups at its ends; same_host : whether both are on one
    """

    link: LinkId
    count: int
    source: int
    target: int
    same_host: bool

    @property
    def key(self) -> tuple[int, int, Payload, int, bool]:
        """What both ends call it."""
        return self.source, self.target, self.link.payload, self.link.stage, self.same_host


@dataclass(frozen=True)
class Group:
    """Ranks that do the same at the same time.

    Attributes
    ----------
    ranks : which; the first one stands for them
    host : a number that its hosts have in common
    together : how many of them are on one host
    """

    ranks: tuple[int, ...]
    host: int
    together: int


class Groups:
    """All ranks of a schedule in groups.

    Attributes
    ----------
    all : the groups; of : the group of each rank
    """

    def __init__(self, schedule: Schedule, ranks_per_host: int, *, merge: bool = True) -> None:
        """Find the groups of ranks on hosts of `ranks_per_host` each; without `merge` each rank is one."""
        self.schedule, self.per_host, ranks = schedule, ranks_per_host, range(schedule.spec.ranks)
        keys = self._keys(merge, nodes=True)
        if len(set(keys)) > _MANY:
            keys = self._keys(merge, nodes=False)
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self.of = [numbers[key] for key in keys]
        members: list[list[int]] = [[] for _ in numbers]
        for rank in ranks:
            members[self.of[rank]].append(rank)
        self.all = [self._group(each, key[0]) for each, key in zip(members, numbers, strict=True)]

    def _keys(self, merge: bool, nodes: bool) -> list[tuple[int, int]]:
        """Return of each rank what its host is like, and what it is like itself."""
        schedule, ranks = self.schedule, range(self.schedule.spec.ranks)
        kinds: dict[Hashable, int] = {}
        of_rank = []
        for rank in ranks:
            kind: Hashable = rank
            if merge:
                parts: Hashable = None
                if nodes and isinstance(schedule, Pipeline):
                    parts = tuple(schedule.nodes(rank, layer) for layer in schedule.pieces(rank))
                kind = schedule.kind_of(rank), rank == 0, parts
            of_rank.append(kinds.setdefault(kind, len(kinds)))
        hosts: dict[tuple[int, ...], int] = {}
        of_host = [
            hosts.setdefault(tuple(of_rank[first : first + self.per_host]), len(hosts))
            for first in range(0, len(ranks), self.per_host)
        ]
        return [(of_host[rank // self.per_host], of_rank[rank]) for rank in ranks]

    def _group(self, ranks: list[int], host: int) -> Group:
        here = ranks[0] // self.per_host
        return Group(tuple(ranks), host, sum(rank // self.per_host == here for rank in ranks))

    def within(self, schedule: Schedule) -> Groups:
        """Return the same groups in another schedule, which shares out the same network in the same way."""
        made = copy(self)
        made.schedule = schedule
        return made

    def lanes(self, group: int) -> list[Lane]:
        """Return the links that begin or end on the rank which stands for a group, those that are alike as one."""
        rank = self.all[group].ranks[0]
        found: dict[tuple[int, int, Payload, int, bool, bool], list[LinkId]] = {}
        for link in self.schedule.links_of(rank):
            source, target = self.of[link.source], self.of[link.target]
            same = link.source // self.per_host == link.target // self.per_host
            key = source, target, link.payload, link.stage, same, link.source == rank
            found.setdefault(key, []).append(link)
        return [Lane(links[0], len(links), key[0], key[1], key[4]) for key, links in found.items()]
