"""What `bench kernels` measured, as a roofline: the core's two ceilings and where each contender stands below them."""

from __future__ import annotations

from typing import Any

from ...errors import UserError
from .report import WORKS

try:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker
except ImportError:
    raise UserError("--plot needs matplotlib: pip install 'ffmpi[plot]'") from None

_MARKERS = dict(zip(WORKS, "o^s", strict=True))


def draw(results: dict[str, Any], file: str) -> None:
    """Write the picture: arithmetic intensity (FLOP/byte) against GFLOP/s, both logarithmic."""
    points = [
        (name, work, each["gflop"][work] * 1e3 / each["megabytes"][work], numbers["gflops"])
        for each in results["shapes"]
        for name, works in each["contenders"].items()
        for work, numbers in works.items()
    ]
    figure, axes = pyplot.subplots(figsize=(8, 5.5), layout="constrained")
    peak, memory = results["peak_gflops"], results["memory_gbs"]
    ridge = peak / memory
    left, right = 0.5 * min(ridge, *(point[2] for point in points)), 1.5 * max(ridge, *(point[2] for point in points))
    axes.plot([left, ridge, right], [memory * left, peak, peak], color="black")
    axes.annotate(f"peak {peak:.0f} GFLOP/s", (right, peak), (0, 4), textcoords="offset points", ha="right")
    axes.annotate(f"memory {memory:.1f} GB/s", (left, memory * left), (14, 0), textcoords="offset points")
    for number, name in enumerate(dict.fromkeys(point[0] for point in points)):
        for work, marker in _MARKERS.items():
            x, y = zip(*(point[2:] for point in points if point[:2] == (name, work)), strict=True)
            axes.scatter(x, y, marker=marker, color=f"C{number}", alpha=0.8, s=26, linewidths=0)
        axes.plot([], [], color=f"C{number}", linewidth=4, label=name)
    for work, marker in _MARKERS.items():
        axes.scatter([], [], marker=marker, color="grey", label=WORKS[work])
    threads = results["threads"]
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="FLOP per byte that must come from memory (W, m, v read and written; a, h)",
        ylabel="GFLOP/s",
        title=f"one layer's step, {results['machine']['processor']}, {threads} core{'s' if threads > 1 else ''}",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(True, which="both", alpha=0.2)
    axes.legend(fontsize="small", loc="lower right")
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as error:
        raise UserError(f"--plot {file}: cannot be written ({error}); expected a file name such as roof.png") from None
    finally:
        pyplot.close(figure)
