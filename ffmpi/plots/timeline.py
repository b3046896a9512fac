"""What ranks do when, a row each, as planned and as measured: in the manner of the paper's Figures 4 to 6."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style
from .window import BESIDE, Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Ranks with a row that is high enough for hatches, arrows and numbers; more are drawn as pixels, with lines between.
_FEW, _LINED = 16, 100
#: Boxes are told apart down to so many inches; where steps are narrower in the mean, shares of the time are drawn.
_LEAST, _MEAN = 1 / 250, 1 / 90
#: Arrows at most: more would hide what they are about.
_ARROWS = 70
_LAYERS = 5  # in the legend
_BAR, _USED = 0.82, 0.85  # of a row's height, and of the width
_BESIDE: dict[str, dict[str, Any]] = {
    "head": {"facecolor": "#d9d9d9", "hatch": "xxxxxx", "edgecolor": "#777777"},
    "scoring": {"facecolor": "#f0f0f0", "hatch": "-----", "edgecolor": "#777777"},
    "saving": {"facecolor": "#a6a6a6", "hatch": "\\\\\\\\", "edgecolor": "#ffffff"},
    "sending, other": {"facecolor": "#000000", "hatch": "||", "edgecolor": "#ffffff"},
}
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def draw(figure: Figure, windows: Sequence[Window]) -> None:
    """Draw a panel for each window, one above the other, on the same scale of time."""
    import matplotlib

    width, ranks = figure.get_size_inches()[0], [window.trace.ranks for window in windows]
    heights = [min(0.3, max(0.16, 1.5 / count)) * count if count <= _FEW else 2.6 for count in ranks]
    layers = max(window.trace.layers for window in windows)
    entries = _legend_entries(layers, max(ranks) > _FEW, any(_arrows(window) is not None for window in windows))
    columns = max(1, int(width / 0.85))
    lines = -(-len(entries) // columns)
    figure.set_size_inches(width, sum(heights) + 0.36 * len(windows) + 0.3 + 0.14 * lines)
    panels = figure.subplots(len(windows), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    longest = max(window.length for window in windows)
    scale, unit = next(((scale, unit) for scale, unit in _UNITS if longest >= 2 * scale), _UNITS[-1])
    steps = [
        _USED * width * window.length / longest / max(1.0, len(window.spans()) / window.trace.ranks)
        for window in windows
    ]
    boxes = max(steps) >= _MEAN
    with matplotlib.rc_context({"hatch.linewidth": 0.35}):
        for axes, window in zip(panels, windows, strict=True):
            _panel(axes, window, longest, scale, width, boxes)
            axes.tick_params(labelbottom=axes is panels[-1])
    panels[-1].set_xlabel(f"time ({unit})")
    figure.legend(
        [handle for _, handle in entries], [text for text, _ in entries], loc="outside lower left", ncols=columns,
        handlelength=1.6, handleheight=0.9, columnspacing=0.8, handletextpad=0.5,
    )  # fmt: skip


def _panel(axes: Axes, window: Window, longest: float, scale: float, width: float, boxes: bool) -> None:
    trace, ranks = window.trace, window.trace.ranks
    axes.set_xlim(0, longest / scale)
    axes.set_ylim(ranks - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    apart = next(2**power for power in range(32) if ranks <= 9 * 2**power)
    axes.set_yticks(range(0, ranks, apart if ranks > _FEW else 1))
    axes.set_ylabel("rank")
    kind = "planned" if trace.planned else "measured"
    since = f", from {window.start:.3f} s on" if window.start > 0 else ""
    axes.set_title(f"{kind}{since}: {_text(window.length)}", loc="left", pad=2.5)
    inches = _USED * width / longest
    if ranks > _FEW:
        _pixels(axes, window, max(50, int(window.length * inches * 200)), scale)
    elif boxes:
        _boxes(axes, window, _LEAST / inches, scale)
        _draw_arrows(axes, window, scale)
    else:
        _shares(axes, window, max(50, int(window.length * inches * 45)), scale)
    for rank, start, stop in window.gaps():
        axes.barh(
            rank, (stop - start) / scale, _BAR, start / scale, color="white", edgecolor="#bbbbbb", hatch="\\\\", lw=0.3
        )
    if ranks <= _FEW:
        axes.text(1.005, 1.0, "busy", transform=axes.transAxes, fontsize=6.5, va="bottom", ha="left")
        for rank, share in enumerate(window.busy().tolist()):
            axes.text(
                1.005, rank, f"{100 * share:.0f} %", transform=axes.get_yaxis_transform(), fontsize=6.5, va="center"
            )


def _text(seconds: float) -> str:
    """Return a time in words."""
    scale, unit = next(((scale, unit) for scale, unit in _UNITS if seconds >= scale), _UNITS[-1])
    return f"{seconds / scale:.3g} {unit}"


def _looks(window: Window) -> list[dict[str, Any]]:
    """Return how each purpose is filled."""
    shades = style.shades(window.trace.layers)
    found = []
    for name, layer in window.purposes():
        found.append(_BESIDE[name] if layer < 0 else _of_layer(shades[layer], name == "update"))
    return found


def _of_layer(colour: Any, update: bool) -> dict[str, Any]:
    if not update:
        return {"facecolor": colour}
    light = tuple(1 - 0.45 * (1 - part) for part in colour[:3])
    return {"facecolor": light, "hatch": "//////", "edgecolor": colour}


def _boxes(axes: Axes, window: Window, least: float, scale: float) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners: dict[int, list[tuple[float, float]]] = {}
    for rank, purpose, start, stop in window.boxes(least):
        left, right, low, high = start / scale, stop / scale, rank + _BAR / 2, rank - _BAR / 2
        corners.setdefault(purpose, []).extend([(left, low), (right, low), (right, high), (left, high), (left, low)])
    around = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    for purpose, look in enumerate(_looks(window)):
        if places := corners.get(purpose):  # one path, since in an SVG each has a copy of its hatch
            axes.add_patch(PathPatch(Path(places, around * (len(places) // 5)), linewidth=0, **look))


def _pixels(axes: Axes, window: Window, bins: int, scale: float) -> None:
    """Draw a pixel for each rank and moment, in the mean colour of what it does then: the more it waits the lighter."""
    from matplotlib.colors import to_rgb

    dark = 1 - np.array([to_rgb(look["facecolor"]) for look in _looks(window)])
    picture = 1 - np.einsum("rpb,pc->rbc", window.shares(bins), dark)
    extent = (0.0, window.length / scale, window.trace.ranks - 0.5, -0.5)
    axes.grid(visible=False)
    axes.imshow(np.clip(picture, 0, 1), extent=extent, aspect="auto", interpolation="nearest")
    if window.trace.ranks <= _LINED:
        axes.hlines(np.arange(window.trace.ranks - 1) + 0.5, *extent[:2], color="white", linewidth=0.5)


def _shares(axes: Axes, window: Window, bins: int, scale: float) -> None:
    """Draw the share of the time that each purpose has had, one above the other: what is missing was waited for."""
    edges = np.linspace(0, window.length / scale, bins + 1)
    shares, looks = window.shares(bins), _looks(window)
    for rank in range(window.trace.ranks):
        low = np.full(bins, rank + _BAR / 2)
        for purpose, look in enumerate(looks):
            if shares[rank, purpose].any():
                high = low - _BAR * shares[rank, purpose]
                there = shares[rank, purpose] > 0
                both = {"where": np.append(there, False) | np.append(False, there), "step": "post", "linewidth": 0}
                axes.fill_between(edges, _steps(low), _steps(high), **both, **look)
                low = high


def _steps(values: np.ndarray) -> np.ndarray:
    return np.append(values, values[-1])


def _arrows(window: Window) -> np.ndarray | None:
    """Return the messages that are drawn, if they are few enough."""
    messages = window.messages()
    return messages if window.trace.ranks <= _FEW and 0 < len(messages) <= _ARROWS else None


def _draw_arrows(axes: Axes, window: Window, scale: float) -> None:
    """Draw where messages went, from when they were sent to when they were there."""
    messages = _arrows(window)
    if messages is None:
        return
    for message in messages:
        source, target = int(message["source"]), int(message["target"])
        down = 1 if target > source else -1
        ends = (
            (message["received"] / scale, target - down * _BAR / 2),
            (message["sent"] / scale, source + down * _BAR / 2),
        )
        arrow = {"arrowstyle": "-|>", "mutation_scale": 3, "lw": 0.4, "color": "#000000", "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", *ends, arrowprops=arrow, annotation_clip=True)


def _legend_entries(layers: int, plain: bool, arrows: bool) -> list[tuple[str, Any]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shades = style.shades(layers)
    grey = (0.4, 0.4, 0.4)
    entries: list[tuple[str, Any]] = [
        (f"layer {layer + 1}", Patch(**_of_layer(shades[layer], False))) for layer in style.chosen(layers, _LAYERS)
    ]
    entries += [("forward", Patch(**_of_layer(grey, False))), ("update", Patch(linewidth=0, **_of_layer(grey, True)))]
    entries += [(name, Patch(linewidth=0, **_BESIDE[name])) for name in BESIDE]
    entries.append(("waiting", Patch(facecolor="white", edgecolor="#999999", linewidth=0.4)))
    for _, patch in entries if plain else ():
        patch.set_hatch(None)
    if arrows:
        entries.append(("message", Line2D([], [], color="#000000", linewidth=0.6, marker=">", markersize=2.5)))
    return entries
