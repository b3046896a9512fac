"""What `bench kernels` measured, as a table."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from ...plots.roofline import WORKS


def show(results: dict[str, Any]) -> None:
    """Print a row for each shape and work; a ratio below 1 says that ffmpi takes less time."""
    torch = "torch" in results["machine"]["compared"]
    table = Table(box=None, pad_edge=False)
    for name in ("layer", "rows", "work"):
        table.add_column(name)
    numbers = [
        "ms",
        "GFLOP/s",
        "peak",
        "of peak",
        "of NumPy",
        *(["of torch", "of its full step", "of autograd"] if torch else []),
    ]
    for name in numbers:
        table.add_column(name, justify="right")
    for each in results["shapes"]:
        for work, title in WORKS.items():
            ours = each["contenders"]["ffmpi"][work]
            layer = (f"{each['inputs']} x {each['units']}", str(each["rows"])) if work == "forward" else ("", "")
            ratios = [f"{ours['ms'] / rival:.2f}" if rival else "" for rival in _rivals(each, work)]
            table.add_row(
                *layer,
                title,
                f"{ours['ms']:.2f}",
                f"{ours['gflops']:.0f}",
                f"{results['threads'] * each['core_peak_gflops']:.0f}",
                f"{100 * ours['share']:.0f} %",
                *ratios,
            )
    console = Console(width=120, highlight=False)
    threads = results["threads"]
    who = "one core" if threads == 1 else f"ffmpi on {threads} cores, the others on one"
    console.print(f"One layer's step with Adam on {who}; medians of {results['repeats']}, everything in turn.")
    console.print(f"Peak {results['peak_gflops']:.0f} GFLOP/s; memory {results['memory_gbs']:.1f} GB/s", end=" ")
    console.print(f"({results['memory_method']}).")
    console.print(table)
    console.print("GFLOP counts every term; half of the inputs are zero, and ffmpi skips them where that is faster.")
    versions = ", ".join(f"{name} {version}" for name, version in results["machine"]["compared"].items())
    console.print(f"'of X': ffmpi's time over X's, below 1 is faster ({versions}).")
    if torch:
        console.print("torch is the fastest of autograd + Adam, autograd + fused Adam, gradient by hand + fused Adam;")
        console.print("autograd is the first of them.")


def _rivals(each: dict[str, Any], work: str) -> list[float | None]:
    """Return the milliseconds of what ffmpi is compared with, in the table's order.

    NumPy, the best of torch at the same work, the best of torch with all rows (where ffmpi leaves rows out), autograd.
    """
    rivals = each["contenders"]
    best = [rivals[name] for name in rivals if name.startswith("torch")]
    if not best:
        return [rivals["numpy"][work]["ms"]]
    same, whole = (min(rival[what]["ms"] for rival in best) for what in (work, "step"))
    return [rivals["numpy"][work]["ms"], same, whole if work == "tenth" else None, rivals["torch autograd"][work]["ms"]]
