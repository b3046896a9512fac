"""Runs beside the paper's tables: which row a recipe belongs to, and what a run directory says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ffmpi import config
from ffmpi.commands import paper
from ffmpi.commands.results import rows_of
from ffmpi.commands.table import table
from ffmpi.config.registries import RULES
from ffmpi.errors import UserError
from ffmpi.run.differences import changed, labels
from ffmpi.run.results import result_of

RECIPES = sorted((Path(__file__).parents[2] / "runs" / "paper").glob("*.toml"))
PAPER = ["preset=paper", "schedule.name=all-layers"]
DFF = ["preset=dff", "data.name=mnist", "schedule.name=single-layer"]
HINTON = ["preset=hinton", "schedule.name=pipeline", "negatives.name=adaptive"]


def test_every_row_of_the_paper_has_a_recipe() -> None:
    found = set()
    for recipe in RECIPES:
        settled = config.read(str(recipe))
        assert settled.train.epochs == (1000 if "dff" in recipe.name else 100)
        # Hinton's code learns batch by batch, as the pipeline does; the paper calls all on one node sequential.
        how = "Sequential" if "hinton" in recipe.name else paper.implementation_of(settled)
        found |= {(settled.data.name, paper.model_of(settled, method), how) for method in settled.methods}
    assert found == {(row.data, row.model, row.implementation) for row in paper.ROWS}


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        ([], "RandomNEG-Goodness"),
        (["train.epochs=10", "train.chapters=10", "data.mean=0.5", "schedule.threads=2"], "RandomNEG-Goodness"),
        (["train.epochs=10", "train.chapters=5"], None),
        (["negatives.name=adaptive", "negatives.scores=goodness", "negatives.lag=100"], None),
        (["negatives.name=adaptive", "negatives.scores=goodness"], "AdaptiveNEG-Goodness"),
        (["negatives.name=adaptive"], "AdaptiveNEG by softmax-Goodness"),
        (["train.batch_size=128"], None),
        (["train.batch_size=128", "train.chapters=1", "schedule.name=single-layer"], None),
        (["data.name=mnist", "train.batch_size=60000", "train.chapters=1", "schedule.name=single-layer"], None),
        (DFF, "DFF"),
        ([*DFF, "train.epochs=100", "schedule.name=sequential", "schedule.threads=2"], "DFF"),
        ([*DFF, "data.name=hdf5"], None),
        ([*DFF, "data.label_value=1.0"], None),
        ([*DFF, "negatives.name=random"], None),
        ([*DFF, "train.chapters=10"], None),
        ([*DFF, "schedule.name=pipeline"], None),
        (["schedule.name=pipeline"], None),
        (["schedule.name=federated", "shards.count=2"], None),
        (["schedule.name=federated"], "RandomNEG-Goodness"),
        (["negatives.resample=batch"], None),
        (["data.label=append"], None),
        (["optimizer.learning_rate=0.001"], None),
        (["head.optimizer.name=sgd"], None),
        (["preset="], None),
        (["preset=hinton"], None),
        ([*HINTON, "negatives.resample=batch"], "Hinton's MATLAB, goodness"),
        (HINTON, None),
    ],
)
def test_models(settings: list[str], model: str | None) -> None:
    assert paper.model_of(config.parse("", "test", [*PAPER, *settings]), "goodness") == model


def test_models_by_method() -> None:
    settled = config.parse("", "test", [*PAPER, "rule.name=local-softmax"])
    assert paper.model_of(settled, "last-layer") == "Performance-Optimized, last layer"
    assert paper.model_of(settled, "all-layers") == "Performance-Optimized, all layers"
    assert paper.model_of(config.parse("", "test", PAPER), "softmax") == "RandomNEG-Softmax"


@pytest.mark.parametrize("rule", RULES.names)
def test_rules_that_the_paper_has_not_are_not_compared_with_it(rule: str) -> None:
    settled = config.parse("", "test", [*PAPER, f"rule.name={rule}"])
    models = {paper.model_of(settled, method) for method in settled.methods}
    assert (models == {None}) == (rule not in ("goodness", "local-softmax"))


def test_presets_that_are_not_the_paper_s_are_not_compared_with_it() -> None:
    mono = config.parse("", "test", ["preset=mono-forward", "data.name=mnist", "train.chapters=0"])
    assert paper.model_of(mono, "last-layer") is None


def make(directory: Path, epochs: int, *settings: str) -> Path:
    """Return a run directory with `epochs` epochs done."""
    directory.mkdir()
    settled = config.parse("", "test", ["data.name=mnist", *settings])
    (directory / "config.toml").write_text(config.dump(settled))
    facts = {"processor": "Cray-1", "cores": 1, "ranks": 2, "commit": "abc"}
    (directory / "environment.json").write_text(json.dumps(facts))
    records = [
        {"epoch": e + 1, "seconds": 2.0, "accuracy": {"softmax": 90.0 + e}, "ranks": [{}]} for e in range(epochs)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return directory


def test_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["train.epochs=3"]
    faithful = make(tmp_path / "a", 3, "preset=paper", "train.chapters=3", "schedule.name=all-layers", *short)
    own = make(tmp_path / "mine", 3, "preset=hinton", *short)
    (row,) = rows_of([result_of(faithful)])
    assert row["model"] == "RandomNEG-Softmax" and row["paper"] == 98.33 and row["seconds"] == 6.0
    assert row["difference"] == pytest.approx(92 - 98.33) and row["machine"] == "Cray-1, 1 cores"
    (row,) = rows_of([result_of(own)])
    assert row["model"] == "mine, softmax" and row["paper"] is None and row["difference"] is None
    table([str(own), str(faithful)], as_json=True, as_markdown=False)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in found] == ["RandomNEG-Softmax", "mine, softmax"]  # the paper's rows first
    table([str(own)], as_json=False, as_markdown=True)
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == "| data | model | implementation | epochs | seeds | test % | seconds | ranks | machine | commit |"
    )
    assert lines[1].startswith("| --- |") and "| mine, softmax | Pipeline | 3 | 1: 0 | 92.00 | 6.00 |" in lines[2]


def measured(directory: Path, test: float, validation: float) -> Path:
    """Let the run at `directory` have ended with these accuracies, in percent by softmax."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    lines[-1] |= {"accuracy": {"softmax": test}, "validation": {"softmax": validation}}
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


def test_means_over_seeds_and_the_best_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of runs that differ in nothing else that counts; what is best on the test samples is not the best."""
    settings = ["train.epochs=3", "preset=paper", "train.chapters=3", "schedule.name=all-layers", "data.validation=0.1"]
    runs = {
        "x-1": (92.0, 51.0, ["seed=1"]),
        "x-2": (94.0, 54.0, ["seed=2", "schedule.threads=2"]),
        "x-3": (96.0, 52.0, ["seed=3", "optimizer.learning_rate=0.003"]),
        "x-4": (98.0, 50.0, ["seed=3", "optimizer.learning_rate=0.1", "network.layers=[5,5]"]),
    }
    names = [
        str(measured(make(tmp_path / name, 3, *settings, *more), test, validation))
        for name, (test, validation, more) in runs.items()
    ]
    table(names, as_json=True, as_markdown=False)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in found] == ["x, softmax", "x-3, softmax", "x-4, softmax"]
    assert [row["seeds"] for row in found] == [[1, 2], [3], [3]] and found[0]["runs"] == names[:2]
    assert found[0]["test"] == {"mean": 93.0, "deviation": pytest.approx(2**0.5), "values": [92.0, 94.0]}
    assert found[0]["validation"] == {"mean": 52.5, "deviation": pytest.approx(4.5**0.5), "values": [51.0, 54.0]}
    assert [row["test"]["deviation"] for row in found[1:]] == [None, None]
    assert [row["best"] for row in found] == [True, False, False]
    assert [row["settings"]["optimizer.learning_rate"] for row in found] == [0.01, 0.003, 0.1]
    table(names, as_json=False, as_markdown=True)
    head, _, first, second, _ = capsys.readouterr().out.splitlines()
    assert "| seeds | validation % | test % | best |" in head and "| network.layers |" in head
    assert "| 0.01 |" in first and "| 2: 1, 2 | 52.50 ± 2.12 | 93.00 ± 1.41 | on validation |" in first
    assert "| 0.003 |" in second and "| 1: 3 | 52.00 | 96.00 |  |" in second
    table(names[:2], as_json=False, as_markdown=False)
    assert "best" not in capsys.readouterr().out  # there is nothing to choose


def test_runs_of_the_paper_keep_its_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["train.epochs=3", "preset=paper", "train.chapters=3", "schedule.name=all-layers"]
    runs = [make(tmp_path / f"run-{seed}", 3, *settings, f"seed={seed}") for seed in (0, 1)]
    other = make(tmp_path / "other", 3, *settings, "rule.name=local-softmax")
    records = (other / "metrics.jsonl").read_text().replace("softmax", "last-layer")
    (other / "metrics.jsonl").write_text(records)
    table([str(run) for run in (other, *runs)], as_json=False, as_markdown=True)
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert "rule.name" not in head  # which the model tells
    assert "| RandomNEG-Softmax | All-Layers | 3 | 2: 0, 1 | 92.00 ± 0.00 | 98.33 | -6.33 |" in rows[0]
    assert "| Performance-Optimized, last layer | All-Layers | 3 | 1: 0 | 92.00 | 98.30 |" in rows[1]


def test_runs_of_one_seed_stay_apart(tmp_path: Path) -> None:
    """Those on other ranks, to compare their times, and those done again."""
    runs = [make(tmp_path / name, 1, "train.epochs=1", f"seed={name[0]}") for name in ("0a", "0b", "1a", "1b")]
    for run in runs[1::2]:
        facts = json.loads((run / "environment.json").read_text()) | {"ranks": 1}
        (run / "environment.json").write_text(json.dumps(facts))
    rows = rows_of([result_of(run) for run in runs])
    assert [(row["ranks"], row["seeds"]) for row in rows] == [(2, [0, 1]), (1, [0, 1])]
    rows = rows_of([result_of(run) for run in (*runs, make(tmp_path / "again", 1, "train.epochs=1", "seed=0"))])
    assert sorted((row["ranks"], row["seeds"]) for row in rows) == [(1, [0, 1]), (2, [0]), (2, [0]), (2, [1])]


def test_own_data_in_two_places_are_two_sets(tmp_path: Path) -> None:
    for name, apart in (("hdf5", True), ("mnist", False)):
        runs = [
            make(tmp_path / f"{name}{n}", 1, "train.epochs=1", f"seed={n}", f"data.name={name}", f"data.path=/{n}")
            for n in (0, 1)
        ]
        rows = rows_of([result_of(run) for run in runs])
        assert len(rows) == 1 + apart and ("data.path" in rows[0]["settings"]) == apart


def test_many_settings_are_a_table_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make(tmp_path / preset, 1, "train.epochs=1", f"preset={preset}") for preset in ("hinton", "mono-forward")]
    names = [str(run) for run in runs]
    table(names, as_json=False, as_markdown=True)
    first, _, settings = capsys.readouterr().out.partition("\n\n")
    assert "rule.name" not in first and settings.startswith("| setting | hinton | mono-forward |\n| --- |")
    assert "| rule.name | goodness | local-softmax |" in settings and "| seed |" not in settings
    table(names, as_json=False, as_markdown=False)
    assert ["rule.name", "goodness", "local-softmax"] in [row.split() for row in capsys.readouterr().out.splitlines()]
    more = [make(tmp_path / f"{n}", 1, "train.epochs=1", f"optimizer.learning_rate=0.{n}") for n in range(1, 6)]
    table([*names, *map(str, more)], as_json=False, as_markdown=True)
    output = capsys.readouterr()
    assert "rule.name" not in output.out and "settings differ between these runs, too many for columns" in output.err


def test_words_for_what_differs() -> None:
    """The same for runs that differ in the seed only; what only one rule has does not differ."""
    common = ["data.name=mnist", "train.epochs=3"]
    more = [[], ["seed=1", "data.path=/there", "schedule.threads=2"], ["rule.name=swish", "network.layers=[5]"]]
    one, again, other = (config.parse("", "test", [*common, *settings]) for settings in more)
    goodness, swish = labels([one, again, other])[1:]
    assert labels([one, again, other])[0] == goodness and goodness.startswith("network.layers [1000, 1000, 1000], rule")
    assert "network.layers [5], rule.name swish" in swish and "rule.goodness" not in goodness + swish
    assert labels([one, again]) == ["", ""] and labels([one, again], ("schedule.",)) == ["seed 0", "seed 1"]


def test_settings_that_are_not_the_preset_s() -> None:
    given = ["preset=paper", "rule.name=swish", "optimizer.learning_rate=0.5", "data.name=mnist", "data.path=/there"]
    assert changed(config.parse("", "test", given)) == {
        "data.name": "mnist", "rule.name": "swish", "optimizer.learning_rate": 0.5,
    }  # fmt: skip
    assert changed(config.parse("", "test", [])) == {}


def test_runs_that_are_not_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are left out; with nothing else it is an error."""
    running, done = make(tmp_path / "run", 2, "train.epochs=5"), make(tmp_path / "done", 5, "train.epochs=5")
    with pytest.raises(UserError, match="2 of 5 epochs are done; expected a finished run"):
        table([str(running)], as_json=True, as_markdown=False)
    with pytest.raises(UserError, match="no such run directory"):
        result_of(tmp_path / "none")
    table([str(running), str(done), str(tmp_path / "none")], as_json=True, as_markdown=False)
    output = capsys.readouterr()
    assert [row["model"] for row in json.loads(output.out)] == ["done, softmax"]
    assert [line.split(":")[1] for line in output.err.splitlines()] == [" left out"] * 2
    table([str(running), str(done)], as_json=False, as_markdown=True, unfinished=True)
    shown, told = capsys.readouterr()
    assert "| 2 of 5 | 1: 0 | 91.00 |" in shown and "| 5 | 1: 0 | 94.00 |" in shown and not told


def test_names_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make(tmp_path / "run[a=1] [ :key:", 1, "train.epochs=1")
    table([str(directory)], as_json=False, as_markdown=False)
    assert "run[a=1] [ :key:, softmax" in capsys.readouterr().out
    monkeypatch.chdir(directory)
    assert rows_of([result_of(Path("."))])[0]["model"] == "run[a=1] [ :key:, softmax"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("environment.json", b'{"ranks": ', "environment.json: cannot be read"),
        ("environment.json", b"[]", "environment.json: expected a JSON object"),
        ("environment.json", b'{"continued": [1]}', "environment.json: expected a JSON object"),
        ("environment.json", b'{"continued": 3}', "environment.json: expected a JSON object"),
        ("metrics.jsonl", b"\xff\xfe\n", "0 of 2 epochs are done"),
        ("metrics.jsonl", b"{}\n", "0 of 2 epochs are done"),
    ],
)
def test_damaged_runs(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    directory = make(tmp_path / "run", 2, "train.epochs=2")
    (directory / name).write_bytes(content)
    with pytest.raises(UserError, match=expected):
        result_of(directory)


def test_a_run_that_went_on_elsewhere(tmp_path: Path) -> None:
    directory = make(tmp_path / "run", 2, "train.epochs=2")
    facts = json.loads((directory / "environment.json").read_text()) | {"continued": [{"ranks": 4}]}
    (directory / "environment.json").write_text(json.dumps(facts))
    assert result_of(directory).where["ranks"] == "2, then 4"
