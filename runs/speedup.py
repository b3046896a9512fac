"""How much faster several ranks are than one: runs a recipe on 1 and on N ranks in turn and reports medians.

python runs/speedup.py runs/mnist.toml --set data.path=DIR --set train.epochs=1
python runs/speedup.py runs/mnist.toml --ranks 3 --rounds 5 --set data.path=DIR --set train.epochs=1
python runs/speedup.py runs/paper/mnist-random-goodness-all-layers.toml --set data.path=DIR \\
    --set train.epochs=14 --set train.chapters=14
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

from ffmpi import config
from ffmpi.errors import UserError
from ffmpi.runtime.limits import Place

#: As many chapters, or as there are ranks if these are more, are left out at the beginning: the same on any number.
LEFT_OUT = 4


def samples_per_second(recipe: str, ranks: int, settings: list[str], directory: Path, turn: int) -> float:
    """Train once on `ranks` ranks and return the rate: the median of turns of `turn` chapters, the most ranks compared.

    Turns, since the chapters of `all-layers` end as many at once as there are ranks; those in which it fills up or runs
    empty do not count. The median, since a busy neighbour slows a rank down for seconds, and with it its peers.
    """
    options = [part for setting in settings for part in ("--set", setting)]
    own = Path(sys.executable).parent / "mpiexec"
    launcher = str(own) if own.exists() else shutil.which("mpiexec") or "mpiexec"
    command = [launcher, "-n", str(ranks), sys.executable, "-P", "-m", "ffmpi", "train", recipe]
    subprocess.run([*command, "--run", str(directory), *options], check=True, stdout=subprocess.DEVNULL)
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    starts = range(max(LEFT_OUT, turn), len(records) - 2 * turn + 1, turn)
    turns = [records[start : start + turn] for start in starts] or [records[-1:]]
    rates = (sum(r["samples"] for r in part) / sum(r["seconds"] for r in part) for part in turns)
    return float(statistics.median(rates))


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="TABLE.KEY=VALUE")
    args = parser.parse_args()
    if args.ranks < 2 or args.rounds < 1:
        parser.error("expected --ranks of at least 2 and --rounds of at least 1")
    try:
        threads = config.read(args.recipe, args.settings).schedule.threads
    except UserError as error:
        parser.exit(2, f"ffmpi: {error}\n")
    # One rank has as many threads as each of several, which need a core for each: else nothing is compared.
    if args.ranks * threads > (cores := len(Place.here("").cores)):
        parser.error(
            f"{args.ranks} ranks of {threads} threads need {args.ranks * threads} cores, and there are {cores}; "
            "expected fewer --ranks, or --set schedule.threads=1"
        )
    rates: dict[int, list[float]] = {1: [], args.ranks: []}
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(args.rounds):
            for ranks, measured in rates.items():
                directory = Path(scratch) / f"{ranks}-{index}"
                measured.append(samples_per_second(args.recipe, ranks, args.settings, directory, args.ranks))
        bound = json.loads((directory / "environment.json").read_text())["ideal_speedup"]
    one, many = (statistics.median(measured) for measured in rates.values())
    ratio = statistics.median(b / a for a, b in zip(*rates.values(), strict=True))
    print(
        f"{one:.0f} samples/s on 1 rank, {many:.0f} on {args.ranks}: {ratio:.2f} times as fast "
        f"(median of {args.rounds} pairs); ideal speed-up, by load balance: {bound:.2f}"
    )


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # the run has said why
