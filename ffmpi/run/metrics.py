"""What a chapter measured: sums that each rank fills in for what it owns, added over the ranks.

The keys of a line of metrics.jsonl are in docs/design.md, section 12.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..network.methods import METHOD_NAMES
from ..rules import Measure

HEAD = ("loss", "correct", "rows")
SCORES = ("correct", "rows")
SPLITS = ("validation", "test")  # that are only scored
TIMES = ("elapsed", "seconds", "computing", "waiting", "flop")
RANK = (*TIMES, "peak_bytes", "priced_bytes", "owned_bytes", "weight_bytes", "link_bytes", "data_bytes")


@dataclass
class Measurements:
    """Views of one float64 array, `flat`, that a rank sends when a chapter is over; and the same of all ranks.

    Every sum is filled in by one rank only and zero on the others: adding them up is exact.

    Attributes
    ----------
    layers : (layers, 3 + the rule's measures), sums over rows: loss, the measures, how many rows there were, how many
        took part
    head : (3,), columns HEAD
    scored : (2, 4, 2), of SPLITS by METHOD_NAMES, columns SCORES
    ranks : (1, 11), columns RANK, of this rank; or of all, (ranks, 11)
    learnt : what is to be added to `layers` yet, by layer: numbers in lists are added to in a tenth of the time
    """

    flat: np.ndarray
    layers: np.ndarray
    head: np.ndarray
    scored: np.ndarray
    ranks: np.ndarray
    learnt: list[list[float]]

    @classmethod
    def zeros(cls, layers: int, measures: int, ranks: int = 1) -> Measurements:
        """Return empty measurements of a network of `layers` whose rule has so many `measures`."""
        each = (len(SPLITS), len(METHOD_NAMES), len(SCORES))
        shapes = [(layers, 3 + measures), (len(HEAD),), each, (ranks, len(RANK))]
        sizes = [int(np.prod(shape)) for shape in shapes]
        flat = np.zeros(sum(sizes))
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        own, head, scored, by_rank = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        return cls(flat, own, head, scored, by_rank, [[0.0] * (3 + measures) for _ in range(layers)])

    def settle(self) -> None:
        """Add to `layers` what was `learnt`."""
        for sums, more in zip(self.layers, self.learnt, strict=True):
            sums += more
            more[:] = [0.0] * len(more)

    def add(self, part: Measurements, rank: int) -> None:
        """Add what `rank` has measured."""
        for whole, one in ((self.layers, part.layers), (self.head, part.head), (self.scored, part.scored)):
            whole += one
        self.ranks[rank] = part.ranks[0]

    def add_scores(self, split: str, method: str, correct: int, rows: int) -> None:
        """Add a batch of one of SPLITS that was classified by `method`."""
        self.scored[SPLITS.index(split), METHOD_NAMES.index(method)] += (correct, rows)

    def accuracy(self, split: str) -> dict[str, float]:
        """Return the accuracy on one of SPLITS in percent by each method by which it was measured."""
        sums = dict(zip(METHOD_NAMES, self.scored[SPLITS.index(split)].tolist(), strict=True))
        return {method: 100.0 * correct / rows for method, (correct, rows) in sums.items() if rows}

    @property
    def elapsed(self) -> float:
        """Seconds from the beginning of the job's training to the end of the chapter."""
        return float(self.ranks[:, 0].max())

    def record(
        self, epoch: int, samples: int, seconds: float, rate: float, measures: Sequence[Measure]
    ) -> dict[str, Any]:
        """Return means and rates as plain numbers, for a JSON line.

        `samples` were trained on in the chapter, `seconds` after the chapter before, `rate` of them a second;
        `measures` are the learning rule's.
        """
        layers = []
        for loss, *sums, rows, active in self.layers.tolist():
            if not rows:
                continue
            layer = {"loss": loss / rows, "active": active / rows}
            layer |= {
                measure.name: measure.factor * value / rows for measure, value in zip(measures, sums, strict=False)
            }
            layers.append(layer)
        record: dict[str, Any] = {"epoch": epoch, "samples": samples, "seconds": seconds, "samples_per_second": rate}
        record["layers"] = layers
        if self.head[2]:
            loss, correct, rows = self.head.tolist()
            record["head"] = {"loss": loss / rows, "training_accuracy": 100 * correct / rows}
        record["accuracy"] = self.accuracy("test")
        if validation := self.accuracy("validation"):
            record["validation"] = validation
        record["ranks"] = [self._rank(dict(zip(RANK, row, strict=True))) for row in self.ranks.tolist()]
        return record

    @staticmethod
    def _rank(numbers: dict[str, float]) -> dict[str, float]:
        computing, seconds = numbers["computing"], numbers["seconds"]
        gflops = numbers["flop"] / computing / 1e9 if computing else 0.0
        return numbers | {"gflops": gflops, "waiting_share": numbers["waiting"] / seconds if seconds else 0.0}


class Clock:
    """When chapters have ended. One may end before the one that precedes it: it then takes no time of its own."""

    def __init__(self, most: int) -> None:
        """Look back over at most `most` chapters."""
        self._ends: deque[tuple[float, int]] = deque([(0.0, 0)], most + 1)

    def chapter(self, samples: int, elapsed: float, together: int) -> tuple[float, float]:
        """Return the seconds since the last end, and the samples a second over as many chapters as run `together`."""
        last, done = self._ends[-1]
        self._ends.append((max(last, elapsed), done + samples))
        now, done = self._ends[-1]
        began, before = self._ends[max(-together - 1, -len(self._ends))]
        return now - last, (done - before) / max(now - began, 1e-9)
