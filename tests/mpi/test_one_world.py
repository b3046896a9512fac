"""Ranks that see different files, code or command lines are refused, with the rank and its host."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from tests.conftest import Run
from tests.helpers import sets

pytestmark = pytest.mark.mpi

#: One job for many commands, since starting takes time. Of each: name, the ranks' folders, arguments, those of rank 1.
JOB = """
import contextlib, io, json, os, sys
from ffmpi.runtime import agreement, mpi
from ffmpi import kernels
from ffmpi.cli import app

comm = mpi.start()
mpi.start, home, ends = lambda: comm, os.getcwd(), []
for name, folders, arguments, others in json.loads(sys.argv.pop()):
    os.chdir(os.path.join(home, folders[comm.rank]))
    sys.argv = ["ffmpi", *(others if others and comm.rank == 1 else arguments)]
    version, digest = agreement.__version__, kernels.DIGEST
    if comm.rank == 1 and name == "version":
        agreement.__version__ = "0.0.1"
    if comm.rank == 1 and name == "kernels":
        kernels.DIGEST = "0" * 64
    status = 0
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            app(sys.argv[1:], standalone_mode=False)
        except SystemExit as error:
            status = error.code
    agreement.__version__, kernels.DIGEST = version, digest
    ends.append(comm.allgather((status, told.getvalue())))
if comm.rank == 0:
    print(json.dumps(ends))
"""

CONFIG = """
data = { name = "hdf5", path = "set.h5", label = "append" }
network = { layers = [8, 8] }
train = { epochs = 2, batch = 20 }
"""
BY_FILE = CONFIG.replace('"set.h5"', '"shard{shard}.h5"') + (
    'schedule = { name = "federated" }\nshards = { count = 2, by = "file", held_out = "set.h5" }\n'
)


def write(path: Path, change: Callable[[dict[str, np.ndarray]], object] = lambda found: None) -> None:
    """Write a small set of images, changed."""
    rng = np.random.default_rng(0)
    found = {}
    for split, count in (("train", 60), ("test", 30)):
        labels = np.arange(count) % 3
        images = rng.integers(0, 100, (count, 4, 4), np.uint8)
        images[np.arange(count), labels] += 100
        found |= {f"{split}/images": images, f"{split}/labels": labels}
    change(found)
    with h5py.File(path, "w") as file:
        for name, array in found.items():
            file[name] = array


def shifted(split: str) -> Callable[[dict[str, np.ndarray]], None]:
    def change(found: dict[str, np.ndarray]) -> None:
        found[f"{split}/labels"] = (found[f"{split}/labels"] + 1) % 3

    return change


def one_pixel(split: str) -> Callable[[dict[str, np.ndarray]], None]:
    def change(found: dict[str, np.ndarray]) -> None:
        found[f"{split}/images"][7, 2, 2] ^= 1

    return change


def fewer(found: dict[str, np.ndarray]) -> None:
    for name in ("train/images", "train/labels"):
        found[name] = found[name][:-1]


def damage(run: Path, copy: Path, name: str) -> None:
    """Copy a run, and flip a bit of an array in its checkpoint."""
    shutil.copytree(run, copy)
    content = bytearray((copy / "checkpoint.h5").read_bytes())
    with h5py.File(copy / "checkpoint.h5") as file:
        content[content.index(file[name][()].tobytes()) + 5] ^= 1
    (copy / "checkpoint.h5").write_bytes(content)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Make a directory for each way in which a second rank may see another world."""
    changes = {
        "same": lambda found: None, "labels": shifted("train"), "tests": shifted("test"), "pixel": one_pixel("train"),
        "test_pixel": one_pixel("test"), "fewer": fewer,
    }  # fmt: skip
    for name, change in changes.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name / "set.h5", change)
        write(tmp_path / name / "shard1.h5")
        write(tmp_path / name / "shard2.h5")
        (tmp_path / name / "config.toml").write_text(CONFIG)
        (tmp_path / name / "files.toml").write_text(BY_FILE)
    (tmp_path / "config").mkdir()
    write(tmp_path / "config" / "set.h5")
    (tmp_path / "config" / "config.toml").write_text(CONFIG + "seed = 5\n")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_ranks_that_see_different_worlds_are_refused(folders: Path, ffmpi: Run, run: Run) -> None:
    data = sets(f"data.path={folders / 'same' / 'set.h5'}")
    for folder, epochs in (("same", 2), ("empty", 1)):  # copies of different chapters, as on disks of their own
        more = sets(f"train.epochs={epochs}")
        ffmpi(0, "train", folders / "same" / "config.toml", "--run", folders / folder / "run", *data, *more)
    for name in ("head/1/weights", "layers/0/weights_m"):
        damage(folders / "same" / "run", folders / "same" / name.replace("/", "_"), name)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folders / "same" / "image.png")
    train = ["train", "config.toml", "--run", "new"]
    each = [*train, *sets("schedule.name=all-layers")]  # each rank reads all images
    here, file = f"rank 1 on {platform.node()}", "run/checkpoint.h5"
    evaluate, relative = ["evaluate", "run"], sets("data.path=set.h5")
    cases = [
        ("classes", ["same", "labels"], train, None, ["set.h5 (train), classes:", f"{here} in {folders}/labels"]),
        ("test", ["same", "tests"], train, None, ["set.h5 (test), classes: CRC-32 ", here]),
        ("images", ["same", "pixel"], each, None, ["set.h5 (train), images: CRC-32 ", here]),
        ("test images", ["same", "test_pixel"], each, None, ["set.h5 (test), images: CRC-32 ", here]),
        ("sizes", ["same", "fewer"], train, None, ["60 samples of shape (4, 4)", "59 samples", here]),
        ("no data", ["same", "empty"], train, None, [f"{here}: set.h5", f"working directory {folders}/empty"]),
        ("config", ["same", "config"], train, None, ["config.toml: CRC-32", here]),
        ("arguments", ["same", "same"], train, [*train, "--json"], ["command line: train", "new --json on rank 1"]),
        ("version", ["same", "same"], train, None, ["ffmpi: version", "version 0.0.1", here]),
        ("kernels", ["same", "same"], evaluate, None, ["ffmpi.kernels: source", "source 00000000 on rank 1"]),
        ("held out", ["same", "tests"], ["train", "files.toml"], None, ["set.h5 (test), classes", here]),
        ("evaluate", ["same", "tests"], [*evaluate, *relative], None, ["set.h5 (test), classes", here]),
        ("copies", ["same", "empty"], evaluate, None, [f"{here}: {file}: not the checkpoint that rank 0 reads: ch"]),
        ("resume", ["same", "empty"], ["resume", "run"], None, [f"{here}: {file}: not the checkpoint"]),
        ("a disk of its own", ["pixel", "same"], ["train", "config.toml", "--run", "run", "--resume"], None,
         [f"{file}: not found on rank 0", "but found on rank 1"]),
        ("nothing there", ["same", "pixel"], evaluate, None, [f"{here}: {file}: cannot be opened (no such file)"]),
        ("no checkpoint", ["same", "pixel"], ["resume", "run"], None, [f"{here}: {file}: cannot be opened"]),
        ("damaged head", ["same", "same"], ["evaluate", "head_1_weights"], None, ["damaged: 'head/1/weights'"]),
        ("moments", ["same", "same"], ["resume", "layers_0_weights_m"], None, ["damaged: 'layers/0/weights_m'"]),
        ("predict", ["same", "same"], ["predict", "head_1_weights", "image.png"], None, ["damaged: 'head/1/weights'"]),
    ]  # fmt: skip
    done = run(2, "-c", JOB, json.dumps([case[:4] for case in cases]))
    assert done.returncode == 0, done.stderr
    for (name, *_, words), ends in zip(cases, json.loads(done.stdout), strict=True):
        statuses, told = zip(*ends, strict=True)
        sentence = "".join(told)
        assert statuses == (2, 2) and sentence.startswith("ffmpi: ") and sentence.count("\n") == 1, (name, told)
        for word in words:
            assert word in sentence, (name, word, sentence)
    assert not list(folders.glob("*/new*"))
