"""The checkpoint that is best on the validation samples: a copy that later checkpoints leave alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..config.schema import Config
from ..errors import UserError
from .checkpoint import reading
from .directory import RunDirectory


class Best:
    """Which checkpoint it is, of those that are saved.

    method : the way to classify that counts, the first of the run's
    epoch, accuracy : of the best so far, in percent; 0 and minus infinity before there is one
    """

    def __init__(self, directory: RunDirectory, config: Config) -> None:
        """Find the one that the run has, if it is continued."""
        self.path, self.method, self.epoch, self.accuracy = directory.best, config.methods[0], 0, -math.inf
        self._measured: dict[int, float] = {}
        for record in directory.records():
            self.note(record)
        try:
            with reading(self.path) as reader:
                epoch = reader.header.chapter * config.train.epochs // config.chapters
        except UserError:  # none yet, or one that cannot be used: the next one is better
            return
        self.epoch, self.accuracy = epoch, self._measured.get(epoch, -math.inf)

    def note(self, record: dict[str, Any]) -> None:
        """Take note of what a chapter has measured."""
        if self.method in record.get("validation", {}):
            self._measured[record["epoch"]] = record["validation"][self.method]

    def takes(self, epoch: int) -> Path | None:
        """Return where the checkpoint of the state after `epoch` is to be kept, too, if it is the best so far."""
        accuracy = self._measured.get(epoch, -math.inf)
        if accuracy <= self.accuracy:
            return None
        self.epoch, self.accuracy = epoch, accuracy
        return self.path

    def __str__(self) -> str:
        """Say it as in the output."""
        if not self.epoch:
            return "no checkpoint was kept as the best: none was saved after an epoch in which it was measured"
        return f"best validation accuracy {self.accuracy:.2f} % by {self.method}, after epoch {self.epoch}; {self.path}"
