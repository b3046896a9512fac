"""What may change when a run continues; run directories that nobody else has."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from ffmpi import config
from ffmpi.cli import app
from ffmpi.config import describe
from ffmpi.config.changes import CHANGEABLE, EVALUATION, with_configuration, with_settings
from ffmpi.errors import UserError
from ffmpi.run.directory import reserve

BEFORE = config.parse("preset = 'hinton'", "test", ["train.epochs=3", "schedule.name=sequential"])


def continued(*settings: str) -> object:
    given = config.parse("", "test", ["train.epochs=3", "schedule.name=sequential", *settings])
    return with_configuration(BEFORE, given, "results/run", "recipe.toml")


def test_the_newest_value_of_what_may_change_holds() -> None:
    after = continued("schedule.depth=7", "data.path=/elsewhere", "schedule.name=all-layers", "checkpoint.every=2")
    settings = ["schedule.depth=7", "data.path=/elsewhere", "schedule.name=all-layers", "checkpoint.every=2"]
    assert after == config.change(BEFORE, "test", settings)
    assert continued() == BEFORE


def test_other_settings_are_refused_and_the_first_are_named() -> None:
    with pytest.raises(UserError) as caught:
        continued(
            "seed=4", "head.optimizer.learning_rate=0.3", "network.layers=[9]", "train.batch_size=7", "schedule.depth=2"
        )
    message = str(caught.value)
    assert message.startswith(
        "recipe.toml: not the configuration that the run in results/run was started with (seed = 0"
    )
    assert "now 4, network.layers = [" in message and "now [9]" in message and "and 1 more" in message
    assert (
        "head.optimizer.learning_rate = 0.1, now 0.3" in message
        and "schedule.depth = " not in message
        and "--run" in message
    )
    with pytest.raises(UserError, match="'sequential' is another algorithm"):
        continued("schedule.name=pipeline")


def test_another_schedule_brings_its_own_settings() -> None:
    """A sequential run has no exchange, a single-layer one has: a name alone, or earlier names, will do, too."""
    assert "exchange" not in BEFORE.schedule.__struct_fields__
    settings = ["schedule.name=single-layer", "schedule.exchange=weights", "schedule.timeout=9"]
    after = with_settings(BEFORE, "run", settings)
    assert (after.schedule.name, after.schedule.exchange, after.schedule.timeout) == ("single-layer", "weights", 9)
    assert continued(*settings) == after
    assert with_settings(after, "run", ["schedule=sequential"]).schedule == msgspec.structs.replace(
        BEFORE.schedule, timeout=9
    )
    by_file = ["schedule.name=federated", "shards.by=file", "data.name=hdf5", "data.path={shard}", "shards.test_path=a"]
    shards = config.parse("", "test", by_file)
    assert with_settings(shards, "run", ["shards.held_out=b"]).shards.test_path == "b"
    with pytest.raises(UserError, match=r"train\.batch=3: a resumed run may change only schedule\.name, "):
        with_settings(BEFORE, "run", ["train.batch=3"])
    assert set(config.keys_of("train.batch=3")) <= set(EVALUATION)


def test_settings_that_may_change_exist() -> None:
    assert {*CHANGEABLE, *EVALUATION} <= {one.key for one in describe.settings()}
    # All of a schedule's settings may change.
    assert {key for key in CHANGEABLE if key.startswith("schedule.")} == {
        one.key for one in describe.settings() if one.key.startswith("schedule.")
    }


def test_what_is_left_to_the_data_is_no_change() -> None:
    """The checkpoint has what `auto` became."""
    resolved = config.parse("", "test", ["data.label=overlay", "data.label_value=2.5"])
    given = config.parse("", "test", [])
    assert given.data.label == given.data.label_value == "auto"
    assert with_configuration(resolved, given, "run", "recipe.toml") == resolved


def test_which_run_is_to_continue_must_be_said() -> None:
    with pytest.raises(UserError, match=r"--resume: .*--run DIR"):
        app(["train", "recipe.toml", "--resume"], standalone_mode=False)


@pytest.fixture
def one_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _: "20240501-120000")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("one_second")
def test_runs_of_the_same_second_have_their_own_directories() -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(reserve, ["runs/mnist.toml"] * 4))
    assert {str(path) for path in paths} == {
        f"results/mnist-20240501-120000{suffix}" for suffix in ("", "-2", "-3", "-4")
    }
    assert all(path.is_dir() for path in paths)


@pytest.mark.usefixtures("one_second")
def test_a_directory_carries_the_number_of_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "812")
    assert str(reserve("mnist.toml")) == "results/mnist-20240501-120000-job812"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "800")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "12")
    assert str(reserve("mnist.toml")) == "results/mnist-20240501-120000-job800-12"


@pytest.mark.usefixtures("one_second")
def test_where_no_directory_can_be_made() -> None:
    Path("results").touch()
    with pytest.raises(UserError, match=r"results: is no directory.*--run"):
        reserve("mnist.toml")
