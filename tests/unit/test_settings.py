"""Settings beside each other: where a wrong one came from, which have no effect, what an optimiser brings along."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffmpi import config, errors
from ffmpi.config.schema import Config
from ffmpi.errors import UserError

RECIPES = sorted((Path(__file__).parents[2] / "runs").rglob("*.toml"))


def parse(text: str = "", *settings: str) -> Config:
    return config.parse(text, "run.toml", list(settings))


@pytest.mark.parametrize(
    ("text", "settings", "origin"),
    [
        ("", ["train.epochs=0"], "--set train.epochs=0: train.epochs = 0"),
        ("", ["train.epochs=x", "train.epochs=0"], "--set train.epochs=0: train.epochs = 0"),
        ("", ["optimizer={rate = -1}"], "--set optimizer={rate = -1}: optimizer.learning_rate = -1"),
        ("", ["preset=papr"], "--set preset=papr: preset = 'papr'"),
        ("", ["seed=1", "train.chapters=7"], "--set train.chapters=7: train.chapters = 7: expected a divisor"),
        (
            "train.chapters = 4",
            ["train.epochs=7"],
            "run.toml, --set train.epochs=7: train.chapters = 4: expected a divisor of train.epochs = 7",
        ),
        (
            "negatives.name = 'adaptive'",
            ["rule.name=local-softmax"],
            "run.toml, --set rule.name=local-softmax: negatives.name = 'adaptive'",
        ),
        (
            "[schedule]\nname = 'federated'\n[shards]\ncount = 2",
            ["schedule.name=pipeline"],
            "run.toml, --set schedule.name=pipeline: shards.count = 2",
        ),
        (
            "[schedule]\nname = 'federated'",
            ["train.epochs=2", "shards.count=3"],
            "--set shards.count=3: shards.count = 3: nobody would learn from some in 2 chapters",
        ),
        (
            "[schedule]\nname = 'federated'\n[shards]\ncount = 3",
            ["seed=3", "train.epochs=2"],
            "run.toml, --set seed=3, --set train.epochs=2: shards.count = 3: nobody would learn",
        ),
        ("train.chapters = 7", ["seed=2"], "run.toml: train.chapters = 7"),
        ("", ['data.path="abc'], '--set data.path="abc: a quote that does not fit'),
        ("", ["data.path='abc"], "--set data.path='abc: a quote that does not fit"),
        ("", ['data.path=abc"'], '--set data.path=abc": a quote that does not fit'),
        ("", ["data.path='abc\""], "--set data.path='abc\": a quote that does not fit"),
    ],
)
def test_an_error_names_the_settings_it_came_from(text: str, settings: list[str], origin: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, *settings)
    assert str(caught.value).startswith(origin), caught.value


def test_quotes_within_a_value_are_its_own() -> None:
    assert parse("", "data.path=/home/o'brien/it").data.path == "/home/o'brien/it"
    assert parse("", "data.path='a b'").data.path == "a b"


def test_an_optimiser_brings_its_own_defaults() -> None:
    adam = parse("", "optimizer.name=adam", "head.optimizer.name=adam")
    assert (adam.optimizer.learning_rate, adam.optimizer.weight_decay) == (0.001, 0.0)
    assert (adam.head.optimizer.learning_rate, adam.head.optimizer.weight_decay) == (0.001, 0.0)
    assert parse("optimizer = {name = 'adam', rate = 0.5}").optimizer.learning_rate == 0.5
    # A preset's values are its own optimiser's; another one has its defaults, as without the preset.
    assert parse("preset = 'paper'\noptimizer.name = 'adam'") == parse("preset = 'paper'")
    assert parse("preset = 'paper'\noptimizer.name = 'sgd'").optimizer == parse().optimizer
    head = parse("preset = 'paper'", "head.optimizer.name=sgd").head
    assert head.optimizer == parse().head.optimizer and head.init == "uniform"
    assert parse("preset = 'hinton'", "optimizer.name=sgd").optimizer == Config().optimizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[optimizer]\nname = 'sgd'\nbeta1 = 0.5", ["optimizer.beta1 = 0.5: no effect, since optimizer.name = 'sgd'"]),
        ("[optimizer]\nname = 'adam'\nmomentum = 0.5", ["optimizer.momentum = 0.5: no effect, since optimizer.name"]),
        (
            "head.optimizer.epsilon = 0.5",
            ["head.optimizer.epsilon = 0.5: no effect, since head.optimizer.name = 'sgd'"],
        ),
        (
            "rule.name = 'local-softmax'\nrule.threshold = 3\nnegatives.kind = 'fixed'\nnegatives.lag = 4",
            ["rule.threshold = 3, negatives.name = 'fixed', negatives.lag = 4: no effect, since rule.name = 'local"],
        ),
        (
            "[data]\nwindow = 500\n[train]\nshuffle = false",
            ["data.window = 500: no effect, since train.shuffle = false and data.name = 'digits'"],
        ),
        ("data.window = 500", []),
        ("data.name = 'hdf5'\ndata.path = 'x'\ndata.window = 500\ntrain.shuffle = false", []),
        ("negatives.lag = 2", ["negatives.lag = 2: no effect, since negatives.name = 'random'"]),
        ("schedule.exchange = 'weights'", ["schedule.exchange = 'weights': no effect, since schedule.name = 'pipel"]),
        ("schedule.name = 'sequential'\nschedule.depth = 9", ["schedule.depth = 9: no effect, since schedule.name"]),
        (
            "network.layers = [9]\nnetwork.transforms = ['dropout']",
            ["network.transforms = [{'name': 'dropout'}]: no effect, since network.layers has one entry"],
        ),
        ("shards.by = 'class'", ["shards.by = 'class': no effect, since schedule.name = 'pipeline'"]),
        ("schedule.name='federated'\nshards.by = 'class'", ["shards.by = 'class': no effect, since shards.count = 1"]),
        ("classify.methods = ['goodness']\nhead.bias = false", ["head.bias = False: no effect, since 'softmax' is no"]),
        ("classify.methods = ['softmax']\nclassify.goodness_layers = [1]", ["classify.goodness_layers = [1]: no ef"]),
        ("data.name = 'hdf5'\ndata.standardise = 'set'\ndata.mean = 0.5", ["data.mean = 0.5: no effect, since data."]),
        ("data.images = 'x'", ["data.images = 'x': no effect, since data.name = 'digits'"]),
        ("rule.name = 'local-softmax'\nhead.bias = false", []),
        ("negatives.name = 'adaptive'\nnegatives.lag = 4\nnegatives.scores = 'goodness'", []),
        ("negatives.lag = 1", []),  # as without it
    ],
)
def test_settings_without_effect_are_named(
    text: str, expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    file = tmp_path / "run.toml"
    file.write_text(text)
    settled = config.read(str(file), tell=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"ffmpi: warning: {start}") for line, start in zip(lines, expected, strict=True)] == [
        True
    ] * len(expected), lines
    # On the command line the same is told, whatever the value; a run that is continued is told nothing twice.
    config.change(settled, "checkpoint", [])
    assert capsys.readouterr().err == ""


def test_on_the_command_line_every_setting_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    config.change(parse(), "checkpoint", ["negatives.lag=1", "schedule.threads=2"])
    assert capsys.readouterr().err == "ffmpi: warning: negatives.lag = 1: no effect, since negatives.name = 'random'\n"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_recipes_have_no_settings_without_effect(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    settled = config.read(str(recipe), tell=True)
    complete = tmp_path / "config.toml"
    complete.write_text(config.dump(settled))
    config.read(str(complete), tell=True)
    assert capsys.readouterr().err == ""


def test_what_an_editor_or_a_shell_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte-order mark, and a ~ that no shell replaces behind an equals sign."""
    file = tmp_path / "run.toml"
    file.write_bytes(b"\xef\xbb\xbfseed = 3\n")
    assert config.read(str(file)).seed == 3
    file.write_text("seed = 3", encoding="utf-16")
    with pytest.raises(UserError, match="no UTF-8 text at byte 0; save it as UTF-8"):
        config.read(str(file))
    monkeypatch.setenv("HOME", "/home/ann")
    assert parse("", "data.path=~/mnist").data.path == "/home/ann/mnist"
    assert parse("data.path = '~/mnist'").data.path == "/home/ann/mnist"


def test_files_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"cannot be read as a configuration \(Permission denied\)"):
        config.read(str(tmp_path / "run.toml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_recipes_leave_a_core_to_each_rank(recipe: Path) -> None:
    """Their commands start several ranks: with more threads each there would be more of them than cores."""
    assert config.read(str(recipe)).schedule.threads == 1
