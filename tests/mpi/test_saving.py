"""Saves: parts of arrays come to rank 0 in messages of a bounded size, while all ranks go on with their steps."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from numpy.testing import assert_array_equal

from tests.conftest import Run
from tests.helpers import DIGITS, arrays, chapters_saved, records, sets

pytestmark = pytest.mark.mpi

#: Three ranks that have pieces of two layers, in parts too large to leave before they are asked for.
PIECES = """
import time
import numpy as np
from ffmpi.config import parse
from ffmpi.network.classifier import classifier_block
from ffmpi.network.parameters import Parameters, dense
from ffmpi.run.kept import Kept
from ffmpi.runtime import saving
from ffmpi.runtime.mpi import run

settings = parse("", "test", ["optimizer.name=adam"])
saving.PART = 500  # a panel or a few
blocks = {"layers/0": dense(4000, 150, settings.optimizer), "head/0": classifier_block(settings, 150, 3)}

class Piece:
    def __init__(self, whole, panels):
        self.whole, self.block, self.first = whole, whole.block, 16 * panels.start

    def span(self, name):
        full = [slice(0, size) for size in self.block.shapes()[name]]
        full[self.block.axes()[name]] = slice(self.first, None)
        return tuple(full)

    def array(self, name):
        return self.whole.array(name)

    def array_part(self, name, start, stop):
        return self.whole.array_part(name, self.first + start, self.first + stop)

def main(comm):
    whole, expected = {}, {}
    for name, block in blocks.items():
        whole[name] = Parameters(block)
        for key, shape in block.shapes().items():
            number = len(expected) + np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
            whole[name].set_array(key, number)
            expected[f"{name}/{key}"] = whole[name].array(key)
    cuts = {1: range(0, 4), 0: range(4, 5), 2: range(5, 10)}
    shares = [saving.Share(rank, name, block, cut) for name, block in blocks.items() for rank, cut in cuts.items()]
    states = {name: Piece(one, cuts[comm.rank]) for name, one in whole.items()}
    kept = Kept()
    kept.begin(1, 3, None)
    beside = {"negatives/2": np.arange(10, dtype=np.uint8)}
    one = saving.Saving(comm, 5, shares, states, kept if comm.rank == 0 else None, beside, 3)
    if comm.rank > 0:
        for _ in range(20):  # rank 0 does not come, and nobody waits for it
            one.advance()
        sent, coming = one.pending
        assert len(sent) == saving.EACH and not coming and not one.left, (sent, coming)
    comm.Barrier()
    while not one.done:
        one.advance()
        time.sleep(1e-4)
    assert one.left and one.pending == ([], [])
    if comm.rank == 0:
        assert kept.chapter == 1 and kept.arrays.keys() == expected.keys() | beside.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(kept.arrays[name], array, strict=True)
        np.testing.assert_array_equal(kept.arrays["negatives/2"], beside["negatives/2"])
    moved = comm.gather(one.moved)
    if comm.rank == 0:
        print(*moved)

run(main)
"""


def test_pieces_come_together_while_ranks_go_on(run: Run, tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(textwrap.dedent(PIECES))
    done = run(3, job)
    assert done.returncode == 0, done.stderr
    moved = [int(word) for word in done.stdout.split()]
    assert moved[0] > sum(moved[1:]) and min(moved) >= 20, "each has many parts, and rank 0 takes all"


#: The command line, with parts so small that a save takes many steps; tells when each save began and ended, and keeps
#: each checkpoint.
SMALL = """
import shutil, sys
from ffmpi.__main__ import main
from ffmpi.runtime import collect, saving
from ffmpi.run.writer import Writer
from ffmpi.runtime.worker import Worker

saving.PART = 1
events, commit = [], Writer.commit

def keep(writer, wait=True):
    commit(writer)
    shutil.copy(writer._path, writer._path.with_name(f"{writer._chapter}.h5"))
    return True

Writer.commit = keep

def noted(name, method):
    def wrapper(self, *args):
        events.append(name)
        return method(self, *args)
    return wrapper

collect.Collector.save = noted("save", collect.Collector.save)
saving.Saving._close = noted("saved", saving.Saving._close)
Worker._forward = noted("step", Worker._forward)
try:
    main()
finally:
    from mpi4py import MPI
    if MPI.COMM_WORLD.rank == 0:
        print("between:", *[events[a:].index("saved") for a, event in enumerate(events) if event == "save"])
"""


def test_training_goes_on_during_a_save(run: Run, train_once: Callable[..., Path], tmp_path: Path) -> None:
    """The checkpoint is the state after its chapter, though layers have learnt more when it is complete."""
    settings = sets("schedule.name=single-layer", "train.epochs=4", "train.chapters=4", "checkpoint.every=1")
    whole = train_once("whole", 3, *settings)
    done = run(3, "-c", SMALL, "train", DIGITS, "--run", tmp_path / "parts", *settings)
    assert done.returncode == 0, done.stderr
    steps = [int(word) for word in done.stdout.split("between:")[1].split()]
    assert len(steps) == 4 and max(steps[:3]) > 10, steps
    expected, found = arrays(whole), arrays(tmp_path / "parts")
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        assert_array_equal(found[name], array, err_msg=name)
    assert [one["layers"] for one in records(whole)] == [one["layers"] for one in records(tmp_path / "parts")]


def test_pieces_save_what_they_were_after_each_chapter(run: Run, tmp_path: Path) -> None:
    """Layers have learnt from the next chapter when the head is through with this one, unless they wait for the save.

    Nothing else comes between.
    """
    never = sets("classify.softmax_every=0", "classify.goodness_every=0", "train.epochs=4", "checkpoint.every=1")
    runs = {"alone": (1, []), "four": (4, []), "waits": (4, sets("checkpoint.wait=true"))}
    between: dict[str, list[int]] = {}
    for name, (ranks, more) in runs.items():
        done = run(ranks, "-c", SMALL, "train", DIGITS, "--run", tmp_path / name, *never, *more)
        assert done.returncode == 0, done.stderr
        between[name] = [int(word) for word in done.stdout.split("between:")[1].split()]
    assert len(between["four"]) == 4 and min(between["four"][:3]) > 10, between
    for chapter in range(1, 5):
        expected, *others = (arrays(tmp_path / name, f"{chapter}.h5") for name in runs)
        for found in others:
            assert expected.keys() == found.keys()
            for name, array in expected.items():
                assert_array_equal(found[name], array, err_msg=f"{name} after chapter {chapter}")


#: The command line with such small parts, but rank 0 ends when it has written some of the second checkpoint.
KILLED_WHILE_SAVING = """
import os, signal
from ffmpi.__main__ import main
from ffmpi.runtime import saving

saving.PART, write, begun = 1, saving.Saving._write, []

def deadly(self, *part):
    write(self, *part)
    begun.extend([self] * (self not in begun))
    if len(begun) == 2 and self.moved == 20:
        os.kill(os.getpid(), signal.SIGKILL)

saving.Saving._write = deadly
main()
"""


def test_a_kill_during_a_save_leaves_the_checkpoint_before(
    run: Run, ffmpi: Run, train_once: Callable[..., Path], tmp_path: Path
) -> None:
    settings, directory = sets("train.epochs=4", "checkpoint.every=1"), tmp_path / "run"
    whole = train_once("uninterrupted", 1, *settings)
    done = run(3, "-c", KILLED_WHILE_SAVING, "train", DIGITS, "--run", directory, *settings)
    assert done.returncode != 0
    assert (directory / "checkpoint.h5.partial").exists() and chapters_saved(directory) == 1
    ffmpi(2, "resume", directory)
    expected, found = arrays(whole), arrays(directory)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        assert_array_equal(found[name], array, err_msg=name)
    assert not (directory / "checkpoint.h5.partial").exists()
