"""Pictures: what is drawn is what runs have measured, and each is a file of its kind."""

from __future__ import annotations

import builtins
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ffmpi.cli import app
from ffmpi.errors import UserError
from ffmpi.plots import curves, style
from ffmpi.run.history import histories

matplotlib = pytest.importorskip("matplotlib")


def chapter(epoch: int, layers: int = 2, **more: Any) -> dict[str, Any]:
    """Return a line of metrics whose numbers tell epoch and layer."""
    own = [
        {"loss": 10 * k + epoch, "active": 1, "positive_goodness": 300 + epoch, "negative_goodness": 200 - epoch,
         "pairwise_accuracy": 90 + epoch} for k in range(layers)
    ]  # fmt: skip
    ranks = [{"seconds": 1.0, "computing": 0.5, "waiting": 0.25, "flop": 1e9, "gflops": 2.0}]
    whole = {"epoch": epoch, "samples": 100, "seconds": 1.0, "samples_per_second": 100.0, "layers": own}
    return whole | {"accuracy": {"softmax": 80.0 + epoch}, "ranks": ranks} | more


def left(path: Path, records: list[dict[str, Any]], settings: str = "", seed: int = 0) -> Path:
    """Make a run directory as a run leaves it, with these metrics."""
    path.mkdir()
    config = f'seed = {seed}\n{settings}\n[data]\nname = "digits"\n[network]\nlayers = [32, 32]\n[train]\nepochs = 3\n'
    (path / "config.toml").write_text(config)
    (path / "environment.json").write_text(json.dumps({"host": "here", "ranks": 1}))
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def drawn(draw: style.Draw) -> Any:
    """Return the figure that is drawn, as its file has it."""
    found = []

    def keep(figure: Any) -> None:
        draw(figure)
        found.append(figure)

    style.rendered(keep, "png")
    return found[0]


def test_curves_are_means_over_seeds_at_the_epochs_that_all_have(tmp_path: Path) -> None:
    one = left(tmp_path / "one", [chapter(1), chapter(2), chapter(3)])
    other = left(tmp_path / "other", [chapter(1, accuracy={"softmax": 83.0}), chapter(2, accuracy={})], seed=1)
    (found,) = curves.curves_of(histories([str(one), str(other)]))
    assert found.seeds == 2
    assert found.layers[1]["loss"] == curves.Curve([1, 2], [11, 12], [0, 0])
    accuracy = found.accuracy["test", "softmax"]
    assert (accuracy.epochs, accuracy.means) == ([1], [82.0])
    assert accuracy.deviations == [pytest.approx(2**0.5)]


def test_another_setting_is_another_line_and_a_number_that_is_none_is_left_out(tmp_path: Path) -> None:
    one = left(tmp_path / "one", [chapter(1), chapter(2)])
    far = chapter(1)
    far["layers"][0]["loss"] = float("nan")
    other = left(tmp_path / "other", [far, chapter(2)], "negatives = {name = 'fixed'}")
    found = curves.curves_of(histories([str(one), str(other)]))
    assert [each.name for each in found] == ["negatives.name random", "negatives.name fixed"]
    assert found[1].layers[0]["loss"].epochs == [2]
    figure = drawn(lambda figure: curves.draw(figure, found))
    losses, goodness, pairs, accuracy = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "loss of a row", "goodness", "pairs told apart (%)", "test accuracy (%)",
    ]  # fmt: skip
    assert [list(line.get_ydata()) for line in losses.lines] == [[1, 2], [2], [11, 12], [11, 12]]
    assert len(goodness.lines) == 8
    assert len(accuracy.lines) == 2
    assert pairs.get_shared_x_axes().joined(pairs, accuracy)


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_command_writes_what_the_name_says_and_twice_the_same(tmp_path: Path, suffix: str, begins: bytes) -> None:
    run = left(tmp_path / "$run_1$ <b>", [chapter(1), chapter(2)])  # no formula, no markup
    found = []
    for name in ("first", "second"):
        out = tmp_path / f"{name}.{suffix}"
        outcome = CliRunner().invoke(app, ["plot", "curves", str(run), "-o", str(out)], catch_exceptions=False)
        assert outcome.exit_code == 0
        found.append(out.read_bytes())
    assert found[0].startswith(begins)
    assert found[0] == found[1]
    if suffix == "svg":
        width = ElementTree.fromstring(found[0]).attrib["width"]
        assert float(width.removesuffix("pt")) == pytest.approx(72 * style.COLUMN)


def test_many_layers_are_drawn_as_a_few_of_them(tmp_path: Path) -> None:
    run = left(tmp_path / "run", [chapter(1, 64), chapter(2, 64)])
    text = (run / "config.toml").read_text().replace("[32, 32]", str([16] * 64))
    (run / "config.toml").write_text(text)
    found = curves.curves_of(histories([str(run)]))
    losses = drawn(lambda figure: curves.draw(figure, found)).axes[0]
    words = [each.get_text() for each in losses.get_legend().get_texts()]
    assert (words[0], words[-1], len(words)) == ("layer 1", "layer 64", 6)


def test_what_cannot_be_drawn_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, empty = left(tmp_path / "run", [chapter(1)]), left(tmp_path / "empty", [])
    damaged = left(tmp_path / "damaged", [chapter(1, layers=0) | {"layers": [{"loss": "many"}]}])
    for place, words in (
        (empty, "no chapter is done"), (tmp_path / "none", "no such run directory"),
        (damaged, "damaged/metrics.jsonl: Expected `float`"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            histories([str(place)])
    for out, words in (("a.gif", "expected a picture's name"), (str(tmp_path / "no" / "a.png"), "cannot be written")):
        with pytest.raises(UserError, match=words):
            CliRunner().invoke(app, ["plot", "curves", str(run), "-o", out], catch_exceptions=False)
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'ffmpi\[plot\]'"):
        CliRunner().invoke(app, ["plot", "curves", str(run), "-o", "a.png"], catch_exceptions=False)
