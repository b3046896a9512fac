"""Memory that ranks of a host share, and what ranks do that have none."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.helpers import DIGITS, assert_same_bits, sets

pytestmark = pytest.mark.mpi

SETTINGS = ["train.epochs=2", "network.layers=[50,33,40]", "train.batch_size=64"]
#: Environments in which MPICH takes the ranks of one machine for those of two.
HOSTS = [{"MPIR_CVAR_NUM_CLIQUES": "2"}, {"MPIR_CVAR_ODD_EVEN_CLIQUES": "1"}]

MAIN = """
import sys
from ffmpi.runtime import shared
from ffmpi.runtime.shared import SharedMemory
shared._free = lambda: FREE
made = SharedMemory.__init__
def told(self, comm, *args):
    made(self, comm, *args)
    found = comm.gather((len(self._slots), len(self._channels)))
    if comm.rank == 0:
        print(json.dumps(found), file=sys.stderr)
SharedMemory.__init__ = told
import json
from ffmpi.__main__ import main
main()
"""


@pytest.fixture
def shares(run: Run, tmp_path: Path) -> Callable[..., tuple[list[list[int]], str]]:
    """Return what trains, and tells how many layers and links each rank shares, and what is on stderr."""

    def train(ranks: int, path: Path, free: str = "None", **env: str) -> tuple[list[list[int]], str]:
        job = tmp_path / "job.py"
        job.write_text(textwrap.dedent(MAIN).replace("FREE", free))
        done = run(ranks, job, "train", DIGITS, *sets(*SETTINGS), "--run", path, "--quiet", **env)
        assert done.returncode == 0, done.stderr
        return json.loads(next(line for line in done.stderr.splitlines() if line.startswith("[["))), done.stderr

    return train


def test_ranks_share_what_is_on_one_host_and_send_the_rest(shares, ffmpi: Run, tmp_path: Path) -> None:
    ffmpi(1, "train", DIGITS, *sets(*SETTINGS), "--run", tmp_path / "alone")
    found, _ = shares(4, tmp_path / "one")
    layers, links = zip(*found, strict=True)
    assert max(layers) == 2 and min(links) > 0  # of the last layer activations go nowhere
    assert_same_bits(tmp_path / "alone", tmp_path / "one")
    for number, env in enumerate(HOSTS):
        between, _ = shares(4, tmp_path / f"{number}", **env)
        assert sum(count for _, count in between) < sum(links)
        assert_same_bits(tmp_path / "alone", tmp_path / f"{number}")


def test_ranks_send_all_where_there_is_too_little_to_share(shares, ffmpi: Run, tmp_path: Path) -> None:
    found, told = shares(2, tmp_path / "little", free="1000")
    assert found == [[0, 0], [0, 0]]
    assert told.count("has 1,000 bytes left") == 1
    ffmpi(2, "train", DIGITS, *sets(*SETTINGS, "schedule.shared_memory=false"), "--run", tmp_path / "none")
    assert_same_bits(tmp_path / "none", tmp_path / "little")
