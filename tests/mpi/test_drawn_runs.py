"""Pictures and reports of runs that were trained, as the commands make them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ffmpi.cli import app
from ffmpi.commands import report
from ffmpi.commands.plot import features_of
from ffmpi.commands.samples import ask
from ffmpi.errors import UserError
from ffmpi.run.history import histories

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.mpi

SETTINGS = {
    "goodness": ["network.layers=[48,32,32]", "train.epochs=12"],
    "softmax": ["network.layers=[48,32]", "train.epochs=2", "rule.name=local-softmax"],
}


@pytest.fixture
def runs(train_all) -> dict[str, Path]:
    place = train_all(2, SETTINGS)
    return {name: place(name) for name in SETTINGS}


def test_features_are_those_of_the_network(runs: dict[str, Path], tmp_path: Path) -> None:
    samples = ask(str(runs["goodness"]), most=100)
    assert (len(samples.images), samples.of) == (100, 360)
    found = features_of(samples, 12)
    assert found.fields is not None
    assert found.fields.shape == (12, 8, 8)
    assert (found.chosen[0], found.chosen[-1], found.units) == (0, 47, 48)
    assert found.boundaries == [48, 32, 32]
    assert (found.right[:, 1:].sum(axis=1) > found.wrong[:, 1:].sum(axis=1)).mean() > 0.6
    assert features_of(ask(str(runs["softmax"]), most=50), 5).words[0] == "logit"
    for name, run in runs.items():
        out = tmp_path / f"{name}.svg"
        outcome = CliRunner().invoke(app, ["plot", "features", str(run), "-o", str(out), "--samples", "50"])
        assert outcome.exit_code == 0, outcome.output
        assert out.read_bytes().startswith(b"<?xml")


def test_only_what_leaves_the_network_alone_may_be_set(runs: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"network\.layers is the network's"):
        ask(str(runs["goodness"]), settings=["network.layers=[3]"])
    with pytest.raises(UserError, match=r"data\.validation = 0"):
        ask(str(runs["goodness"]), "validation")


def test_a_report_has_what_the_networks_say_and_who_owns_what(runs: dict[str, Path]) -> None:
    page = report.page_of(histories(map(str, runs.values())), [])
    for section, run in zip(page.sections, histories(map(str, runs.values())), strict=True):
        assert section.missing == []
        assert len(section.pictures) == 1
        tables = {table.title: table for table in section.tables}
        ranks = tables["Ranks, all chapters together"]
        assert [row.name.partition(", ")[0] for row in ranks.rows] == ["rank 0", "rank 1"]
        assert all("layer" in row.name for row in ranks.rows)
        method, last = run.config.methods[0], run.chapters[-1].accuracy
        layers = tables["Layers"]
        assert [row.cells[0].text for row in layers.rows] == [str(units) for units in run.config.network.layers]
        if method == "last-layer":
            assert layers.rows[-1].cells[1].text == f"{last[method]:.2f} %"
        confusion = tables[f"Confusion by {method}"]
        assert [len(row.cells) for row in confusion.rows] == [11] * 10
        assert sum(int(cell.text) for row in confusion.rows for cell in row.cells[:10] if cell.text != "·") == 360
        assert confusion.note.endswith(f"{last[method]:.2f} % of 360 test samples are right.")
