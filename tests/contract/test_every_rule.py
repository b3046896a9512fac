"""Every learning rule learns, gives the same bits on three ranks, and resumes after a stop as if there had been none.

The rules come from the registry: who adds one is tested here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ffmpi.config.registries import RULES
from tests.conftest import Run
from tests.contract.test_digests import RESUMED
from tests.helpers import DIGITS, assert_same_bits, records

pytestmark = pytest.mark.mpi

#: Units that no vector divides.
COMMON = ["train.epochs=4", "network.layers=[84,76,50]", "train.batch_size=50", "optimizer.name=adam"]
COMMON += ["optimizer.learning_rate=0.005", "checkpoint.every=2"]
RUNS = {rule: [*COMMON, f"rule.name={rule}"] for rule in RULES}

#: Trains each of the runs on digits, but ends it after its first checkpoint, of two epochs.
STOPPED = """
import json, sys
from ffmpi.commands import train
from ffmpi.run.progress import Output
from ffmpi.runtime import mpi
from ffmpi.runtime.worker import Worker

class Stop(Exception):
    pass

save = Worker._save

def stopping(worker, step):
    save(worker, step)
    if step.chapter == 1:
        worker.collector.finish()
        raise Stop

def main(comm):
    for run, settings in json.loads(sys.argv[2]).items():
        try:
            train.train(comm, sys.argv[1], run, settings, Output(as_json=True))
        except Stop:
            continue
        raise AssertionError(run)

Worker._save = stopping
mpi.run(main)
"""


@pytest.mark.parametrize("rule", RULES.names)
def test_it_learns(rule: str, train_all) -> None:
    accuracy = records(train_all(0, RUNS)(rule))[-1]["accuracy"]
    assert min(accuracy.values()) > 60, "ten classes"


@pytest.mark.parametrize("rule", RULES.names)
def test_three_ranks_give_the_bits_of_one(rule: str, train_all) -> None:
    assert_same_bits(train_all(0, RUNS)(rule), train_all(3, RUNS)(rule))


def test_a_stop_leaves_no_trace(run: Run, train_all, tmp_path: Path) -> None:
    runs = {str(tmp_path / rule): settings for rule, settings in RUNS.items()}
    for program, *arguments in ((STOPPED, DIGITS, json.dumps(runs)), (RESUMED, json.dumps(list(runs)))):
        done = run(0, "-c", program, *arguments, seconds=300)
        assert done.returncode == 0, done.stderr
    for rule in RULES:
        assert len(records(tmp_path / rule)) == 4
        assert_same_bits(train_all(0, RUNS)(rule), tmp_path / rule)
