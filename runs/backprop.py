"""How long ffmpi and PyTorch's backpropagation take from the prompt to an accuracy, in turn on the same cores.

python runs/backprop.py --set data.path=DIR
python runs/backprop.py --set data.path=DIR --rounds 5 --target 98.6

Both train the same shape (the recipe's layers) on the same images with two threads, each with the fewest epochs that
reach the target in the median of the rounds; the seed is the round. PyTorch: ReLU, Adam 0.001 falling to 0 over the
last half, batches of 128. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from ffmpi import config
from ffmpi.data.split import load

THREADS = 2


def torch_accuracy(recipe: str, settings: list[str], epochs: int, seed: int) -> float:
    """Train by backpropagation and return the test accuracy in percent."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    settled = config.read(recipe, settings)
    sets = [load(settled, split, images=True) for split in ("train", "test")]
    (x, y), (x_test, y_test) = [
        (torch.from_numpy(s.images).float() / 255, torch.from_numpy(s.classes).long()) for s in sets
    ]
    widths = [x.shape[1], *settled.network.layers]
    layers: list[torch.nn.Module] = []
    for inputs, units in pairwise(widths):
        layers += [torch.nn.Linear(inputs, units), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], len(sets[0].names)))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, 2 * (epochs - epoch) / epochs)
        for some in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[some]), y[some]).backward()
            optimizer.step()
    with torch.no_grad():
        return 100 * float((net(x_test).argmax(1) == y_test).float().mean())


def ours(recipe: str, settings: list[str], epochs: int, seed: int) -> tuple[float, float]:
    """Return seconds from the prompt to the end, and the best way of reading out's accuracy."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-P", "-m", "ffmpi", "train", recipe, "--run", f"{scratch}/run"]
        more = [f"train.epochs={epochs}", f"seed={seed}", f"schedule.threads={THREADS}"]
        for setting in [*settings, *more]:
            command += ["--set", setting]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        last = json.loads((Path(scratch) / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    return seconds, max(last["accuracy"].values())


def theirs(recipe: str, settings: list[str], epochs: int, seed: int) -> tuple[float, float]:
    """Return the same for PyTorch, in a process of its own."""
    command = [sys.executable, __file__, "--recipe", recipe, "--torch", str(epochs), str(seed)]
    for setting in settings:
        command += ["--set", setting]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - began, float(done.stdout)


def main() -> None:
    """Measure and print a line for each side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=str(Path(__file__).with_name("mnist-local-softmax.toml")))
    parser.add_argument("--target", type=float, default=98.52, help="percent")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs=2, default=(5, 6), metavar=("OURS", "THEIRS"), help="to begin with")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="TABLE.KEY=VALUE")
    parser.add_argument("--torch", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("expected --rounds of at least 1")
    if args.torch:
        print(torch_accuracy(args.recipe, args.settings, *args.torch))
        return
    sides = {"ffmpi": (ours, args.epochs[0]), "PyTorch": (theirs, args.epochs[1])}
    medians = {}
    while len(medians) < len(sides):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides if name not in medians}
        for seed in range(args.rounds):
            for name, results in found.items():
                run, epochs = sides[name]
                results.append(run(args.recipe, args.settings, epochs, seed))
        for name, results in found.items():
            run, epochs = sides[name]
            seconds, accuracy = (statistics.median(column) for column in zip(*results, strict=True))
            print(
                f"{name}: {epochs} epochs, {accuracy:.2f} % after {seconds:.1f} s (medians of {args.rounds})",
                flush=True,
            )
            if accuracy >= args.target:
                medians[name] = seconds
            else:
                sides[name] = run, epochs + 1
    print(f"to {args.target} %: ffmpi takes {medians['ffmpi'] / medians['PyTorch']:.2f} of PyTorch's time")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # the run has said why
