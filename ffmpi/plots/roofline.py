"""What `bench kernels` measured, as a roofline: the core's two ceilings and where each contender stands below them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ..errors import UserError
from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is timed of a layer, in words.
WORKS = {"forward": "forward", "step": "step", "tenth": "step, 10 % of rows"}
_MARKERS = dict(zip(WORKS, "o^s", strict=True))

_Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _Machine(Struct):
    processor: str = ""


class _Rate(Struct):
    gflops: _Positive


class _Shape(Struct):
    gflop: dict[str, _Positive]
    megabytes: dict[str, _Positive]
    contenders: Annotated[dict[str, dict[str, _Rate]], Meta(min_length=1)]


class Measured(Struct):
    """What is drawn of the results of `bench kernels`; rates in 1e9 a second."""

    machine: _Machine
    threads: Annotated[int, Meta(ge=1)]
    peak_gflops: _Positive
    memory_gbs: _Positive
    shapes: Annotated[list[_Shape], Meta(min_length=1)]


def read(path: str) -> Measured:
    """Return what ``ffmpi bench kernels --json`` has printed into the file `path`. Raises UserError if it is else."""
    expected = "what 'ffmpi bench kernels --json' prints"
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = msgspec.convert(json.loads(text), Measured)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); expected {expected}") from None
    for shape in found.shapes:
        of_works: list[dict[str, Any]] = [*shape.contenders.values(), shape.gflop, shape.megabytes]
        for works in of_works:
            if works.keys() != WORKS.keys():
                raise UserError(f"{path}: has numbers of {', '.join(works) or 'nothing'}; expected {', '.join(WORKS)}")
    return found


def draw(figure: Figure, measured: Measured) -> None:
    """Draw arithmetic intensity (FLOP/byte) against GFLOP/s, both logarithmic."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter

    points: list[tuple[str, str, float, float]] = [
        (name, work, shape.gflop[work] * 1e3 / shape.megabytes[work], rate.gflops)
        for shape in measured.shapes
        for name, works in shape.contenders.items()
        for work, rate in works.items()
    ]
    names = list(dict.fromkeys(point[0] for point in points))
    width = figure.get_size_inches()[0]
    figure.set_size_inches(width, 0.72 * min(width, 6) + 0.14 * max(len(names), 3))
    axes = figure.subplots()
    peak, memory = measured.peak_gflops, measured.memory_gbs
    ridge, intensities = peak / memory, [point[2] for point in points]
    left, right = 0.5 * min(ridge, *intensities), 1.5 * max(ridge, *intensities)
    axes.plot([left, ridge, right], [memory * left, peak, peak], color="black", zorder=1)
    above: Any = {"xytext": (0, 3), "textcoords": "offset points", "fontsize": 6.5}
    axes.annotate(f"peak {peak:.0f} GFLOP/s", (right, peak), ha="right", **above)
    axes.annotate(f"memory {memory:.1f} GB/s", (left, memory * left), ha="left", **above | {"xytext": (14, -1)})
    for number, name in enumerate(names):
        for work, marker in _MARKERS.items():
            x, y = zip(*(point[2:] for point in points if point[:2] == (name, work)), strict=True)
            axes.plot(x, y, linestyle="none", **_look(number, marker))
    axes.set(
        xscale="log", yscale="log", ylabel="GFLOP/s", xlabel="FLOP per byte that must come from memory or go there"
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    cores = f"{measured.threads} core{'s' if measured.threads > 1 else ''}"
    axes.set_title(f"one layer's step, {style.short(measured.machine.processor)}, {cores}", loc="left")
    who = [(name, _look(number, "D")) for number, name in enumerate(names)]
    what = [(word, {"marker": _MARKERS[work], "color": "#9a9a9a"}) for work, word in WORKS.items()]
    lines = max(len(who), len(what))  # a column of the legend each
    entries = [one for each in (who, what) for one in [*each, *[("", {})] * (lines - len(each))]]
    handles = [Line2D([], [], linestyle="none", **look) for _, look in entries]
    figure.legend(handles, [word for word, _ in entries], loc="outside lower left", ncols=2, handlelength=1)


def _look(number: int, marker: str) -> dict[str, Any]:
    """Return how contender `number` looks: filled, hollow, or with a border, so that grey tells them apart, too."""
    colour = style.COLOURS[number % len(style.COLOURS)]
    fill = {0: colour, 1: "white", 2: "#cccccc"}.get(number % 3, colour)
    return {"marker": marker, "color": colour, "markerfacecolor": fill, "markersize": 3.6, "markeredgewidth": 0.8}
