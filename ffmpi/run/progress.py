"""What rank 0 reports during a run: a live view on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rich.live import Live as Display
from rich.text import Text

from ..config.schema import Config
from ..data.info import DatasetInfo
from ..errors import warn
from ..output import Terminal, silence
from ..schedule import Schedule
from ..schedule.totals import Balance
from .directory import RunDirectory
from .health import Finding
from .live import Live, Now
from .ranks import Ranks

_EVERY = 1.0  # seconds between two changes of the live view
_LOOKS = 10  # how often ranks tell what they do between two lines of a log
_NAMED = 10  # layers of which each is told of
_MOST_WARNED = 8  # things at once
_UNEXPECTED = 0.05  # relative difference of an ideal speed-up that is told


@dataclass(frozen=True)
class Output:
    """What is to be told of a run, and how.

    as_json : print only JSON lines, one a chapter; quiet : print only the result
    log_every : seconds without a line, where there is no terminal, after which one says what all ranks do; 0: never
    tensorboard, trace : also write event files, see `tensorboard`, and what each rank does when, see `trace`
    """

    as_json: bool = False
    quiet: bool = False
    log_every: float = 60.0
    tensorboard: bool = False
    trace: bool = False


class Progress:
    """The output of `train` and `resume`."""

    def __init__(
        self, config: Config, dataset: DatasetInfo, schedule: Schedule, hosts: list[str], output: Output,
        memory: Sequence[float] = (), balance: Balance | None = None, notes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.config, self.dataset, self.schedule, self.output = config, dataset, schedule, output
        self.who = Ranks(config, schedule, hosts)
        self.live = Live(self.who)
        self.memory, self.balance = memory, balance  # bytes that each rank needs at most; how work is shared out
        self._notes = notes  # what else to tell before it begins
        self._computing = np.zeros(schedule.spec.ranks)  # seconds of each rank in the schedule's first round
        self.terminal = Terminal()
        self.console = self.terminal.console
        self._display: Display | None = None
        self._began = self._shown = time.monotonic()
        self._end = math.nan  # when the training is expected to end
        self._first = 0
        self._last: dict[str, Any] | None = None
        self._ranks: dict[int, dict[str, float]] = {}  # each rank's last chapter
        self._seconds = 0.0
        self._warned: set[tuple[str, str]] = set()

    def start(
        self, directory: Path | None, first_chapter: int, about: Sequence[str] = (), planned: float = math.nan
    ) -> None:  # fmt: skip
        """Say what is about to happen, the lines `about` the samples, and which rank does what.

        planned : seconds that the training is expected to take, if that is known
        """
        self._began = time.monotonic()
        self._end = self._began + planned
        self._first = first_chapter * self.schedule.spec.epochs_per_chapter
        if self.output.as_json or self.output.quiet:
            return
        spec = self.schedule.spec
        self._say(run_text(self.config, self.dataset))
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
        long = "" if math.isnan(planned) else f", planned to take {_duration(planned)}"
        self._say(f"{where}, schedule {self.config.schedule.name}{into}{long}")
        if self.console.is_terminal:
            self._display = Display(Text("starting"), console=self.console, auto_refresh=False, transient=True)
            self._display.start(refresh=True)

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

    @property
    def every(self) -> float:
        """How often ranks are to tell what they are doing, in seconds; infinite if nobody wants to know."""
        if self.output.as_json or self.output.quiet:
            return math.inf
        return _EVERY if self.console.is_terminal else self.output.log_every / _LOOKS or math.inf

    def heard(self, rank: int, now: Now) -> None:
        """Take note of what a rank is doing, and at the time of rank 0's own word show what all of them are."""
        self.live.hear(rank, now)
        since = time.monotonic() - self._shown
        if rank > 0 or (self._display is None and since < self.output.log_every):
            return
        self.live.measure()
        where, left = self._where()
        if self._display is None:
            self._shown = time.monotonic()
            self._say(", ".join(filter(None, [where, self.live.line(), left])))
            return
        width, height = self.terminal.resize()
        lines = [", ".join(filter(None, [where, left])), *self.live.table(width, height - 2)]
        self._display.update(Text("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True)

    def _where(self) -> tuple[str, str]:
        """Say how far the run is, and how long it is expected to take from now, if that is known."""
        epochs, place, left = self.config.train.epochs, self.live.slowest(), self._end - time.monotonic()
        if place is None:
            done = self._last["epoch"] if self._last else self._first
            return f"epoch {min(done + 1, epochs)}/{epochs}", ""
        if math.isnan(left) and self.config.schedule.by_batch:
            left = self._left(place.epoch + (place.batch + 1) / place.batches - self._first)
        return f"epoch {place.epoch + 1:.0f}/{epochs}", "" if math.isnan(left) else f"{_duration(max(0.0, left))} left"

    def _left(self, epochs_done: float) -> float:
        elapsed = time.monotonic() - self._began
        return elapsed / max(epochs_done, 1e-9) * (self.config.train.epochs - self._first - epochs_done)

    def chapter(self, record: dict[str, Any], found: Sequence[Finding] = ()) -> None:
        """Print one line about a finished chapter, and warn of what has been `found` wrong for the first time.

        The record's ranks are all of them, each with its own row.
        """
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
        if self.output.quiet:
            return
        if self.output.as_json:
            self._write(lambda: print(json.dumps(self._written(record)), flush=True))
            return
        self._shown = time.monotonic()
        epoch = record["epoch"]
        left = self._left(epoch - self._first)
        self._end = self._shown + left
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
            parts.append(f"{_duration(left)} left")
        self._say(", ".join(parts))
        self._compare(record)

    def _written(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a chapter's record as it is in metrics.jsonl."""
        return record | {"ranks": self.who.rows(record["ranks"])}

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
        """Take the live view away: the terminal's cursor comes back, however the run ends."""
        if self._display is not None:
            self._display.stop()

    def finish(self, directory: RunDirectory | None, best: str = "", planned: str = "") -> None:
        """Print the result, what each rank or host did and needed, which checkpoint is `best`, and what was planned."""
        if self.output.as_json:
            if self.output.quiet and self._last is not None:
                print(json.dumps(self._written(self._last)), flush=True)
            return
        if self._last is None:
            self._say(f"nothing left to do: all {self.config.train.epochs} epochs are done")
            return
        if not self.output.quiet:
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
        for line in filter(None, (best, planned)):
            self._say(line)
        for text in _few(self._last.get("warnings", [])):
            self._say(f"warning: {text}")


def accuracies_of(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return what a chapter's record has of accuracies in percent, by split and by method."""
    splits = {"validation": record.get("validation", {}), "test": record["accuracy"]}
    return {split: accuracies for split, accuracies in splits.items() if accuracies}


def run_text(config: Config, dataset: DatasetInfo) -> str:
    """Say what samples there are, and what layers are to learn from them."""
    validation = f", {dataset.validation} validation" if dataset.validation else ""
    runs = [(units, len(list(equal))) for units, equal in groupby(config.network.layers)]
    parts = [[f"{count} x {units}"] if count > _NAMED else [str(units)] * count for units, count in runs]
    sizes = " - ".join(text for part in parts for text in part)
    return (
        f"{config.data.name}: {dataset.train} training{validation} and {dataset.test} test samples, "
        f"{dataset.pixels} pixels, {dataset.classes} classes; layers {sizes}"
    )


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
