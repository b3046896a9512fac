"""Bringing what the ranks have together on rank 0: their measurements, and the network's state into a checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..network.parameters import Parameters
from ..network.stages import declared
from ..run.header import dtype_of
from ..run.kept import Target
from ..run.metrics import RANK, Measurements
from ..schedule.steps import Save
from .model import RankModel
from .mpi import wait

_SAVED_AT_ONCE = 1 << 16  # numbers


class Collector:
    """One rank's part in it."""

    def __init__(self, comm: Any, model: RankModel, measurements: Measurements, tag: int) -> None:
        """Use `tag` and the next one for messages."""
        self._save_tag, self._report_tag = tag, tag + 1
        self.comm, self.model, self.measurements = comm, model, measurements
        self.timeout = model.config.schedule.timeout
        self._own: list[np.ndarray] = []
        self._sent: list[tuple[Any, np.ndarray]] = []
        self._awaited: Any = None

    def report(self, numbers: dict[str, float]) -> None:
        """Send the measurements so far, with these `numbers` of this rank, to rank 0 and begin anew."""
        self.measurements.ranks[self.comm.rank] = [numbers[name] for name in RANK]
        copy = self.measurements.flat.copy()
        self.measurements.flat[:] = 0
        if self.comm.rank == 0:
            self._own.append(copy)
            return
        self._sent = [(request, array) for request, array in self._sent if not request.Test()]
        self._sent.append((self.comm.Isend(copy, 0, self._report_tag), copy))

    def record(self, ranks: tuple[int, ...]) -> Measurements:
        """Return the sum of the next reports of `ranks`."""
        total = self.measurements.empty()
        for rank in ranks:
            if rank == 0:
                total.flat += self._own.pop(0)
                continue
            part = np.empty_like(total.flat)
            self._awaited = self.comm.Irecv(part, rank, self._report_tag)
            wait(self._awaited, self.timeout, f"the measurements of rank {rank}", rank)
            total.flat += part
        return total

    def close(self) -> None:
        """Wait until all that was sent has left."""
        for request, _ in self._sent:
            wait(request, self.timeout, "rank 0 to take the measurements", 0)

    @property
    def pending(self) -> tuple[list[Any], list[Any]]:
        """The requests of what may still be sent, and of what may still come."""
        return [request for request, _ in self._sent], [self._awaited] if self._awaited else []

    def save(
        self, step: Save, writer: Target | None, snapshots: dict[tuple[int, int], dict[str, Parameters]],
        choices: dict[int, np.ndarray],
    ) -> None:  # fmt: skip
        """Bring every array to rank 0, a few rows at a time, in the order of the stages: rank 0 never holds a layer."""
        config, dataset = self.model.config, self.model.dataset
        sets = [
            (stage, owner, name, block.shapes())
            for stage, owner in enumerate(step.owners)
            for name, block in declared(config, dataset, stage).items()
        ]
        negatives = {f"negatives/{chapter}": chosen for chapter, chosen in choices.items() if chapter > step.chapter}
        if writer is not None:
            rooms = {f"{name}/{key}": shape for _, _, name, shapes in sets for key, shape in shapes.items()}
            writer.create(rooms | {name: chosen.shape for name, chosen in negatives.items()})
        for stage, owner, name, shapes in sets:
            parameters = None
            if owner == self.comm.rank:
                parameters = (snapshots.get((stage, step.chapter)) or self.model.states(stage))[name]
            for key, shape in shapes.items():
                for part in _parts(shape):
                    array = self._bring(parameters, key, owner, part, shape)
                    if writer is not None and array is not None:
                        writer.write(f"{name}/{key}", array, part)
        if writer is not None:
            for name, chosen in negatives.items():
                writer.write(name, chosen)
            writer.commit()

    def _bring(
        self, parameters: Parameters | None, key: str, owner: int, part: Any, shape: tuple[int, ...]
    ) -> np.ndarray | None:
        """Return a part of an array on rank 0, which its owner sends there; None on other ranks."""
        if parameters is not None:
            array = parameters.array(key, *([part] if part else []))
            if owner != 0:
                self._sent.append((self.comm.Isend(array, 0, self._save_tag), array))
                wait(self._sent[-1][0], self.timeout, "rank 0 to save", 0)
                self._sent.pop()
            return array
        if self.comm.rank != 0:
            return None
        array = np.empty(
            (part.stop - part.start, shape[1]) if part else shape, dtype_of(key, self.model.dataset.classes)
        )
        self._awaited = self.comm.Irecv(array, owner, self._save_tag)
        wait(self._awaited, self.timeout, f"rank {owner} to save", owner)
        return array


def _parts(shape: tuple[int, ...]) -> list[Any]:
    """Cut a matrix of `shape` into slices of rows; anything smaller stays whole, ()."""
    if len(shape) < 2:
        return [()]
    rows = max(1, _SAVED_AT_ONCE // shape[1])
    return [slice(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows)]
