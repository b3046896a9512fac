"""Values that are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Made(dict[K, V]):
    """A dictionary that makes a value for a key that it does not have; asking for one that is there is no call."""

    def __init__(self, make: Callable[[K], V], most: int = 0) -> None:
        """Let ``make(key)`` make a value; with `most` all are forgotten when there are as many."""
        self._make, self._most = make, most

    def __missing__(self, key: K) -> V:
        if self._most and len(self) == self._most:
            self.clear()
        found = self[key] = self._make(key)
        return found
