"""Plan against measurement: a recipe by all schedules on one rank and on two, each planned before it runs.

python runs/planned.py --set data.path=DIR
python runs/planned.py runs/mnist.toml --rounds 1 --keep times.json --set data.path=DIR

All run in turn, `--rounds` times; printed are the medians of a kind's plans and times, and how they differ. With
--keep times are kept in a file, and added to those of earlier calls. Measure the machine first, mpiexec -n 2 ffmpi
bench machine, or before each round, --measure 25: neighbours on a shared machine make it faster and slower.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from ffmpi import config
from ffmpi.errors import UserError
from ffmpi.plan.machine import find_machine

#: Ranks and settings of each kind of run; chapters of one epoch, as the paper has them.
KINDS = {
    "sequential": (1, ["schedule.name=sequential"]),
    **{f"pipeline, {n}": (n, ["schedule.name=pipeline"]) for n in (1, 2)},
    **{
        f"single-layer, {exchange}, {n}": (n, ["schedule.name=single-layer", f"schedule.exchange={exchange}"])
        for exchange in ("activations", "weights") for n in (1, 2)
    },
    **{f"all-layers, {n}": (n, ["schedule.name=all-layers"]) for n in (1, 2)},
}  # fmt: skip
SETTINGS = ["train.epochs=2", "train.chapters=2"]
#: Samples of MNIST that are learnt from, and for each of them so many that are tested: all kinds take a minute then.
SAMPLES, TESTED = 12000, 0.1


def fewer(data: Path, place: Path, samples: int) -> None:
    """Write the first samples of the IDX files in `data` as such files into `place`."""
    for prefix, count in (("train", samples), ("t10k", int(TESTED * samples))):
        for kind, numbers in (("images-idx3", 28 * 28), ("labels-idx1", 1)):
            name, header = f"{prefix}-{kind}-ubyte", 16 if numbers > 1 else 8
            found = next(data.glob(f"{name}*"))
            raw = found.read_bytes()
            text = gzip.decompress(raw) if found.suffix == ".gz" else raw
            whole = text[:4] + struct.pack(">i", count) + text[8:header] + text[header : header + count * numbers]
            (place / name).write_bytes(whole)


def launcher(ranks: int) -> list[str]:
    """Return what starts `ranks` ranks."""
    own = Path(sys.executable).parent / "mpiexec"
    return [str(own) if own.exists() else shutil.which("mpiexec") or "mpiexec", "-n", str(ranks)]


def once(recipe: str, ranks: int, settings: list[str], directory: Path) -> tuple[float, float]:
    """Train on `ranks` ranks; return the seconds that were planned, and those that it took."""
    options = [part for setting in settings for part in ("--set", setting)]
    command = [*launcher(ranks), sys.executable, "-P", "-m", "ffmpi", "train", recipe]
    subprocess.run([*command, "--run", str(directory), *options], check=True, stdout=subprocess.DEVNULL)
    plan = json.loads((directory / "plan.json").read_text())
    return plan["planned"], plan["took"]


def main() -> None:
    """Measure and print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default=str(Path(__file__).parent / "mnist.toml"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, metavar="FILE")
    parser.add_argument("--measure", type=float, metavar="SECONDS", help="before each round measure the machine again")
    parser.add_argument("--kinds", metavar="TEXT", default="", help="only those with this in their name")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="TABLE.KEY=VALUE")
    args = parser.parse_args()
    try:
        if not find_machine().here and not args.measure:
            parser.exit(2, "this machine was not measured; expected mpiexec -n 2 ffmpi bench machine before\n")
    except UserError as error:
        parser.exit(2, f"ffmpi: {error}\n")
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    if args.keep and args.keep.exists():
        times |= json.loads(args.keep.read_text())
    path = Path(config.read(args.recipe, args.settings).data.path)
    with tempfile.TemporaryDirectory() as scratch:
        fewer(path, Path(scratch), SAMPLES)
        for index in range(args.rounds):
            if args.measure:
                program = [*launcher(2), sys.executable, "-P", "-m", "ffmpi"]
                subprocess.run([*program, "bench", "machine", "--seconds", str(args.measure)], check=True)
            for kind, (ranks, own) in KINDS.items():
                if args.kinds not in kind:
                    continue
                place = Path(scratch) / f"{kind}-{index}"
                given = [*SETTINGS, *own, *args.settings, f"data.path={scratch}"]
                times[kind].append(once(args.recipe, ranks, given, place))
                shutil.rmtree(place)
                if args.keep:
                    args.keep.write_text(json.dumps(times))
    for kind, pairs in times.items():
        if pairs:
            planned, took = (statistics.median(each) for each in zip(*pairs, strict=True))
            off = 100 * (planned / took - 1)
            print(f"{kind}: planned {planned:.2f} s, took {took:.2f} s, {off:+.1f} % (medians of {len(pairs)})")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # the run has said why
