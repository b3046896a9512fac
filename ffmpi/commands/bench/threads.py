"""The command `bench threads`: one layer's step on several Numba threads against one."""

from __future__ import annotations

import json
import os
import statistics
import time

import numpy as np

from ...errors import UserError
from ...kernels import cache_problem
from ...runtime.setup import warn_of_cache
from .kernels import numbers, parse_shape
from .steps import FfmpiStep, Step

_BURST = 5  # steps in a row: as in training, the other threads stay awake and their caches warm


def threads(count: int, shape: str, repeats: int, as_json: bool) -> None:
    """Print how many times as fast `count` threads are: the median over bursts of one and of `count` in turn."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not 2 <= count <= cores:
        raise UserError(f"--threads {count}: expected 2 to {cores}, the cores this process may use")
    inputs, units, rows = parse_shape(shape, "--shape")
    steps = {number: FfmpiStep(*numbers((inputs, units, rows)), threads=number) for number in (1, count)}
    for step in steps.values():
        _burst(step, rows)
    times = [{number: _burst(step, rows) for number, step in steps.items()} for _ in range(repeats)]
    one, many = (1e3 * statistics.median(each[number] for each in times) for number in (1, count))
    warn_of_cache(cache_problem())
    ratio = statistics.median(each[1] / each[count] for each in times)
    if as_json:
        print(json.dumps({"shape": shape, "threads": count, "one_ms": one, "many_ms": many, "ratio": ratio}))
    else:
        print(f"{shape}: {one:.2f} ms on 1 thread, {many:.2f} ms on {count}: {ratio:.2f} times as fast")


def _burst(step: Step, rows: int) -> float:
    """Return the median seconds of a few steps in a row."""
    everyone, taken = np.arange(rows), []
    for _ in range(_BURST):
        began = time.perf_counter()
        step.forward()
        step.update(everyone)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
