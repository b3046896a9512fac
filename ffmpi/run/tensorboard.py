"""A run's metrics as event files, which TensorBoard shows: a step is an epoch, names are those of metrics.jsonl."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from .progress import accuracies_of


def check() -> None:
    """Raise UserError if the library that writes them is not there."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--tensorboard: needs {error.name or 'tensorboardX'}; expected it installed by pip install "
            "'ffmpi[tensorboard]'"
        ) from None


class EventFiles:
    """The event files in a directory: each leg of a run writes one of its own."""

    def __init__(self, directory: Path, epoch: int) -> None:
        """Begin a file in `directory`; what the others there say of later epochs than `epoch` is forgotten.

        The library's own writer has a thread and a queue between processes; this one writes at once, and says so if it
        cannot.
        """
        check()
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._directory, self._event = directory, Event
        try:
            directory.mkdir(exist_ok=True)
            # By its name TensorBoard reads it after those before, were they of the same second.
            self._writer = EventsWriter(str(directory / "events"), f".{epoch:08}")
            start = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(wall_time=time.time(), step=epoch + 1, session_log=start))
            self._writer.flush()
        except OSError as error:
            raise self._unwritable(error) from None

    def chapter(self, record: dict[str, Any]) -> None:
        """Add a chapter's record."""
        from tensorboardX.summary import scalar

        now = time.time()
        try:
            for name, value in scalars(record):
                event = self._event(wall_time=now, step=record["epoch"], summary=scalar(name, value))
                self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self._directory}: cannot be written to ({error.strerror}); free some space, then resume")


def scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a chapter's record, each with a name such as ``loss/layer_1`` or ``test_accuracy/softmax``.

    Those before the stroke are drawn in one group.
    """
    yield "samples_per_second", record["samples_per_second"]
    for split, accuracies in accuracies_of(record).items():
        yield from ((f"{split}_accuracy/{method}", value) for method, value in accuracies.items())
    for number, layer in enumerate(record["layers"], 1):
        yield from ((f"{name}/layer_{number}", value) for name, value in layer.items())
    yield from ((f"{name}/head", value) for name, value in record.get("head", {}).items())
    for number, rank in enumerate(record["ranks"]):
        if rank["seconds"]:
            who = rank.get("host", f"rank_{number}")
            yield from ((f"{name}/{who}", rank[name]) for name in ("gflops", "waiting_share", "peak_bytes"))
