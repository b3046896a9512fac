"""The command `bench kernels`: one layer's step in ffmpi, NumPy and PyTorch, in turn, against the core's peak."""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import numpy as np

from ...errors import UserError
from ...kernels import cache_problem, peak
from ...plots import roofline, style
from ...run.directory import environment
from ...runtime.setup import warn_of_cache
from ...schedule.core import CORE, traffic
from .steps import FfmpiStep, NumpyStep, Step

LAYERS = ((784, 2000), (2000, 2000), (1000, 1000), (3072, 2000))  # inputs, units
ROWS = (128, 256, 512)
SHAPES = tuple((*layer, rows) for layer in LAYERS for rows in ROWS)
_PLOT_WIDTH = 5.0  # inches

Shape = tuple[int, int, int]


def kernels(repeats: int, shapes: tuple[str, ...], threads: int, as_json: bool, plot: str | None) -> None:
    """Measure, then print a table or JSON; draw the roofline into the file `plot`."""
    chosen = [parse_shape(text, "--shapes") for text in shapes] or SHAPES
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads > cores:
        raise UserError(f"--threads: {threads} is more than the cores this process may use; expected 1 to {cores}")
    if plot is not None:
        style.expect(plot)  # before minutes of measuring, not after
    results = measure(chosen, repeats, threads)
    warn_of_cache(cache_problem())
    if as_json:
        print(json.dumps(results))
    else:
        from . import report

        report.show(results)
    if plot is not None:
        measured = msgspec.convert(results, roofline.Measured)
        style.save(partial(roofline.draw, measured=measured), plot, _PLOT_WIDTH)


def parse_shape(text: str, option: str) -> Shape:
    """Return inputs, units, rows of ``2000x2000x128``, what the command line has for `option`."""
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})x([1-9]\d{0,5})", text.strip())
    if match is None:
        raise UserError(f"{option}: {text!r} is no shape; expected INPUTSxUNITSxROWS, such as 2000x2000x128")
    inputs, units, rows = (int(number) for number in match.groups())
    return inputs, units, rows


def measure(shapes: Iterable[Shape], repeats: int, threads: int = 1) -> dict[str, Any]:
    """Return the machine, its ceilings and for every shape each contender's times; rates in 1e9 a second."""
    size = peak.copy_bytes()
    rates = [peak.memory_rate(size)]
    with one_core() as versions:
        measured = [_shape(shape, repeats, threads) for shape in shapes]
    rates.append(peak.memory_rate(size))
    return {
        "machine": environment() | {"compared": versions},
        "repeats": repeats,
        "threads": threads,
        "peak_gflops": threads * max(each["core_peak_gflops"] for each in measured),
        "memory_gbs": 1e-9 * max(rates),
        "memory_method": f"numpy.copyto by one core, 2 x {size >> 20} MiB, read and written counted",
        "shapes": measured,
    }


@contextmanager
def one_core() -> Iterator[dict[str, str]]:
    """Keep NumPy and PyTorch on one core; yield the versions of what ffmpi is compared with."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise UserError("bench needs threadpoolctl to keep NumPy on one core: pip install 'ffmpi[bench]'") from None
    versions = {"numpy": np.__version__}
    torch = _torch()
    # Only BLAS: a limit of OpenMP would be one for Numba's threads, too.
    with threadpool_limits(1, user_api="blas"):
        if torch is None:
            yield versions
            return
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield versions | {"torch": torch.__version__}
        finally:
            torch.set_num_threads(before)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch


def numbers(shape: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random a, w, c for one layer's step."""
    inputs, units, rows = shape
    rng = np.random.default_rng(0)
    a = np.maximum(rng.standard_normal((rows, inputs), np.float32), 0)
    a *= np.float32(1) / np.sqrt(np.mean(a * a, axis=1, keepdims=True) + np.float32(1e-8))
    w = rng.standard_normal((inputs, units), np.float32) / np.float32(np.sqrt(inputs))
    c = np.where(np.arange(rows) < rows // 2, -1, 1).astype(np.float32) / np.float32(rows)
    return a, w, c


def contenders(shape: Shape, threads: int = 1) -> dict[str, Step]:
    """Return one layer's step in every library there is, on the same numbers."""
    a, w, c = numbers(shape)
    steps: dict[str, Step] = {"ffmpi": FfmpiStep(a, w, c, threads=threads), "numpy": NumpyStep(a, w, c)}
    if _torch() is not None:
        from .torch_steps import AutogradStep, HandStep

        steps["torch autograd"] = AutogradStep(a, w)
        steps["torch autograd, fused"] = AutogradStep(a, w, fused=True)
        steps["torch by hand, fused"] = HandStep(a, w, c)
    return steps


def _step(step: Step, active: np.ndarray) -> None:
    step.forward()
    step.update(active)


def _shape(shape: Shape, repeats: int, threads: int) -> dict[str, Any]:
    """Time everything of one shape in turn, the core's peak among it: the clock drifts, so a share needs both."""
    inputs, units, rows = shape
    everyone, tenth = np.arange(rows), np.arange(0, rows, 10)
    steps = contenders(shape, threads)
    actions: dict[tuple[str, str], Callable[[], None]] = {("core", "peak"): peak.Burst()}
    for name, step in steps.items():
        actions[name, "forward"] = step.forward
        actions[name, "step"] = partial(_step, step, everyone)
        actions[name, "tenth"] = partial(_step, step, tenth)
    seconds = medians(actions, repeats)
    core = 1e-9 * peak.BURST_FLOP / seconds["core", "peak"]
    taking_part = {"forward": 0, "step": rows, "tenth": len(tenth)}
    flop = {work: CORE.product(rows + more, inputs, units).flop for work, more in taking_part.items()}
    gflop = {work: 1e-9 * count for work, count in flop.items()}
    return {
        "inputs": inputs,
        "units": units,
        "rows": rows,
        "tenth_rows": len(tenth),
        "core_peak_gflops": core,
        "gflop": gflop,
        "megabytes": {work: 1e-6 * bytes_of(shape, work) for work in gflop},
        "contenders": {
            name: {
                work: {
                    "ms": 1e3 * seconds[name, work],
                    "gflops": gflop[work] / seconds[name, work],
                    "share": gflop[work] / seconds[name, work] / core / (threads if name == "ffmpi" else 1),
                }
                for work in gflop
            }
            for name in steps
        },
    }


def bytes_of(shape: Shape, work: str) -> float:
    """Return what must come from memory or go there: a, h and W; in a step W and Adam's m and v, read and written."""
    inputs, units, rows = shape
    return traffic(rows, inputs, units, 1 if work == "forward" else 6)


def medians(actions: Mapping[Any, Callable[[], None]], repeats: int) -> dict[Any, float]:
    """Return the median seconds of each action, all run in turn `repeats` times after a first, uncounted time."""
    times: dict[Any, list[float]] = {key: [] for key in actions}
    for repeat in range(repeats + 1):
        for key, action in actions.items():
            began = time.perf_counter()
            action()
            if repeat:
                times[key].append(time.perf_counter() - began)
    return {key: statistics.median(taken) for key, taken in times.items()}
