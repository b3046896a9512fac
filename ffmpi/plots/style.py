"""How all pictures look, and how they get into a file: sizes of a paper's column, lines that differ in grey, too."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Width in inches of a column of two.
COLUMN = 3.4
SUFFIXES = (".png", ".svg", ".pdf")

#: What draws a picture into an empty figure that is as wide as it is to be, and gives it its height.
Draw = Callable[["Figure"], None]

#: Width in inches of a letter in a legend; the tables before a setting's name.
_LETTER, _TABLE = 0.055, re.compile(r"\b(?:[a-z_]+\.)+(?=[a-z_]+[ =])")

#: Apart in hue (Okabe and Ito's) and, from dark to light, in grey; more lines than these differ by their markers.
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#e69f00", "#9a9a9a")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
DASHES: tuple[Any, ...] = (
    "solid", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)),
)  # fmt: skip

_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib's own: the same everywhere
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.3,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.2,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "savefig.dpi": 300,
    "svg.fonttype": "path",  # whoever looks need not have the font
    "svg.hashsalt": "ffmpi",  # the same picture has the same bytes
    "text.parse_math": False,  # names of runs may have any letters
    "hatch.linewidth": 0.6,
    "figure.facecolor": "white",
    "figure.constrained_layout.w_pad": 0.02,
    "figure.constrained_layout.h_pad": 0.02,
}


def expect(file: str | None = None) -> None:
    """Raise UserError unless pictures can be drawn here and, given a `file`, its name says as what to write it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError("pictures need matplotlib: pip install 'ffmpi[plot]'") from None
    if file is not None and os.path.splitext(file)[1].lower() not in SUFFIXES:
        raise UserError(f"{file}: expected a picture's name that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def save(draw: Draw, file: str, width: float = COLUMN) -> None:
    """Write a picture, `width` inches wide, to `file`. Raises UserError where that is impossible."""
    expect(file)
    suffix = os.path.splitext(file)[1].lower()
    found = rendered(draw, suffix[1:], width)
    try:
        with open(file, "wb") as target:
            target.write(found)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file}: cannot be written ({reason}); expected a file name such as picture.svg") from None


def rendered(draw: Draw, kind: str, width: float = COLUMN) -> bytes:
    """Return a picture as the bytes of a file of `kind` png, svg or pdf."""
    import matplotlib
    from matplotlib.figure import Figure

    target = io.BytesIO()
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # of no use, and never the same
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, width), layout="constrained")
        draw(figure)
        figure.savefig(target, format=kind, metadata=dates.get(kind))
    return target.getvalue()


def shades(count: int) -> list[Any]:
    """Return `count` colours for what has an order, such as layers, from dark to light in colour and in grey."""
    import matplotlib

    chosen = matplotlib.colormaps["viridis"]
    return [chosen(0.82 * index / max(count - 1, 1)) for index in range(count)]


def line(index: int, points: int) -> dict[str, Any]:
    """Return colour, dashes and marker of line number `index`, which has so many points."""
    marks = {"marker": MARKERS[index % len(MARKERS)], "markevery": spread(index, points)}
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)], **marks}


def spread(index: int, points: int, most: int = 7) -> tuple[int, int]:
    """Return where a line of so many points has markers: `most` at most, and elsewhere than on the lines beside it."""
    step = max(1, math.ceil(points / most))
    return (index * max(1, step // 3)) % step, step


def names(whole: Sequence[str], figure: Figure, ends: Sequence[str] = ()) -> list[str]:
    """Return names as they fit into a legend as wide as the figure, each with its end.

    Settings lose their tables, as ``optimizer.`` before ``learning_rate``, before names are cut.
    """
    ends = ends or [""] * len(whole)
    rooms = [letters(figure) - len(end) for end in ends]
    if any(len(name) > room for name, room in zip(whole, rooms, strict=True)):
        shorter = [_TABLE.sub("", name) for name in whole]
        whole = shorter if len(set(shorter)) == len(set(whole)) else whole
    return [short(name, max(room, 8)) + end for name, room, end in zip(whole, rooms, ends, strict=True)]


def letters(figure: Figure) -> int:
    """Return how many letters of a legend fit into a line beside the mark before them."""
    return int((figure.get_size_inches()[0] - 0.5) / _LETTER)


def short(text: str, most: int = 40) -> str:
    """Return a text that fits into a legend: its ends, if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-(most // 2 - 3) :]}"


def chosen(count: int, most: int = 5) -> list[int]:
    """Return at most `most` of `count` indices, the first and the last among them, evenly spread."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def ticks(axis: Any, values: Sequence[float]) -> None:
    """Label a logarithmic axis at `values`, with these numbers."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")
