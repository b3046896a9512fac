"""What `bench machine` measures on two ranks: a file of figures that make sense together, by which steps are priced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ffmpi.plan.machine import measured_path, read_machine, write_machine
from tests.conftest import Run
from tests.helpers import DIGITS

pytestmark = pytest.mark.mpi


def test_this_host_is_measured_and_runs_are_planned_by_that(ffmpi: Run, tmp_path: Path) -> None:
    path = tmp_path / "here.toml"
    done = ffmpi(2, "bench", "machine", "--seconds", "1", "-o", path, "--json", fresh=True)
    machine, told = read_machine(str(path)), json.loads(done.stdout)
    assert machine.here and machine.told == machine.name == told["name"] and told["file"] == str(path)
    assert machine.core != machine.alone  # both were measured
    assert "between ranks of a host are those of" in machine.source  # there is one host
    assert machine.between == read_machine("epyc-avx2").between
    for core in (machine.core, machine.alone):
        for product in (core.forward, core.gradient):
            assert 1e9 < product.rate < 1e12
            assert product.seconds(100, 784, 992, 0.05) < product.seconds(100, 784, 992, 1.0)
        assert 1e-11 < core.one_moment < 1e-7 and 1e-11 < core.two_moments < 1e-7
        assert 1e8 < core.copying < 1e12 and core.pixels > 1e6
        assert 1e7 < core.new < core.copying
        assert {"Forward", "Update", "Send", "Post", "AddSums", "StashActivations", "HeadError"} <= core.steps.keys()
        assert all(0 <= seconds < 0.1 for seconds in core.steps.values())
    assert 1e6 < machine.disk < 1e11
    assert 0 < machine.transfer(8, same_host=True) < machine.transfer(1e8, same_host=True)

    cache, run = tmp_path / "cache", tmp_path / "run"
    write_machine(machine, cache / measured_path().relative_to(measured_path().parents[2]))
    trained = ffmpi(2, "train", DIGITS, "--run", run, "--set", "train.epochs=4", XDG_CACHE_HOME=str(cache))
    plan = json.loads((run / "plan.json").read_text())
    assert plan["machine"] == machine.name and (plan["ranks"], plan["chapters"]) == (2, 4)
    # Other programs may slow a run down, but not so much.
    assert 0.02 * plan["took"] < plan["planned"] < 5 * plan["took"]
    assert f"planned {plan['planned']:.1f} s, took {plan['took']:.1f} s (" in trained.stdout


def test_it_needs_two_ranks_and_a_place(run: Run, tmp_path: Path) -> None:
    alone = run(1, "-m", "ffmpi", "bench", "machine")
    assert alone.returncode == 2 and "on 1 rank: expected at least 2, such as mpiexec -n 2" in alone.stderr
    nowhere = run(2, "-m", "ffmpi", "bench", "machine", "-o", tmp_path / "no" / "here.toml")
    assert nowhere.returncode == 2 and "cannot be written (no such directory)" in nowhere.stderr
