"""What all ranks are doing at the moment: as a table under the progress line, or as a line of a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from ..errors import ranges
from .ranks import Ranks

#: What a rank may be doing.
WAITS, LEARNS, PASSES_ON, EVALUATES = range(4)
_WORDS = {WAITS: "waiting", PASSES_ON: "passing on", EVALUATES: "evaluating"}
#: Seconds after which it is said that nothing was heard of a rank: longer than most steps take.
_SILENT = 15.0
#: Groups of ranks of whose numbers a line has each one.
_MOST_IN_LINE = 16
_OWNS = 2  # the column of the table that is cut where the line is too short


class Now(NamedTuple):
    """What a rank is doing, in numbers that a message can carry.

    doing : one of the constants above
    layer, epoch : counted from 0; -1: none, or the head's
    batch : of `batches` of the epoch, counted from 0; -1 if it does not learn
    seconds : since its training began; `computing` those that it spent computing, `flop` what it computed
    """

    doing: float = WAITS
    layer: float = -1
    epoch: float = -1
    batch: float = -1
    batches: float = 0
    seconds: float = 0.0
    computing: float = 0.0
    flop: float = 0.0


class _Rank:
    """What is known of a rank: what it is doing, and what it did in the last interval.

    busy : share of the interval in which it computed; rate : FLOP of a second of computing
    """

    def __init__(self) -> None:
        self.now = self.before = Now()
        self.busy = self.rate = 0.0
        self.heard = time.monotonic()

    def measure(self) -> None:
        """Let an interval end, if something was heard in it."""
        now, before = self.now, self.before
        if now.seconds <= before.seconds:
            return
        computing = now.computing - before.computing
        self.busy = min(1.0, computing / (now.seconds - before.seconds))
        self.rate = (now.flop - before.flop) / computing if computing > 0 else 0.0
        self.before = now


class Live:
    """The ranks of a run at work, each or in the groups of `Ranks`."""

    def __init__(self, who: Ranks) -> None:
        """Begin with nothing heard."""
        self._who = who
        self._ranks = [_Rank() for _ in who.hosts]
        self._duties = [who.duties(ranks) for ranks in who.groups]
        self._by_layer = not who.config.schedule.by_batch and len(who.config.network.layers) > 1

    def hear(self, rank: int, now: Now) -> None:
        """Take note of what a rank is doing."""
        one = self._ranks[rank]
        one.now, one.heard = now, time.monotonic()

    def measure(self) -> None:
        """Let an interval end: `table` and `line` tell of it until the next one does."""
        for one in self._ranks:
            one.measure()

    def slowest(self) -> Now | None:
        """Return where the last of the ranks is that learn."""
        learning = [one.now for one in self._ranks if one.now.doing == LEARNS]
        return min(learning, key=lambda now: (now.epoch, now.batch), default=None)

    def table(self, width: int, height: int) -> list[str]:
        """Return lines of at most `width` cells, at most `height` of them: a row for each rank or host."""
        who, by_host = self._who, self._who.by_host
        rows = []
        for ranks, duties in zip(who.groups, self._duties, strict=True):
            names = [ranges(ranks), who.hosts[ranks[0]]]
            rows.append([*(reversed(names) if by_host else names), duties, *self._columns(ranks).values()])
        titles = [*(("host", "ranks") if by_host else ("rank", "host")), "owns", *self._columns([0])]
        more = len(rows) + 1 - height
        if more > 0:
            more += 1
            rows = rows[:-more]
        sizes = [max(map(cell_len, column)) for column in zip(titles, *rows, strict=True)]
        sizes[_OWNS] = max(len("owns"), min(sizes[_OWNS], width - sum(sizes) + sizes[_OWNS] - 2 * (len(sizes) - 1)))
        left = {not by_host, _OWNS}  # columns of words; in those of numbers ends stand below each other
        lines = [
            "  ".join(
                _cell(text, size, index in left) for index, (text, size) in enumerate(zip(row, sizes, strict=True))
            )
            for row in (titles, *rows)
        ]
        if more > 0:
            lines.append(f"and {more} more {'hosts' if by_host else 'ranks'}")
        return [set_cell_size(line, width).rstrip() for line in lines]

    def line(self) -> str:
        """Return the same for a log: what each rank or host does, in their order, or where these are many all of them.

        Empty before anything was heard.
        """
        groups = [ranks for ranks in self._who.groups if any(self._ranks[rank].now.seconds for rank in ranks)]
        if len(groups) > _MOST_IN_LINE:
            groups = [[rank for ranks in groups for rank in ranks]]
        each = [self._columns(ranks) for ranks in groups]
        columns = {name: _together([row[name] for row in each]) for name in (each[0] if each else ())}
        if columns.get("epoch", "").isdigit():
            del columns["epoch"]  # which the line begins with
        return ", ".join(f"{name} {text}" for name, text in columns.items())

    def _columns(self, ranks: Sequence[int]) -> dict[str, str]:
        """Return what `ranks` are doing, by the names of columns."""
        group = [self._ranks[rank] for rank in ranks]
        heard = [one for one in group if one.now.seconds]
        learning = [one.now for one in heard if one.now.doing == LEARNS]
        columns = {"epoch": _span([one.now.epoch + 1 for one in heard if one.now.epoch >= 0])}
        if self._by_layer:
            layers = sorted({int(one.now.layer) + 1 for one in heard})
            columns["layer"] = ", ".join([*([ranges(layers)] if layers[:1] != [0] else [ranges(layers[1:]), "head"])])
        silence = time.monotonic() - min(one.heard for one in group)
        if silence > _SILENT:
            columns["batch"] = f"silent {silence:.0f} s"
        elif learning:
            columns["batch"] = f"{_span([now.batch + 1 for now in learning])}/{learning[0].batches:.0f}"
        else:
            columns["batch"] = next((_WORDS[int(one.now.doing)] for one in heard), "")
        columns["busy"] = f"{100 * sum(one.busy for one in heard) / len(heard):.0f} %" if heard else ""
        columns["GFLOP/s"] = f"{sum(one.rate for one in heard) / 1e9:.0f}" if heard else ""
        return columns


def _span(numbers: Sequence[float]) -> str:
    """Return the one number, or the least and the greatest; empty without any."""
    if not numbers:
        return ""
    least, greatest = min(numbers), max(numbers)
    return f"{least:.0f}" if least == greatest else f"{least:.0f} to {greatest:.0f}"


def _together(texts: Sequence[str]) -> str:
    """Return what is the same in all once, and otherwise one after the other."""
    return texts[0] if len(set(texts)) == 1 else " ".join(text or "-" for text in texts)


def _cell(text: str, size: int, left: bool) -> str:
    """Return `text` in so many cells."""
    if cell_len(text) > size:
        return set_cell_size(text, size - 1) + "\N{HORIZONTAL ELLIPSIS}"
    space = " " * (size - cell_len(text))
    return text + space if left else space + text
