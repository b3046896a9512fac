"""Bringing what the ranks have together on rank 0: their measurements, and the network's state into a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..config.schema import Config
from ..errors import UserError
from ..network.parameters import Parameters
from ..network.stages import declared
from ..run.kept import Target
from ..run.metrics import RANK, Measurements
from ..schedule.steps import Save
from .control import Waiting
from .model import RankModel
from .mpi import until, wait
from .saving import Saving, Share

#: Seconds that a save may still take where a run is stopped, less than others wait (`stop.GRACE`), and in which none of
#: its parts comes, as from a rank that was stopped before it began.
_RESCUE, _IDLE = 6.0, 1.0

#: Beyond the tags of all links, see `steps.tag_of`.
_SAVE_TAG, _REPORT_TAG = 32_000, 32_001


class Collector:
    """One rank's part in it.

    Attributes
    ----------
    saving : a save that is under way
    """

    def __init__(self, comm: Any, model: RankModel) -> None:
        """Begin with nothing under way."""
        self.comm, self.model = comm, model
        self.timeout = model.config.schedule.timeout
        self._own: list[Measurements] = []
        self._sent: list[tuple[Any, np.ndarray]] = []
        self._awaited: list[Any] = []
        self.saving: Saving | None = None

    def measurements(self, ranks: int = 1) -> Measurements:
        """Return empty measurements, of one rank or of many."""
        config = self.model.config
        return Measurements.zeros(len(config.network.layers), len(config.rule.measures), ranks)

    def report(self, measured: Measurements, numbers: dict[str, float]) -> None:
        """Send rank 0 what this rank has `measured`, which is not to change any more, with these `numbers` of it."""
        measured.settle()
        measured.ranks[0] = [numbers[name] for name in RANK]
        if self.comm.rank == 0:
            self._own.append(measured)
            return
        self._sent = [(request, array) for request, array in self._sent if not request.Test()]
        self._sent.append((self.comm.Isend(measured.flat, 0, _REPORT_TAG), measured.flat))

    def record(self, ranks: tuple[int, ...]) -> Measurements:
        """Return the sum of the next reports of `ranks`."""
        total, parts = self.measurements(self.comm.size), {rank: self.measurements() for rank in ranks}
        others = [rank for rank in ranks if rank > 0]
        self._awaited = [self.comm.Irecv(parts[rank].flat, rank, _REPORT_TAG) for rank in others]
        for rank, request in zip(others, self._awaited, strict=True):
            wait(request, self.timeout, f"the measurements of rank {rank}", rank)
        self._awaited = []
        if 0 in parts:
            parts[0] = self._own.pop(0)
        for rank, part in parts.items():
            total.add(part, rank)
        return total

    def close(self) -> None:
        """Finish a save, and wait until all that was sent has left."""
        self.finish()
        for request, _ in self._sent:
            wait(request, self.timeout, "rank 0 to take the measurements", 0)

    @property
    def pending(self) -> tuple[list[Any], list[Any]]:
        """The requests of what may still be sent, and of what may still come."""
        sent, coming = self.saving.pending if self.saving else ([], [])
        return [request for request, _ in self._sent] + sent, self._awaited + coming

    # -- Saves --------------------------------------------------------------------------------------------------------
    def save(
        self, step: Save, target: Target | None, snapshots: Mapping[tuple[int, int], dict[str, Parameters]],
        choices: Mapping[int, np.ndarray],
    ) -> None:  # fmt: skip
        """Begin to bring every array to rank 0, which hands it to `target`; the save before is to be finished.

        What is in `snapshots` leaves while other steps run, which call `advance`. Of all else a copy is made where the
        pipeline goes on, so that no rank waits; otherwise it has left when this returns.
        """
        shares, stages = self._shares(step), self._stages(step)
        states = {name: one for stage in stages for name, one in self.model.states(stage).items()}
        taken: dict[str, Parameters] = {}
        for stage in stages:
            taken |= snapshots.get((stage, step.chapter), {})
        live = states.keys() - taken.keys()
        if copies := saving_copies(self.model.config, self.comm.size, step.chapter):
            taken |= {name: states[name].copy() for name in live}
        states |= taken
        lag = self.model.config.negatives.lag if choices else 0
        beside = {
            f"negatives/{chapter}": choices[chapter].copy()
            for chapter in range(step.chapter + 1, step.chapter + 1 + lag)
            if chapter in choices
        }
        classes = self.model.dataset.classes
        self.saving = saving = Saving(self.comm, _SAVE_TAG, shares, states, target, beside, classes)
        self.advance()
        if target is not None and target.at_once:
            self.finish()
        elif live and not copies:
            self._wait(saving, lambda: saving.left)

    def _shares(self, step: Save) -> list[Share]:
        """Return who has what of the network."""
        config, dataset, shares = self.model.config, self.model.dataset, list[Share]()
        layers = len(config.network.layers)
        for stage, pieces in enumerate(step.pieces):
            blocks = declared(config, dataset, stage)
            if step.head is None and stage in config.head_layers:
                name = f"head/{stage}"
                blocks[name] = declared(config, dataset, layers)[name]
            for piece in pieces:
                panels = None if len(pieces) == 1 else range(piece.first, piece.stop)
                shares += [Share(piece.rank, name, block, panels) for name, block in blocks.items()]
        if step.head is not None:
            shares += [Share(step.head, name, block) for name, block in declared(config, dataset, layers).items()]
        return shares

    def _stages(self, step: Save) -> list[int]:
        """Return the stages of which this rank has something."""
        rank = self.comm.rank
        own = [stage for stage, pieces in enumerate(step.pieces) if any(piece.rank == rank for piece in pieces)]
        return [*own, len(step.pieces)] if step.head == rank else own

    def advance(self) -> None:
        """Let a save go on, if there is one: to be called between steps, and while this rank waits for others."""
        if self.saving:
            self.saving.advance()
            if self.saving.done:
                self.saving = None

    def finish(self) -> None:
        """Wait until there is no save under way."""
        if saving := self.saving:
            self._wait(saving, lambda: saving.done)

    def rescue(self) -> None:
        """Where a signal stops the run, bring a save to its end that is under way, if the other ranks and the disk can.

        Nothing learns any more, so what is to be saved stays as it was.
        """
        whole, idle, moved = Waiting(_RESCUE), Waiting(_IDLE), -1
        while (saving := self.saving) and not whole.over and not idle.over:
            try:
                self.advance()
            except UserError:  # what is told is that the run is stopped, and what is saved of it
                return
            if saving.closing or saving.moved > moved:
                moved, idle.silence = saving.moved, 0.0
            for waiting in (whole, idle):
                waiting.nap()

    def _wait(self, saving: Saving, over: Callable[[], bool]) -> None:
        """Let a save go on until it is `over`; who it waits for has the time again with each part."""
        while not over():
            before = saving.moved

            def more(before: int = before) -> bool:
                self.advance()
                return saving.moved > before or over()

            rank = saving.awaited
            # A disk may be slow, and asked for as long as it takes.
            until(more, math.inf if saving.closing else self.timeout, f"rank {rank} to save", rank)


def saving_copies(config: Config, ranks: int, chapter: int) -> bool:
    """Return whether the state after `chapter` is copied where there is no snapshot of it, to be saved later."""
    goes_on = config.schedule.by_batch and not config.checkpoint.wait
    return goes_on and ranks > 1 and chapter + 1 < config.chapters
