"""The softmax head: each rank has its weights of some units, and one rank, the home, adds up the logits."""

from __future__ import annotations

import numpy as np

from .. import kernels
from ..network.activations import Activations, margin_of
from ..network.classifier import Room, logits_size
from ..schedule import steps as s
from .batches import Batches
from .model import RankModel
from .rings import Cut, Sums


class Gathered:
    """Rows of a layer's piece that the head reads, kept until it has learnt from them.

    Attributes
    ----------
    rows : how many there are
    a : the activations
    squares : (nodes, rows and more) float32, this piece's parts of them
    """

    def __init__(self, units: int, panels: int, nodes: int, rows: int) -> None:
        """Make room for `rows` rows, of a piece of so many panels whose sums come in `nodes` parts."""
        h = kernels.zeros(panels, kernels.padded_rows(rows), kernels.LANES)
        self.squares = kernels.zeros(nodes, margin_of(rows))
        self.rows, self.a = 0, Activations.over(units, h, kernels.zeros(margin_of(rows)), {})

    def take(self, a: Activations, squares: np.ndarray, first: int, rows: int) -> None:
        """Copy `rows` rows of a layer's output, from row `first` on, with the parts of their sums of squares."""
        self.rows = rows
        kernels.copy_rows(a.h, a.total, first, rows, self.a.h, self.a.total)
        self.squares[:, :rows] = squares[:, first : first + rows]


class PieceHead:
    """What a rank does of the head.

    Attributes
    ----------
    classifier : with the weights that are here
    layers : of which weights are here
    gathered : by layer, rows in their buffers
    """

    def __init__(
        self, rank: int, model: RankModel, batches: Batches, cuts: dict[int, Cut], home: bool, gathered: int,
        buffers: int,
    ) -> None:  # fmt: skip
        """Make room for so many batches of `gathered` rows, and `buffers` of what is sent and received.

        cuts : of the layers that the head reads; home : whether this rank adds up the logits, so that all parts come
        """
        assert model.head is not None
        self.rank, self.batches, self.cuts = rank, batches, cuts
        self.classifier, self.layers = model.head, [layer for layer in cuts if rank in cuts[layer].pieces]
        rows, classes, units = model.config.train.batch_size, model.dataset.classes, model.config.network.layers
        self.gathered: dict[int, list[Gathered]] = {}
        self._sums: dict[int, list[Sums]] = {}
        for layer, cut in cuts.items():
            here = layer in self.layers
            if home or here:
                parts, whole = cut if home else cut.own(rank), here and not cut
                size = rows, logits_size(rows, classes)
                self._sums[layer] = [Sums(parts, *size, complete=whole) for _ in range(buffers)]
            if here:
                panels, place = len(cut.pieces[rank]), cut.places[rank]
                shape = units[layer], panels, place.stop - place.start, rows
                self.gathered[layer] = [Gathered(*shape) for _ in range(gathered)]
        self._classes, self._rows = classes, rows
        self._errors = [Room(1, rows, classes) for _ in range(buffers)]
        self._scales = [kernels.zeros(len(cuts), margin_of(rows)) for _ in range(buffers)]
        #: (layers, rows and more), the sums of squares of the rows whose logits were added up last.
        self.totals = kernels.zeros(len(cuts), margin_of(rows))
        self._place = {layer: place for place, layer in enumerate(cuts)}

    # -- Steps ---------------------------------------------------------------------------------------------------------
    def logits(self, step: s.Logits) -> None:
        """See `steps.Logits`."""
        kept = self.gathered[step.layer][step.source]
        sums = self._sums[step.layer][step.target]
        place = sums.cut.places[self.rank]
        sums.squares[place, : kept.rows] = kept.squares[:, : kept.rows]
        nodes = self.classifier.partial(step.layer, kept.a.h, kept.rows)
        sums.shares[place, : nodes.shape[1]] = nodes

    def add_logits(self, step: s.AddLogits) -> None:
        """See `steps.AddLogits`."""
        rows, totals = self.batches.contents[step.batch].head_rows, self.totals
        raw = {}
        for place, layer in enumerate(self.cuts):
            sums = self._sums[layer][step.buffer]
            if not sums.complete:
                sums.add_up()
            totals[place, :rows] = sums.total[:rows]
            raw[layer] = sums.sums[: logits_size(rows, self._classes)]
        self.classifier.complete(raw, dict(zip(self.cuts, totals, strict=True)), rows)

    def error(self, step: s.HeadError, weights: np.ndarray | None, classes: np.ndarray) -> tuple[float, int]:
        """See `steps.HeadError`; return the sum of the losses and how many rows are right."""
        loss, correct = self.classifier.loss(classes, weights)
        rows, scales = len(classes), self._scales[step.target]
        self._errors[step.target][rows][0] = self.classifier.error
        for place, layer in enumerate(self.cuts):
            scales[place, :rows] = self.classifier.scales[layer][:rows]
        return loss, correct

    def update(self, step: s.UpdateHead, rate: float, share: float, counts: bool) -> None:
        """See `steps.UpdateHead`; the rows are a `share` of the epoch's, and nothing is learnt unless one `counts`."""
        classifier, rows = self.classifier, self.batches.contents[step.batch].head_rows
        classifier.error, scales = self._errors[step.buffer][rows][0], self._scales[step.buffer]
        inputs = {}
        for layer in self.layers:
            classifier.scales[layer] = scales[self._place[layer]]
            inputs[layer] = self.gathered[layer][step.source].a
        if counts and classifier.once_an_epoch:
            classifier.accumulate(inputs, rows, share)
        elif counts:
            classifier.step(inputs, rows, rate)
        if classifier.once_an_epoch and step.last:
            classifier.step_on_epoch(rate)

    # -- Messages ------------------------------------------------------------------------------------------------------
    def arrays(self, link: s.LinkId, buffer: int, batch: s.Batch) -> list[np.ndarray]:
        """Return the arrays of a message."""
        if link.payload == "logits":
            return self._sums[link.stage][buffer].parts(link.source)
        there = [self._place[layer] for layer, cut in self.cuts.items() if link.target in cut.pieces]
        error = self._errors[buffer][self.batches.contents[batch].head_rows]
        return [error, self._scales[buffer][there[0] : there[-1] + 1]]

    def largest(self, link: s.LinkId) -> list[np.ndarray]:
        """Return the arrays of a message of the most rows."""
        if link.payload == "logits":
            return self._sums[link.stage][0].parts(link.source)
        return [self._errors[0][self._rows][0], self._scales[0]]
