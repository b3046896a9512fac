"""What tests say to ffmpi, and what they look at in the run it leaves."""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

import ffmpi
from ffmpi.run.checkpoint import header_checksum

if TYPE_CHECKING:
    from .conftest import Job

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "runs" / "digits.toml"
#: What is tested: the package beside the tests, or one that is installed elsewhere.
PACKAGE = Path(ffmpi.__file__).resolve().parent

#: The command line, but a rank kills itself when it next learns after a checkpoint has been written.
KILLED = """
import os, pathlib, signal, sys
from ffmpi.__main__ import main
from ffmpi.runtime.worker import Worker

rank, run = int(sys.argv.pop(1)), pathlib.Path(sys.argv[sys.argv.index("--run") + 1])

def deadly(learn):
    def step(worker, step):
        if worker.comm.rank == rank and (run / "checkpoint.h5").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        learn(worker, step)
    return step

Worker._update, Worker._update_head = deadly(Worker._update), deadly(Worker._update_head)
main()
"""


def sets(*settings: str) -> list[str]:
    """Return settings as the command line takes them."""
    return [part for setting in settings for part in ("--set", setting)]


def lines(run: Path) -> list[str]:
    """Return the lines of a run's metrics."""
    return (run / "metrics.jsonl").read_text().splitlines()


def records(run: Path) -> list[dict[str, Any]]:
    """Return what a run says of each chapter."""
    return [json.loads(line) for line in lines(run)]


def until(condition: Callable[[], bool], job: Job, seconds: float = 60) -> None:
    """Wait for a condition while `job` runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        assert job.process.poll() is None, job.wait().stderr
        time.sleep(0.002)


def chapters_saved(run: Path) -> int:
    """Return the number of chapters in a run's checkpoint."""
    with h5py.File(run / "checkpoint.h5") as file:
        return int(file.attrs["chapter"])


def arrays(run: Path, checkpoint: str = "checkpoint.h5") -> dict[str, np.ndarray]:
    """Return every array of a run's checkpoint by name."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(run / checkpoint) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return {name: array for name, array in found.items() if not name.startswith("header/")}


def seal(path: Path, texts: dict[str, str] | None = None) -> None:
    """Give a checkpoint that was edited the checksums of what it holds now, and a header of `texts`."""
    with h5py.File(path, "r+") as file:
        header = {name: bytes(file[f"header/{name}"][()]).decode() for name in ("config", "problem")} | (texts or {})
        found: dict[str, int] = {}

        def note(name: str, item: Any) -> None:
            plain = isinstance(item, h5py.Dataset) and item.shape is not None and not item.is_virtual
            if plain and not name.startswith("header/"):
                found[name] = zlib.crc32(np.asarray(item[()]).tobytes())

        file.visititems(note)
        header.setdefault("checksums", json.dumps(found))
        for name, text in header.items():
            del file[f"header/{name}"]
            file[f"header/{name}"] = np.bytes_(text.encode())
        version, identity = bytes(file.attrs["ffmpi"]).decode(), bytes(file.attrs["id"]).decode()
        file.attrs["checksum"] = header_checksum(
            int(file.attrs["format"]), version, identity, int(file.attrs["chapter"]), header
        )


def assert_same_bits(one: Path, other: Path) -> None:
    """Compare two runs' checkpoints without a tolerance."""
    expected, actual = arrays(one), arrays(other)
    assert expected.keys() == actual.keys()
    assert len(expected) > 4
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name, strict=True)


def scores_by_numpy(path: Path, images: np.ndarray) -> np.ndarray:
    """Return the scores of `images` by a network that was exported to `path`, as the design page computes them."""
    section = (ROOT / "docs" / "design.md").read_text().split("**Exported networks**")[1]
    code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    assert code.count("out.npz") == 1
    names: dict[str, Any] = {}
    exec(code.replace("out.npz", str(path)), names)
    scores: np.ndarray = names["scores"](images)
    return scores
