"""Runs beside the paper's tables: which row a recipe belongs to, and what a run directory says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ffmpi import config
from ffmpi.commands import paper
from ffmpi.commands.table import rows_of, table
from ffmpi.config.registries import RULES
from ffmpi.errors import UserError

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
    (row,) = rows_of(faithful)
    assert row["model"] == "RandomNEG-Softmax" and row["paper"] == 98.33 and row["seconds"] == 6.0
    assert row["difference"] == pytest.approx(92 - 98.33) and row["machine"] == "Cray-1, 1 cores"
    (row,) = rows_of(own)
    assert row["model"] == "mine, softmax" and row["paper"] is None and row["difference"] is None
    table([str(own), str(faithful)], as_json=True, as_markdown=False)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in found] == ["RandomNEG-Softmax", "mine, softmax"]  # the paper's rows first
    table([str(own)], as_json=False, as_markdown=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("| --- |") and "| mine, softmax | Pipeline |  | 3 | 0 | test | 92.00 |" in lines[2]


def test_means_of_several_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of runs that differ in nothing else that counts, on each split; those of the paper keep their names."""
    settings = ["train.epochs=3", "preset=paper", "train.chapters=3", "schedule.name=all-layers"]
    names = {
        "x-1": ["seed=1"],
        "x-2": ["seed=2", "schedule.threads=2"],
        "x-3": ["seed=3", "optimizer.learning_rate=0.3"],
    }
    for index, (name, more) in enumerate(names.items()):
        directory = make(tmp_path / name, 3, *settings, *more)
        lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        lines[-1]["accuracy"]["softmax"] += 2 * index
        lines[-1]["validation"] = {"softmax": 50.0}
        (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table([str(tmp_path / name) for name in names], as_json=True, as_markdown=False)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    whole = [(row["model"], row["split"], row["seed"], row["accuracy"], row["deviation"]) for row in found]
    model = "RandomNEG-Softmax"
    assert [row for row in whole if row[1] == "test"] == [
        (model, "test", 1, 92.0, None),
        (model, "test", 2, 94.0, None),
        (model, "test", [1, 2], 93.0, pytest.approx(2**0.5)),
        ("x-3, softmax", "test", 3, 96.0, None),
    ]
    assert [row[1:] for row in whole if row[1] == "validation" and row[0] == model][-1] == (
        "validation", [1, 2], 50.0, 0.0,
    )  # fmt: skip
    assert all(row["paper"] == (98.33 if (row["model"], row["split"]) == (model, "test") else None) for row in found)
    table([str(tmp_path / name) for name in names], as_json=False, as_markdown=True)
    assert "| 3 | mean of 2 | test | 93.00 | 1.41 | 98.33 | -5.33 |" in capsys.readouterr().out


def test_runs_that_are_not_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are left out; with nothing else it is an error."""
    running, done = make(tmp_path / "run", 2, "train.epochs=5"), make(tmp_path / "done", 5, "train.epochs=5")
    with pytest.raises(UserError, match="2 of 5 epochs are done; expected a finished run"):
        table([str(running)], as_json=True, as_markdown=False)
    with pytest.raises(UserError, match="no such run directory"):
        rows_of(tmp_path / "none")
    table([str(running), str(done), str(tmp_path / "none")], as_json=True, as_markdown=False)
    output = capsys.readouterr()
    assert [row["model"] for row in json.loads(output.out)] == ["done, softmax"]
    assert [line.split(":")[1] for line in output.err.splitlines()] == [" left out"] * 2


def test_names_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make(tmp_path / "run[a=1] [ :key:", 1, "train.epochs=1")
    table([str(directory)], as_json=False, as_markdown=False)
    assert "run[a=1] [ :key:, softmax" in capsys.readouterr().out
    monkeypatch.chdir(directory)
    assert rows_of(Path("."))[0]["model"] == "run[a=1] [ :key:, softmax"


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
        rows_of(directory)


def test_a_run_that_went_on_elsewhere(tmp_path: Path) -> None:
    directory = make(tmp_path / "run", 2, "train.epochs=2")
    facts = json.loads((directory / "environment.json").read_text()) | {"continued": [{"ranks": 4}]}
    (directory / "environment.json").write_text(json.dumps(facts))
    assert rows_of(directory)[0]["ranks"] == "2, then 4"
