"""A run's state in memory: what a checkpoint would hold, for a program that goes on with the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from .header import dtype_of


class Target(Protocol):
    """What the arrays of a run's state are handed to: room for all first, then their parts in any order."""

    #: Whether the run is to wait until all is there.
    at_once: bool

    def create(self, shapes: dict[str, tuple[int, ...]], axes: Mapping[str, int]) -> None:
        """Make room for arrays of these names and shapes; those in `axes` come in parts, cut along that axis."""
        ...

    def write(self, name: str, array: np.ndarray, part: tuple[slice, ...] = ()) -> None:
        """Take an array, or the part of it that lies in `part` of the whole."""
        ...

    def commit(self, wait: bool = True) -> bool:
        """Take note that all is there; return whether that is done, or without `wait` is to be asked again."""
        ...


class Kept:
    """Takes arrays as `writer.Writer` does, and hands them on to one if there is one.

    Attributes
    ----------
    arrays : by their names in a checkpoint, complete once `chapter` is not 0
    chapter : chapters done
    """

    at_once = False

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.chapter = 0
        self._coming = self._classes = 0
        self._writer: Target | None = None

    def begin(self, chapter: int, classes: int, writer: Target | None) -> None:
        """Expect the state of a network of `classes` after `chapter` chapters, which `writer` is to have, too."""
        self._coming, self._classes, self._writer = chapter, classes, writer

    def create(self, shapes: dict[str, tuple[int, ...]], axes: Mapping[str, int]) -> None:
        """Make room for arrays of these names and shapes; see `Target`."""
        if self._writer:
            self._writer.create(shapes, axes)
        self.arrays = {name: np.empty(shape, dtype_of(name, self._classes)) for name, shape in shapes.items()}

    def write(self, name: str, array: np.ndarray, part: tuple[slice, ...] = ()) -> None:
        """Take an array, or a part of it."""
        if self._writer:
            self._writer.write(name, array, part)
        self.arrays[name][part] = array

    def commit(self, wait: bool = True) -> bool:
        """Take note that all arrays are there; see `Target`."""
        if self._writer and not self._writer.commit(wait):
            return False
        self.chapter = self._coming
        return True
