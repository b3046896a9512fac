"""Values that are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Made(dict[K, V]):
    """A dictionary that makes a value for a key that it does not have; asking for one that is there is no call."""

    def __init__(self, make: Callable[[K], V]) -> None:
        """Let ``make(key)`` make a value."""
        self._make = make

    def __missing__(self, key: K) -> V:
        found = self[key] = self._make(key)
        return found
