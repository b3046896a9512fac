"""Which rank owns which panels: all layers' panels in order are one ribbon, cut into a stretch for each rank."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from ..errors import UserError

#: Costs are taken as whole numbers of about this size, so that loads are exact and all ranks find the same cuts.
_SCALE = 1 << 32


class Ribbon:
    """The stretch of the ribbon that each rank has.

    Attributes
    ----------
    cuts : the panel at which each rank begins, counted through all layers, and at last their number
    starts : the same of the layers
    """

    def __init__(
        self, panels: Sequence[int], costs: Sequence[float], ranks: int, fixed: Sequence[float] = (),
        whole: bool = False,
    ) -> None:  # fmt: skip
        """Cut the panels of layers so that the dearest rank is as cheap as can be.

        Of cuts that are equally good those between two layers are taken: nothing is to be exchanged there. Raises
        UserError for more ranks than there are parts.

        Parameters
        ----------
        costs : what each layer costs in one piece
        fixed : how much of that a piece costs however narrow it is
        whole : whether there may be no cuts but those between two layers
        """
        self.panels, self.ranks = tuple(panels), ranks
        self.starts = [0, *accumulate(panels)]
        counts = [1] * len(panels) if whole else list(panels)
        if ranks > sum(counts):
            parts = "layers, which this learning rule needs whole" if whole else "panels of 16 units in all layers"
            raise UserError(f"{ranks} ranks: expected at most {sum(counts)}, the number of {parts}")
        largest = max(costs) or 1.0
        self._fixed = [round(_SCALE * cost / largest) for cost in fixed or (0.0,) * len(panels)]
        self._each = [
            max(0, round(_SCALE * cost / largest) - fixed) // count
            for cost, fixed, count in zip(costs, self._fixed, counts, strict=True)
        ]
        self._first = [0, *accumulate(counts)]  # the first part of each layer: a panel, or all of them
        part = max(map(sum, zip(self._each, self._fixed, strict=True)))
        mean = sum(each * count for each, count in zip(self._each, counts, strict=True)) // ranks
        low, high = max(part, mean) - 1, mean + 3 * part
        while not self._reach(high):
            low, high = high, 2 * high
        while high - low > 1:  # `high` is enough, `low` is not
            bound = (low + high) // 2
            if self._reach(bound):
                high = bound
            else:
                low = bound
        cuts = self._cut(high)
        self._loads = [self._load(first, stop) for first, stop in pairwise(cuts)]
        self.cuts = [self.starts[at] for at in cuts] if whole else cuts

    def _load(self, first: int, stop: int) -> int:
        """Return what the parts from `first` to before `stop` cost."""
        load = 0
        for layer, (start, end) in enumerate(pairwise(self._first)):
            if (count := min(stop, end) - max(first, start)) > 0:
                load += self._fixed[layer] + count * self._each[layer]
        return load

    def _furthest(self, first: int, bound: int) -> int:
        """Return where parts from `first` on have to end that cost no more than `bound`."""
        at = first
        for layer in range(bisect_right(self._first, first) - 1, len(self.panels)):
            bound -= self._fixed[layer]
            left, each = self._first[layer + 1] - at, self._each[layer]
            if bound < each * left:
                return at + max(0, bound // each) if each else at
            at += left
            bound -= each * left
        return at

    def _nearest(self, stop: int, bound: int) -> int:
        """Return where parts to before `stop` have to begin that cost no more than `bound`."""
        at = stop
        for layer in range(bisect_right(self._first, stop - 1) - 1, -1, -1):
            bound -= self._fixed[layer]
            left, each = at - self._first[layer], self._each[layer]
            if bound < each * left:
                return at - max(0, bound // each) if each else at
            at -= left
            bound -= each * left
        return at

    def _reach(self, bound: int) -> bool:
        """Whether no rank needs to cost more than `bound`."""
        total, at = self._first[-1], 0
        for left in range(self.ranks - 1, -1, -1):
            at = min(self._furthest(at, bound), total - left)
        return at == total

    def _cut(self, bound: int) -> list[int]:
        """Return cuts in which no rank costs more than `bound`, between layers where possible."""
        total = self._first[-1]
        # Where a rank may begin at the earliest so that those from it on can still do the rest.
        earliest = [total]
        for rank in range(self.ranks - 1, 0, -1):
            earliest.append(max(self._nearest(earliest[-1], bound), rank))
        earliest.append(0)
        earliest.reverse()
        cuts = [0]
        for rank in range(1, self.ranks):
            latest = min(self._furthest(cuts[-1], bound), total - self.ranks + rank)
            between = self._first[bisect_right(self._first, latest) - 1]
            cuts.append(between if between > cuts[-1] and between >= earliest[rank] else latest)
        return [*cuts, total]

    def pieces(self, rank: int) -> dict[int, range]:
        """Return the panels that `rank` has of each layer of which it has any."""
        first, stop = self.cuts[rank], self.cuts[rank + 1]
        found, layer = {}, bisect_right(self.starts, first) - 1
        while layer < len(self.panels) and self.starts[layer] < stop:
            start = self.starts[layer]
            found[layer] = range(max(first - start, 0), min(stop - start, self.panels[layer]))
            layer += 1
        return found

    def owners(self, layer: int) -> range:
        """Return the ranks that have a piece of `layer`, in the order of the pieces."""
        first = bisect_right(self.cuts, self.starts[layer]) - 1
        return range(first, bisect_right(self.cuts, self.starts[layer + 1] - 1))

    def load(self, rank: int) -> float:
        """Return what `rank` costs beside the mean of all."""
        return self._loads[rank] * self.ranks / sum(self._loads)


def nodes_in(first: int, stop: int, panels: int) -> int:
    """Return in how many parts the sums of the panels from `first` to before `stop` of a layer are sent.

    They are the largest nodes of a binary tree over the layer's panels that lie inside.
    """
    count = 0
    while first < stop:
        size = 1
        while first % (2 * size) == 0 and min(first + 2 * size, panels) <= stop and first + size < panels:
            size *= 2
        first += size
        count += 1
    return count
