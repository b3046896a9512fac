"""What rank 0 reports during a run: a live line on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.status import Status

from ..config.schema import Config
from ..data.info import DatasetInfo
from ..errors import warn
from ..launcher import launched
from ..output import silence
from ..schedule import Schedule
from ..schedule.steps import Update
from ..schedule.totals import Balance
from .directory import RunDirectory
from .health import Finding
from .ranks import Ranks

_EVERY = 0.2  # seconds between two changes of the live line
_SILENT = 300.0  # seconds without a line after which one says what is being done
_NAMED = 10  # layers of which each is told of
_MOST_WARNED = 8  # things at once
_UNEXPECTED = 0.05  # relative difference of an ideal speed-up that is told


class Progress:
    """The output of `train` and `resume`; with `as_json` only JSON lines."""

    def __init__(
        self, config: Config, dataset: DatasetInfo, schedule: Schedule, hosts: list[str], as_json: bool,
        memory: Sequence[float] = (), balance: Balance | None = None, notes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.config, self.dataset, self.schedule, self.as_json = config, dataset, schedule, as_json
        self.who = Ranks(config, schedule, hosts)
        self.memory, self.balance = memory, balance  # bytes that each rank needs at most; how work is shared out
        self._notes = notes  # what else to tell before it begins
        self._computing = np.zeros(schedule.spec.ranks)  # seconds of each rank in the schedule's first round
        # Open MPI gives its ranks a terminal even where its own output is a file; other launchers give them a pipe.
        self.console = Console(highlight=False, markup=False, emoji=False, force_terminal=False if launched() else None)
        self.status: Status | None = None
        self._began = self._shown = time.monotonic()
        self._first = 0
        self._last: dict[str, Any] | None = None
        self._ranks: dict[int, dict[str, float]] = {}  # each rank's last chapter
        self._seconds = 0.0
        self._warned: set[tuple[str, str]] = set()

    def start(self, directory: Path | None, first_chapter: int, about: Sequence[str] = ()) -> None:
        """Say what is about to happen, the lines `about` the samples, and which rank does what."""
        self._began = time.monotonic()
        self._first = first_chapter * self.schedule.spec.epochs_per_chapter
        if self.as_json:
            return
        data, spec = self.config.data, self.schedule.spec
        validation = f", {self.dataset.validation} validation" if self.dataset.validation else ""
        runs = [(units, len(list(equal))) for units, equal in groupby(self.config.network.layers)]
        parts = [[f"{count} x {units}"] if count > _NAMED else [str(units)] * count for units, count in runs]
        sizes = " - ".join(text for part in parts for text in part)
        self._say(
            f"{data.name}: {self.dataset.train} training{validation} and {self.dataset.test} test samples, "
            f"{self.dataset.pixels} pixels, {self.dataset.classes} classes; layers {sizes}"
        )
        for line in about:
            self._say(line)
        self._say(f"inputs: {inputs_text(self.config, self.dataset)}")
        for line in self.who.lines(self.memory):
            self._say(line)
        if self.balance and spec.ranks > 1:
            why = f", but ranks wait {delay}" if (delay := self.schedule.delay) else ""
            self._say(f"ideal speed-up, by load balance: about {self.balance.ideal:.2f}{why}")
        for note in self._notes:
            self._say(note)
        where = f"starting: {spec.epochs} epochs"
        if self._first:
            where = f"continuing after epoch {self._first}: epochs {self._first + 1} to {spec.epochs}"
        if self._first == spec.epochs:
            return
        into = f", into {directory}" if directory else ""
        self._say(f"{where}, schedule {self.config.schedule.name}{into}")
        if self.console.is_terminal:
            self.status = self.console.status("starting")
            self.status.start()

    def _say(self, line: str) -> None:
        self._write(lambda: self.console.print(line, soft_wrap=True))

    def _write(self, action: Callable[[], None]) -> None:
        """Print, or continue without: a run is worth more than its output."""
        try:
            action()
        except BrokenPipeError:
            raise
        except OSError as error:
            silence()
            warn(
                f"the output cannot be written ({error.strerror}); the run continues, its numbers are in metrics.jsonl"
            )

    def update(self, step: Update) -> None:
        """Say which layer learns from what: in the live line, or if nothing has been said for long."""
        now = time.monotonic()
        if self.as_json or now - self._shown < (_EVERY if self.status else _SILENT):
            return
        self._shown = now
        epochs, batch = self.config.train.epochs, step.batch.index + 1
        say = self.status.update if self.status else self._say
        say(f"epoch {step.epoch + 1}/{epochs}, layer {step.layer + 1}, batch {batch}")

    def _left(self, epochs_done: float) -> float:
        elapsed = time.monotonic() - self._began
        return elapsed / max(epochs_done, 1e-9) * (self.config.train.epochs - self._first - epochs_done)

    def chapter(self, record: dict[str, Any], found: Sequence[Finding] = ()) -> None:
        """Print one line about a finished chapter, and warn of what has been `found` wrong for the first time."""
        self._print(record)
        new = [finding for finding in found if (finding.kind, finding.who) not in self._warned]
        self._warned.update((finding.kind, finding.who) for finding in new)
        for text in _few([str(finding) for finding in new]):
            warn(f"epoch {record['epoch']}, {text}")

    def _print(self, record: dict[str, Any]) -> None:
        for rank, numbers in enumerate(record["ranks"]):
            if numbers["seconds"]:
                self._ranks[rank] = numbers
        self._last = record
        self._seconds += record["seconds"]
        if self.as_json:
            self._write(lambda: print(json.dumps(record), flush=True))
            return
        self._shown = time.monotonic()
        epoch = record["epoch"]
        parts = [f"epoch {epoch}/{self.config.train.epochs}"]
        layers = record["layers"]
        if len(layers) > _NAMED:
            losses = [layer["loss"] for layer in layers]
            parts.append(f"loss {min(losses):.3f} to {max(losses):.3f} in layers 1 to {len(layers)}")
        else:
            parts.append("loss " + " ".join(f"{layer['loss']:.3f}" for layer in layers))
            if all("positive_goodness" in layer for layer in layers):
                goodness = (f"{layer['positive_goodness']:.4g}/{layer['negative_goodness']:.4g}" for layer in layers)
                parts.append("goodness +/- " + " ".join(goodness))
        for split, accuracies in accuracies_of(record).items():
            each = ", ".join(f"{method} {accuracy:.2f} %" for method, accuracy in accuracies.items())
            parts.append(f"{split} {each}")
        parts.append(f"{record['samples_per_second']:.0f} samples/s")
        parts.append(self.who.rates(record["ranks"]))
        if epoch < self.config.train.epochs:
            parts.append(f"{_duration(self._left(epoch - self._first))} left")
        self._say(", ".join(parts))
        self._compare(record)

    def _compare(self, record: dict[str, Any]) -> None:
        """Tell the ideal speed-up by what the ranks have computed in the first round, if another was expected."""
        chapters, chapter = self.schedule.round, record["epoch"] // self.schedule.spec.epochs_per_chapter - 1
        if not self.balance or self.schedule.spec.ranks == 1 or chapter not in chapters:
            return
        self._computing += [rank["computing"] for rank in record["ranks"]]
        if chapter < chapters[-1] or not self._computing.all():
            return
        measured, expected = self.balance.measured(self._computing.tolist()), self.balance.ideal
        if abs(measured / expected - 1) > _UNEXPECTED:
            self._say(f"ideal speed-up, by load balance: {measured:.2f} as measured, not {expected:.2f} as expected")

    def stop(self) -> None:
        """Take the live line away: the terminal's cursor comes back, however the run ends."""
        if self.status is not None:
            self.status.stop()

    def finish(self, directory: RunDirectory | None, best: str = "") -> None:
        """Print the result, what each rank or host did and needed, and which checkpoint is `best`."""
        if self.as_json:
            return
        if self._last is None:
            self._say(f"nothing left to do: all {self.config.train.epochs} epochs are done")
            return
        table = self.who.table(self._ranks)
        if not self.console.is_terminal:
            self.console.width = 120
        self._write(lambda: self.console.print(table))
        found = [
            f"{split} accuracy " + ", ".join(f"{value:.2f} % by {method}" for method, value in accuracies.items())
            for split, accuracies in accuracies_of(self._last).items()
        ]
        places = [str(directory.checkpoint)] if directory else []
        self._say("; ".join([*found, f"{self._seconds:.1f} s of training", *places]))
        if best:
            self._say(best)
        for text in _few(self._last.get("warnings", [])):
            self._say(f"warning: {text}")


def accuracies_of(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return what a chapter's record has of accuracies in percent, by split and by method."""
    splits = {"validation": record.get("validation", {}), "test": record["accuracy"]}
    return {split: accuracies for split, accuracies in splits.items() if accuracies}


def inputs_text(config: Config, dataset: DatasetInfo) -> str:
    """Say how pixels become inputs, and where the label stands."""
    mean, std, whose = f"{config.data.mean:g}", f"{config.data.std:g}", ""
    if dataset.scaling is not None:
        mean, std = (_range(array) for array in (dataset.scaling.mean, dataset.scaling.std))
        whose = ", measured on the training samples"
        whose += " for each pixel" if config.data.standardise == "pixel" else ""
    text = f"pixels less {mean}, divided by {std}{whose}"
    if config.rule.layout == "plain":
        return f"{text}; no label"
    value = f"of value {config.data.label_value:g}"
    if config.data.label == "append":
        return f"{text}; the label, {value}, stands beside them in {dataset.classes} more"
    share = 100 * dataset.classes / dataset.pixels
    return f"{text}; the label, {value}, covers the first {dataset.classes} of {dataset.pixels} ({share:.1f} %)"


def _range(array: np.ndarray) -> str:
    """Return the one number, or the least and the greatest."""
    least, greatest = float(array.min()), float(array.max())
    return f"{least:.4g}" if least == greatest else f"{least:.4g} to {greatest:.4g}"


def _few(texts: list[str]) -> list[str]:
    """Return the first of many warnings, and how many more there are."""
    more = len(texts) - _MOST_WARNED
    return texts if more <= 1 else [*texts[:_MOST_WARNED], f"{more} more warnings are in metrics.jsonl"]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
