"""What a network has learnt to see: the weights of its first layer, and what layers say of right and wrong classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config.schema import Config
from ..data.shapes import geometry_of
from ..network.layout import LAYOUTS
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Layers whose goodness is drawn.
_MOST_LAYERS = 6
#: Fields beside each other in a column of a paper.
_BESIDE = 8
_MOST_BINS = 50
#: Share of the rows at either end that a histogram leaves out, so that single rows do not make all others narrow.
_TAIL = 0.002


@dataclass(frozen=True)
class Features:
    """What is drawn of a network.

    Attributes
    ----------
    fields : (shown, height, width) or (shown, height, width, 3) float32, weights; None if samples are no images
    chosen : (shown,) which units of the first layer these are, from 0, of `units`
    right, wrong : (rows, layers) float32, what each layer says of the samples shown with their class and with another
    boundaries : by layer, what goodness is compared with, if it is
    words : what `right` and `wrong` are, and the two sides
    source : what samples these are
    """

    fields: np.ndarray | None
    chosen: np.ndarray
    units: int
    right: np.ndarray
    wrong: np.ndarray
    boundaries: list[float | None]
    words: tuple[str, str, str]
    source: str


def fields_of(weights: np.ndarray, shape: tuple[int, ...], label_inputs: int) -> np.ndarray | None:
    """Return the weights (inputs, n) of units as pictures of `shape`; None if samples are no pictures.

    label_inputs : how many of the first inputs are the label's; they are left out, as are inputs after the pixels
    """
    geometry = geometry_of(shape)
    if geometry is None:
        return None
    planes, height, width, depth = geometry
    pixels = weights[: planes * height * width * depth].T.copy()
    pixels[:, :label_inputs] = 0
    pictures = pixels.reshape(-1, planes, height, width, depth).transpose(0, 2, 3, 1, 4)
    pictures = pictures.reshape(-1, height, width, planes * depth)
    # Without colours, or with others than three, what is seen is the mean over them.
    return pictures if pictures.shape[3] == 3 else pictures.mean(axis=3)


def words_of(config: Config, classes: int) -> tuple[str, str, str]:
    """Return what a layer says of a class, and the names of samples shown with their own and with another class."""
    if LAYOUTS[config.rule.layout].labelled:
        return "goodness", "positives", "negatives"
    linear = hasattr(config.rule.formula(classes).scores, "block")
    return "logit" if linear else "goodness of the group", "the true class", "a wrong class"


def draw(figure: Figure, features: Features) -> None:
    """Draw the fields, each to its own scale, above or beside a histogram for each layer."""
    layers = style.chosen(features.right.shape[1], _MOST_LAYERS)
    width = figure.get_size_inches()[0]
    wide = width >= 1.6 * style.COLUMN and features.fields is not None
    mosaic = None if features.fields is None else _mosaic(features.fields)
    share = 0.5 if wide else 1.0
    tall = 0.0 if mosaic is None else 0.3 + 0.93 * share * width * mosaic.shape[0] / mosaic.shape[1]
    low = 0.25 + 0.9 * len(layers)
    figure.set_size_inches(width, max(tall, low) if wide else tall + low + 0.25)
    parts: list[Any]
    parted: Any = figure  # subfigures are of several types
    if mosaic is None:
        parts = [None, figure.subfigures(1, 1)]
    elif wide:
        parts = list(parted.subfigures(1, 2))
    else:
        parts = list(parted.subfigures(2, 1, height_ratios=[tall, low + 0.25]))
    if mosaic is not None:
        _fields(parts[0].subplots(), features, mosaic)
    places = parts[1].subplots(len(layers), 1, squeeze=False)[:, 0]
    for layer, axes in zip(layers, places, strict=True):
        _histogram(axes, features, layer, first=layer == layers[0])
    places[-1].set_xlabel(f"{features.words[0]}, {features.source}")


def _mosaic(fields: np.ndarray) -> np.ndarray:
    """Return all fields side by side, between 0 and 1 where 0.5 is a weight of 0, with a white line between them."""
    scale = np.abs(fields).reshape(len(fields), -1).max(axis=1).reshape(-1, *[1] * (fields.ndim - 1))
    levels = 0.5 + 0.5 * fields / np.where(scale > 0, scale, 1)
    columns = min(_BESIDE, len(levels))
    rows = -(-len(levels) // columns)
    height, width, *colours = levels.shape[1:]
    gap = max(1, round(width / 14))
    out = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, *colours), np.float32)
    for index, level in enumerate(levels):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        out[top : top + height, left : left + width] = level
    return out


def _fields(axes: Axes, features: Features, mosaic: np.ndarray) -> None:
    axes.imshow(mosaic, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    count = len(features.chosen)
    which = f"all {count}" if count == features.units else f"{count} of {features.units}"
    axes.set_title(f"weights of {which} units of layer 1 (grey: 0; each to its own scale)", loc="left", fontsize=7)


def _histogram(axes: Axes, features: Features, layer: int, first: bool) -> None:
    right, wrong = (_finite(rows[:, layer]) for rows in (features.right, features.wrong))
    axes.set_ylabel(f"layer {layer + 1}\nrows (%)")
    boundary = features.boundaries[layer]
    both = np.concatenate([right, wrong])
    if not len(both):
        axes.text(0.5, 0.5, "no finite numbers", transform=axes.transAxes, ha="center", va="center")
        return
    ends = [*np.quantile(both, [_TAIL, 1 - _TAIL]), *([] if boundary is None else [boundary])]
    low, high = float(min(ends)), float(max(ends))
    bins = min(_MOST_BINS, 5 + int(np.sqrt(len(both))))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    looks: Sequence[dict[str, Any]] = (
        {"facecolor": "#0072b2", "alpha": 0.35, "edgecolor": "#0072b2"},
        {"facecolor": "none", "edgecolor": "#000000", "linestyle": (0, (3, 1)), "hatch": "////", "linewidth": 0.8},
    )
    for values, look, word in zip((right, wrong), looks, features.words[1:], strict=True):
        shares = np.full(len(values), 100 / max(len(values), 1))
        axes.hist(values, edges.tolist(), weights=shares, histtype="stepfilled", label=word, **look)
    if boundary is not None:
        axes.axvline(boundary, color="#d55e00", linewidth=1, linestyle=(0, (5, 1.5)), label="threshold")
    axes.grid(False)
    if first:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.96), ncols=3, borderaxespad=0.2)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)].astype(np.float64)
