"""How runs have learnt: loss, goodness and accuracy over epochs, by layer and whole, with a band over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..run.history import Chapter, History, by_configuration, names_of
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Layers that are drawn, of one configuration and of several; of more than a few only the last.
_MOST_LAYERS, _MOST_OF_SEVERAL, _FEW = 6, 3, 4
#: Where greatest and least are further apart an axis is logarithmic.
_WIDE = 30.0
#: What of a chapter's numbers of a layer is its accuracy, with the words for it.
_ACCURACIES = {
    "pairwise_accuracy": "pairs told apart (%)",
    "training_accuracy": "training accuracy (%)",
}
_SPLIT_DASHES = {"test": "solid", "validation": (0, (4, 1.5))}


@dataclass(frozen=True)
class Curve:
    """A measure over epochs, in the mean over seeds; `deviations` are standard ones, all 0 of one seed."""

    epochs: list[int]
    means: list[float]
    deviations: list[float]


@dataclass(frozen=True)
class Curves:
    """What the runs of one configuration have measured, of each only what all of them have.

    Attributes
    ----------
    layers : by layer and name, such as ``loss``
    accuracy : by split and method, in percent
    """

    name: str
    seeds: int
    layers: list[dict[str, Curve]]
    accuracy: dict[tuple[str, str], Curve]


def curves_of(runs: Sequence[History]) -> list[Curves]:
    """Return the curves of each configuration among `runs`."""
    groups = by_configuration(runs)
    return [_curves(name, group) for name, group in zip(names_of(groups), groups, strict=True)]


def _curves(name: str, group: Sequence[History]) -> Curves:
    count = len(group[0].config.network.layers)
    last = [run.chapters[-1] for run in group]
    layers: list[dict[str, Curve]] = []
    for index in range(count):
        names = [key for key in (last[0].layers[index] if index < len(last[0].layers) else {}) if key != "active"]
        layers.append({key: _curve(group, _of_layer(index, key)) for key in names})
    accuracy = {}
    for split in ("validation", "test"):
        for method in dict.fromkeys(name for one in group for each in one.chapters for name in each.accuracies(split)):
            accuracy[split, method] = _curve(group, _of_method(split, method))
    return Curves(name, len(group), layers, {key: curve for key, curve in accuracy.items() if curve.epochs})


def _of_layer(index: int, key: str) -> Callable[[Chapter], float | None]:
    return lambda chapter: chapter.layers[index].get(key) if index < len(chapter.layers) else None


def _of_method(split: str, method: str) -> Callable[[Chapter], float | None]:
    return lambda chapter: chapter.accuracies(split).get(method)


def _curve(group: Sequence[History], value_of: Callable[[Chapter], float | None]) -> Curve:
    """Return mean and deviation at the epochs at which all runs of a group have a finite value."""
    found = [{each.epoch: value_of(each) for each in run.chapters} for run in group]
    epochs, means, deviations = [], [], []
    for epoch in sorted(set.intersection(*map(set, found))):
        values = [one for each in found if (one := each[epoch]) is not None and math.isfinite(one)]
        if len(values) == len(group):
            epochs.append(epoch)
            means.append(statistics.fmean(values))
            deviations.append(statistics.stdev(values) if len(values) > 1 else 0.0)
    return Curve(epochs, means, deviations)


def draw(figure: Figure, curves: Sequence[Curves]) -> None:
    """Draw loss, goodness and accuracy of the layers, and accuracy of the network, in a panel each."""
    names = {name for each in curves for layer in each.layers for name in layer}
    panels: list[Callable[[Axes, Sequence[Curves]], None]] = [_losses]
    panels += [_goodness] if "positive_goodness" in names else []
    panels += [_own_accuracy(key, label) for key, label in _ACCURACIES.items() if key in names]
    if len(curves) == 1:
        panels += [_accuracy] if curves[0].accuracy else []
    else:
        lengths = {split: _longest(curves, split) for split in ("validation", "test")}
        panels += [_accuracy_on(split) for split, one in lengths.items() if one > 1 or 0 < one == max(lengths.values())]
    width = figure.get_size_inches()[0]
    columns = 2 if width >= 1.6 * style.COLUMN and len(panels) > 1 else 1
    rows = -(-len(panels) // columns)
    several, banded = len(curves) > 1, any(each.seeds > 1 for each in curves)
    figure.set_size_inches(width, 1.45 * rows + 0.35 + 0.15 * (len(curves) if several else 1))
    places = [axes for line in figure.subplots(rows, columns, squeeze=False, sharex=True) for axes in line]
    for axes, panel in zip(places, panels, strict=False):
        panel(axes, curves)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    for axes in places[max(0, len(panels) - columns) : len(panels)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("epoch (bands: ± standard deviation over seeds)" if banded else "epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    _head_line(figure, curves)


def _head_line(figure: Figure, curves: Sequence[Curves]) -> None:
    """Say above the panels what runs these are: of several, in which colour."""
    from matplotlib.lines import Line2D

    words = style.names(
        [each.name for each in curves], figure, [f", {each.seeds} seeds" if each.seeds > 1 else "" for each in curves]
    )
    if len(curves) == 1:
        figure.suptitle(words[0], fontsize=7.5)
        return
    handles = [Line2D([], [], **_of_run(index, 1)) for index in range(len(curves))]
    figure.legend(handles, words, loc="outside upper left")


def _of_run(index: int, points: int) -> dict[str, Any]:
    return style.line(index, points) | {"linestyle": "solid"}


def _losses(axes: Axes, curves: Sequence[Curves]) -> None:
    lines = _by_layer(axes, curves, "loss")
    axes.set_ylabel("loss of a row")
    _scale(axes, lines)


def _goodness(axes: Axes, curves: Sequence[Curves]) -> None:
    from matplotlib.lines import Line2D

    lines = [*_by_layer(axes, curves, "positive_goodness"), *_by_layer(axes, curves, "negative_goodness", fainter=True)]
    axes.set_ylabel("goodness")
    _scale(axes, lines)
    handles = [Line2D([], [], color="#555555", **_faint(faint)) for faint in (False, True)]
    _legend(axes, handles, ["positives", "negatives"])


def _own_accuracy(key: str, label: str) -> Callable[[Axes, Sequence[Curves]], None]:
    def panel(axes: Axes, curves: Sequence[Curves]) -> None:
        _by_layer(axes, curves, key)
        axes.set_ylabel(label)

    return panel


def _accuracy(axes: Axes, curves: Sequence[Curves]) -> None:
    """Draw the accuracy of one configuration's network by split and method."""
    axes.set_ylabel("accuracy (%)")
    methods = list(dict.fromkeys(method for _, method in curves[0].accuracy))
    for index, ((split, method), curve) in enumerate(curves[0].accuracy.items()):
        colour, dashes = style.COLOURS[methods.index(method)], _SPLIT_DASHES[split]
        look = style.line(index, len(curve.epochs)) | {"color": colour, "linestyle": dashes}
        _plot(axes, curve, look | {"label": f"{split}, {method}"})
    _legend(axes, *axes.get_legend_handles_labels())


def _accuracy_on(split: str) -> Callable[[Axes, Sequence[Curves]], None]:
    """Return what draws the accuracy of several configurations' networks on a split.

    Where some methods are measured as they learn those that are measured at the end only are left out.
    """

    def panel(axes: Axes, curves: Sequence[Curves]) -> None:
        from matplotlib.lines import Line2D

        axes.set_ylabel(f"{split} accuracy (%)")
        least = min(2, _longest(curves, split))
        found = [
            (index, method, curve)
            for index, each in enumerate(curves)
            for (where, method), curve in each.accuracy.items()
            if where == split and len(curve.epochs) >= least
        ]
        methods = list(dict.fromkeys(method for _, method, _ in found))
        for index, method, curve in found:
            dashes = style.DASHES[methods.index(method)]
            _plot(axes, curve, _of_run(index, len(curve.epochs)) | {"linestyle": dashes})
        handles = [Line2D([], [], color="#555555", linestyle=style.DASHES[index]) for index in range(len(methods))]
        _legend(axes, handles, methods)

    return panel


def _longest(curves: Sequence[Curves], split: str) -> int:
    """Return at how many epochs an accuracy on a split is known, at most."""
    return max(
        (len(curve.epochs) for each in curves for key, curve in each.accuracy.items() if key[0] == split), default=0
    )


def _by_layer(axes: Axes, curves: Sequence[Curves], key: str, fainter: bool = False) -> list[Curve]:
    """Draw a measure of each layer: colours tell layers of one configuration, of several dashes do."""
    from matplotlib.lines import Line2D

    several = len(curves) > 1
    count = max(len(each.layers) for each in curves)
    drawn = style.chosen(count, _MOST_OF_SEVERAL if several else _MOST_LAYERS) if len(curves) <= _FEW else [-1]
    shades, found, handles = style.shades(len(drawn)), [], []
    for place, layer in enumerate(drawn):
        look: dict[str, Any] = {"color": "#555555", "linestyle": style.DASHES[place]}
        for index, each in enumerate(curves):
            curve = each.layers[layer].get(key) if layer < len(each.layers) > 0 else None
            if curve is None or not curve.epochs:
                continue
            if several:
                own = _of_run(index, len(curve.epochs)) | {"linestyle": style.DASHES[place]}
            else:
                marks = {"marker": style.MARKERS[place], "markevery": style.spread(place, len(curve.epochs))}
                own = look = {"color": shades[place], **marks}
            _plot(axes, curve, own | (_faint(True) if fainter else {}))
            found.append(curve)
        handles.append(Line2D([], [], **{name: value for name, value in look.items() if name != "markevery"}))
    if key == "loss" and handles:
        _legend(axes, handles, [f"layer {layer + 1}" if layer >= 0 else "last layer" for layer in drawn])
    return found


def _faint(faint: bool) -> dict[str, Any]:
    return {"linewidth": 0.7, "marker": "o", "markerfacecolor": "white"} if faint else {"marker": "o"}


def _plot(axes: Axes, curve: Curve, look: dict[str, Any]) -> None:
    axes.plot(curve.epochs, curve.means, **look)
    if any(curve.deviations):
        both = list(zip(curve.means, curve.deviations, strict=True))
        low, high = [mean - far for mean, far in both], [mean + far for mean, far in both]
        axes.fill_between(curve.epochs, low, high, color=look["color"], alpha=0.18, linewidth=0)


def _legend(axes: Any, handles: Iterable[Any], words: Iterable[str]) -> None:
    """Put a legend above a panel, where no line runs through it."""
    words, beside = list(words), axes.get_subplotspec().get_gridspec().ncols
    room = 0.86 * axes.get_figure().get_size_inches()[0] / beside
    columns = max(1, int(room / (0.05 * max(map(len, words)) + 0.36)))
    axes.legend(list(handles), words, loc="lower left", bbox_to_anchor=(-0.02, 0.98), ncols=columns, borderaxespad=0.2)


def _scale(axes: Axes, lines: Sequence[Curve]) -> None:
    """Make the axis of values logarithmic where that tells more."""
    from matplotlib.ticker import LogLocator, NullFormatter

    values = [value for each in lines for value in each.means]
    if values and min(values) > 0 and max(values) > _WIDE * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
