"""The paper's speed-ups beside planned ones: its network and schedules on its number of nodes.

    python runs/paper/planned.py [--machine NAME|FILE] [--json]

Each row is planned twice. First on a machine whose steps take the time that they took in the paper, by the seconds of
its sequential runs: `paper_machine` has the arithmetic. Then on `--machine`, by default the one at hand, with hosts of
one rank and the kernels of ffmpi. See docs/planning.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from ffmpi import config
from ffmpi.commands.paper import ROWS
from ffmpi.data.assumed import Given, assumed
from ffmpi.data.info import resolved
from ffmpi.plan.machine import Machine, Messages, read_machine
from ffmpi.plan.planner import plan_of

HERE = Path(__file__).parent
_SCHEDULES = {"Single-Layer": "single-layer", "All-Layers": "all-layers"}
#: Of 64 samples, so that an epoch has so many.
_BATCHES = 938
#: That are simulated of each.
_STEPS = 5e4


@dataclass
class Row:
    """A row of the paper's Tables 1 to 3 that has a speed-up."""

    model: str
    implementation: str
    ranks: int
    paper: float
    sequential: str
    recipe: str


def rows() -> list[Row]:
    """Return the paper's rows on several nodes: four, and with a softmax head five."""
    seconds = {(row.model, row.implementation): row.seconds for row in ROWS if row.data == "mnist" and row.seconds}
    found = []
    for (model, implementation), taken in seconds.items():
        if implementation in _SCHEDULES and (alone := seconds[model, "Sequential"]):
            negatives, classifier = model.lower().split("neg-")
            name = f"mnist-{negatives}-{classifier}"
            ranks = 5 if classifier == "softmax" else 4
            sequential, recipe = f"{name}-sequential.toml", f"{name}-{_SCHEDULES[implementation]}.toml"
            found.append(Row(model, implementation, ranks, alone / taken, sequential, recipe))
    return found


def paper_machine(like: Machine) -> Machine:
    """Return a machine whose steps take what the paper's took, however large a layer is.

    100 epochs of 938 batches on four layers. AdaptiveNEG-Goodness takes 4012 s more than RandomNEG-Goodness, since it
    scores 9 wrong classes of 60,000 samples after each of 100 chapters: 18.6 us a row and layer, so 2.4 ms a forward of
    the 128 rows of a batch. RandomNEG-Goodness takes 7179 s for 375,200 times an update and two forwards, one to learn
    and one to pass on (the last layer's apart): 19.1 ms a layer, of which 15.0 are left for the update.
    RandomNEG-Softmax takes 926 s more for 93,800 times the head's: 9.9 ms, of which 4.8 are forwards of 64 rows.
    """
    seconds = {(row.model, row.implementation): row.seconds or 0.0 for row in ROWS if row.data == "mnist"}
    goodness, adaptive, softmax = (
        seconds[model, "Sequential"] for model in ("RandomNEG-Goodness", "AdaptiveNEG-Goodness", "RandomNEG-Softmax")
    )
    epochs, layers, units = 100, 4, 2000
    row = (adaptive - goodness) / (epochs * 60_000 * 9 * layers)
    update = (goodness / (epochs * _BATCHES) - (2 * layers - 1) * 128 * row) / layers
    head = (softmax - goodness) / (epochs * _BATCHES) - layers * 64 * row
    # A forward takes its time by its rows, and what is made of an image's product in the first layer half as much.
    forward = structs.replace(
        like.core.forward, rate=1e18, nonzero=0.0, looked=0.0, listing=0.0, weight=0.0,
        output=row / units,
    )  # fmt: skip
    gradient = structs.replace(like.core.gradient, rate=1e18, nonzero=0.0, looked=0.0, listing=0.0, weight=0.0)
    core = structs.replace(
        like.core, forward=forward, gradient=structs.replace(gradient, output=0.0), one_moment=0.0, two_moments=0.0,
        copying=1e18, shared=row / units / 2, pixels=1e18, step=0.0, steps={"Update": update, "UpdateHead": head},
    )  # fmt: skip
    # Weights go through a socket of 1 Gb/s.
    socket = Messages(bytes=[0, 1_000_000], seconds=[1e-4, 8.1e-3], overhead=[1e-5, 1e-3])
    return structs.replace(like, name="the paper's", core=core, alone=core, between=socket, card=1.25e8)


def speedup(row: Row, machine: Machine, *settings: str) -> float:
    """Return how many times as fast as one rank the recipe of a row is on `machine`, with a rank a host."""
    return alone(row, machine) / _seconds(row, row.recipe, row.ranks, machine, *settings)


def alone(row: Row, machine: Machine) -> float:
    """Return the seconds of the sequential recipe of a row."""
    return _seconds(row, row.sequential, 1, machine)


def _seconds(row: Row, recipe: str, ranks: int, machine: Machine, *settings: str) -> float:
    adaptive = [f"negatives.lag={row.ranks}"] if row.model.startswith("Adaptive") else []
    # The paper's seconds are of training.
    unscored = ["classify.goodness_every=0", "classify.softmax_every=0"]
    read = config.read(str(HERE / recipe), [*adaptive, *unscored, *settings])
    dataset = assumed(read, Given())
    return plan_of(resolved(read, dataset), dataset, ranks, machine, 1, _STEPS).seconds


def as_the_paper(row: Row) -> list[str]:
    """Return the settings with which a recipe passes on what the paper did: weights."""
    return ["schedule.exchange=weights"] if row.implementation == "Single-Layer" else []


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machine", default="here")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    here = read_machine(given.machine)
    paper = paper_machine(here)
    found: list[dict[str, Any]] = [
        {
            "model": row.model, "implementation": row.implementation, "ranks": row.ranks, "paper": row.paper,
            "planned": speedup(row, paper, *as_the_paper(row)), "recipe": speedup(row, paper),
            "here": speedup(row, here),
        }
        for row in rows()
    ]  # fmt: skip
    if given.json:
        print(json.dumps({"machine": here.told, "rows": found}))
        return
    print(f"here: {here.told}, hosts of one rank")
    print(f"{'':35}ranks  paper  planned  by ffmpi's recipe  by its kernels here")
    for one in found:
        name = f"{one['model']}, {one['implementation']}"
        numbers = f"{one['paper']:7.2f}{one['planned']:9.2f}{one['recipe']:19.2f}{one['here']:21.2f}"
        print(f"{name:35}{one['ranks']:5}{numbers}")


if __name__ == "__main__":
    main()
