"""Counts the messages on a rank's links, so that every step names its buffer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from .steps import Item, LinkId, Post, Receive, Reserve, Reuse, Send, Step


class Streams:
    """One end of some links, and the items that will pass each of them, in order.

    A link's buffers are used in turn: item n leaves buffer n modulo `send_buffers` and
    arrives in buffer n modulo `receive_buffers`.
    """

    def __init__(self, rank: int, items: dict[LinkId, Sequence[Item]]) -> None:
        self.rank, self.items = rank, items
        self.done: dict[LinkId, int] = defaultdict(int)

    def open(self) -> list[Step]:
        """Post the first items of every incoming link."""
        return [
            Post(link, buffer, item)
            for link, items in self.items.items()
            if link.target == self.rank
            for buffer, item in enumerate(items[: link.receive_buffers])
        ]

    def receive(self, link: LinkId, ahead: int = 0) -> Receive:
        """Receive the next item, or one `ahead` of those that have been released."""
        count = self.done[link] + ahead
        return Receive(link, count % link.receive_buffers, self.items[link][count])

    def reuse(self, link: LinkId, ahead: int = 0) -> Reuse:
        """Use an item that has been received and not been released."""
        count = self.done[link] + ahead
        return Reuse(link, count % link.receive_buffers, self.items[link][count])

    def release(self, link: LinkId) -> list[Step]:
        """Offer the buffer of the oldest item received to one that is to come."""
        count, items = self.done[link], self.items[link]
        self.done[link] += 1
        if count + link.receive_buffers >= len(items):
            return []
        return [Post(link, count % link.receive_buffers, items[count + link.receive_buffers])]

    def reserve(self, link: LinkId) -> Reserve:
        """Wait until the buffer of the next item to send is free."""
        return Reserve(link, self.done[link] % link.send_buffers)

    def send(self, link: LinkId) -> Send:
        """Send the next item."""
        count = self.done[link]
        self.done[link] += 1
        return Send(link, count % link.send_buffers, self.items[link][count])

    def carry(self, link: LinkId) -> list[Step]:
        """Send the next item, or at the other end receive it."""
        if link.source == self.rank:
            return [self.reserve(link), self.send(link)]
        return [self.receive(link), *self.release(link)]

    def close(self) -> list[Step]:
        """Wait until all that was sent has left."""
        return [
            Reserve(link, buffer)
            for link, items in self.items.items()
            if link.source == self.rank
            for buffer in range(min(link.send_buffers, len(items)))
        ]
