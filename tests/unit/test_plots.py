"""Pictures: what is drawn is what runs have measured, and each is a file of its kind."""

from __future__ import annotations

import builtins
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ffmpi.cli import app
from ffmpi.commands import plot as plot_command
from ffmpi.errors import UserError
from ffmpi.plots import curves, features, roofline, scaling, style
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


def test_speed_up_is_against_one_rank_of_an_equal_algorithm(tmp_path: Path) -> None:
    def run(name: str, ranks: int, rate: float, schedule: str, seed: int = 0) -> str:
        one = chapter(1)["ranks"][0]
        # One chapter that was disturbed does not count.
        rates = [rate, rate / 50, rate]
        lines = [chapter(k + 1, ranks=[one] * ranks, samples_per_second=each) for k, each in enumerate(rates)]
        return str(left(tmp_path / name, lines, f"schedule = {{name = '{schedule}'}}", seed))

    places = [
        run("a", 1, 100, "sequential"), run("b", 2, 190, "all-layers"), run("c", 2, 170, "all-layers", 1),
        run("d", 4, 300, "all-layers"), run("e", 1, 50, "pipeline"), run("f", 2, 75, "pipeline"),
    ]  # fmt: skip
    found = scaling.speeds_of(histories(places))
    assert [each.name for each in found] == ["all-layers", "pipeline"]
    assert found[0].measured == {2: [pytest.approx(1.9), pytest.approx(1.7)], 4: [pytest.approx(3)]}
    assert found[1].measured == {1: [1], 2: [1.5]}
    (axes,) = drawn(lambda figure: scaling.draw(figure, found)).axes
    assert [list(line.get_ydata()) for line in axes.lines if len(line.get_ydata()) == 2][1] == pytest.approx([1.8, 3])
    assert [float(tick) for tick in axes.get_xticks()] == [1, 2, 4]
    alone = scaling.speeds_of(histories(places[1:4]))  # without the run on one rank
    assert alone[0].least == 2
    assert alone[0].measured[4] == [pytest.approx(2 * 300 / 180)]
    with pytest.raises(UserError, match="on several"):
        scaling.speeds_of(histories(places[:1]))


def test_fields_are_pictures_of_the_weights_without_those_of_the_label() -> None:
    weights = np.arange(24, dtype=np.float32).reshape(12, 2)  # inputs, units
    grey = features.fields_of(weights, (2, 5), 3)  # and two inputs beside the pixels
    assert grey is not None
    assert grey[1].tolist() == [[0, 0, 0, 7, 9], [11, 13, 15, 17, 19]]
    first = features.fields_of(weights, (3, 2, 2), 0)
    last = features.fields_of(np.arange(60, dtype=np.float32).reshape(30, 2), (5, 2, 3), 0)
    assert first is not None and last is not None
    assert first[0, 0, 1].tolist() == [2, 10, 18]
    assert last[0, 0, 1].tolist() == [6, 8, 10]
    assert features.fields_of(weights, (10,), 0) is None


@pytest.mark.parametrize("width", [style.COLUMN, 7.0])
def test_histograms_hold_all_rows_that_are_numbers(width: float) -> None:
    right = np.random.default_rng(1).normal(3, 1, (500, 2)).astype(np.float32)
    right[:3, 1] = np.inf
    fields = np.zeros((5, 4, 4), np.float32)
    found = features.Features(
        fields, np.arange(5), 9, right, right - 2, [3.5, None], ("goodness", "positives", "negatives"), "500 samples"
    )
    figure = drawn(lambda figure: (figure.set_size_inches(width, 3), features.draw(figure, found)))
    field, one, other = figure.axes
    assert "5 of 9 units" in field.get_title(loc="left")
    assert [text.get_text() for text in one.get_legend().get_texts()] == ["positives", "negatives", "threshold"]
    assert len(one.lines) == 1 and len(other.lines) == 0
    for patch in (*one.patches, *other.patches):
        heights = patch.get_xy()[:, 1]
        assert 97 <= heights[1 : len(heights) // 2 + 1 : 2].sum() <= 100.01  # percent; the tails are left out


MEASURED = {
    "machine": {"processor": "a processor"}, "threads": 1, "peak_gflops": 50.0, "memory_gbs": 10.0,
    "shapes": [{
        "gflop": {"forward": 1.0, "step": 2.0, "tenth": 1.1},
        "megabytes": {"forward": 100.0, "step": 50.0, "tenth": 100.0},
        "contenders": {who: {work: {"gflops": 20.0} for work in roofline.WORKS} for who in ("ffmpi", "numpy")},
    }],
}  # fmt: skip


def test_a_roofline_is_drawn_of_what_bench_kernels_has_printed(tmp_path: Path) -> None:
    file = tmp_path / "kernels.json"
    file.write_text(json.dumps(MEASURED))
    (axes,) = drawn(lambda figure: roofline.draw(figure, roofline.read(str(file)))).axes
    roof, *points = axes.lines
    assert list(roof.get_xdata())[1] == 5  # where both ceilings meet
    assert [list(line.get_xdata()) for line in points[:3]] == [[10], [40], [11]]
    for damage, words in (
        ({"threads": 0}, "Expected `int` >= 1"), ({"shapes": []}, "length >= 1"), ({"peak_gflops": "fast"}, "`float`"),
        ({"shapes": [MEASURED["shapes"][0] | {"gflop": {"forward": 1.0}}]}, "expected forward, step, tenth"),
    ):  # fmt: skip
        file.write_text(json.dumps(MEASURED | damage))
        with pytest.raises(UserError, match=words):
            CliRunner().invoke(app, ["plot", "roofline", str(file), "-o", "a.png"], catch_exceptions=False)


def test_of_many_configurations_the_last_layer_is_drawn_under_names_that_fit(tmp_path: Path) -> None:
    for number in range(6):
        settings = (
            f"optimizer = {{learning_rate = 0.00{number + 1}}}\nnegatives = {{name = 'random', resample = 'batch'}}"
        )
        left(tmp_path / f"{number}", [chapter(1), chapter(2)], settings if number else settings.split("\n")[0])
    figure = drawn(
        lambda figure: curves.draw(figure, curves.curves_of(histories(map(str, sorted(tmp_path.iterdir())))))
    )
    losses = figure.axes[0]
    assert [list(line.get_ydata()) for line in losses.lines] == [[11, 12]] * 6
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["last layer"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[5] == "resample batch, learning_rate 0.006"
    assert len(set(names)) == 6


def test_names_are_cut_in_the_middle_and_stay_apart_while_they_can() -> None:
    def names(*whole: str, end: str = "") -> list[str]:
        found: list[list[str]] = []
        drawn(lambda figure: found.append(style.names(whole, figure, [end] * len(whole))))
        return found[0]

    assert names("head.rate 1", "optimizer.rate 1") == ["head.rate 1", "optimizer.rate 1"]  # there is room
    long = "x" * 60
    assert names(f"head.rate 1, {long}", f"optimizer.rate 1, {long}")[0].startswith("head.rate 1, xx")
    (cut,) = names(long, end=", 3 seeds")
    assert cut.endswith("xxx, 3 seeds") and "..." in cut and len(cut) <= 52


def test_plans_stand_beside_the_runs_of_their_configuration(tmp_path: Path) -> None:
    one, rates = chapter(1)["ranks"][0], {1: 100.0, 2: 150.0}
    runs = [
        left(tmp_path / f"on-{ranks}", [chapter(1, ranks=[one] * ranks, samples_per_second=rate)])
        for ranks, rate in rates.items()
    ]
    for run in runs:  # a run leaves no setting to the data
        file = run / "config.toml"
        settled = "[data]\nlabel = 'append'\nlabel_value = 1.0\nstandardise = 'fixed'\n"
        file.write_text(file.read_text().replace("[data]\n", settled))
    measured = scaling.speeds_of(histories(map(str, runs)))
    same = plot_command.planned_speeds(str(runs[0] / "config.toml"), [], "epyc-avx2", 0, [1, 2])
    other = plot_command.planned_speeds(str(runs[0] / "config.toml"), ["train.batch_size=20"], "epyc-avx2", 0, [1, 2])
    found = scaling.together(measured, [other, same])
    assert [sorted(each.measured) for each in found] == [[1, 2], []]
    assert found[0].planned == same.planned
    assert 1 == same.planned[1] != same.planned[2]
    (axes,) = drawn(lambda figure: scaling.draw(figure, found)).axes
    assert "planned for" in axes.get_xlabel()
    with pytest.raises(UserError, match="expected one rank"):
        plot_command.planned_speeds(str(runs[0] / "config.toml"), ["schedule.name=sequential"], "epyc-avx2", 0, [1, 2])
