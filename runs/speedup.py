"""How much faster several ranks are than one: runs a recipe on 1 and on N ranks in turn and reports medians.

python runs/speedup.py runs/mnist.toml --set data.path=DIR --set train.epochs=1
python runs/speedup.py runs/mnist.toml --ranks 3 --rounds 5 --set data.path=DIR --set train.epochs=1
python runs/speedup.py runs/paper/mnist-random-goodness-all-layers.toml --set data.path=DIR \\
    --set train.epochs=12 --set train.chapters=12
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

#: As many chapters are left out at the beginning, on any number of ranks, and at the end as many as there are ranks.
MOST_RANKS = 4


def samples_per_second(recipe: str, ranks: int, settings: list[str], directory: Path) -> float:
    """Train once and return the rate, not counting the chapters in which `all-layers` fills up or runs empty.

    Its ranks' chapters end in pairs, or as many as there are ranks: only whole ones count.
    """
    options = [part for setting in settings for part in ("--set", setting)]
    own = Path(sys.executable).parent / "mpiexec"
    launcher = str(own) if own.exists() else shutil.which("mpiexec") or "mpiexec"
    command = [launcher, "-n", str(ranks), sys.executable, "-m", "ffmpi", "train", recipe, "--run", str(directory)]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    whole = max(0, len(records) - MOST_RANKS - ranks) // ranks * ranks
    counted = records[MOST_RANKS : MOST_RANKS + whole] or records[-1:]
    return float(sum(record["samples"] for record in counted) / sum(record["seconds"] for record in counted))


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="TABLE.KEY=VALUE")
    args = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], args.ranks: []}
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(args.rounds):
            for ranks, measured in rates.items():
                directory = Path(scratch) / f"{ranks}-{index}"
                measured.append(samples_per_second(args.recipe, ranks, args.settings, directory))
        bound = json.loads((directory / "environment.json").read_text())["balance_bound"]
    one, many = (statistics.median(measured) for measured in rates.values())
    ratio = statistics.median(b / a for a, b in zip(*rates.values(), strict=True))
    print(
        f"{one:.0f} samples/s on 1 rank, {many:.0f} on {args.ranks}: {ratio:.2f} times as fast "
        f"(median of {args.rounds} pairs); the schedule allows {bound:.2f}"
    )


if __name__ == "__main__":
    main()
