"""Memory for stashed activations: in a rank's first chapter the system has to give it, then it is used again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..schedule import steps as s


class StashMemory:
    """What one rank has of it, as the worker's buffers."""

    def __init__(self, outputs: Sequence[int]) -> None:
        """Begin without any; `outputs` are the bytes of each layer's output."""
        self._outputs = outputs
        self._free = Counter[int]()  # by bytes

    def new(self, step: s.StashActivations | s.FreeActivations) -> int:
        """Return the bytes of new memory that `step` takes."""
        size = self._outputs[step.layer]
        if isinstance(step, s.FreeActivations):
            self._free[size] += 1
            return 0
        if not self._free[size]:
            return size
        self._free[size] -= 1
        return 0
