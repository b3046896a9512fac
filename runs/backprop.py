"""How long ffmpi and PyTorch's backpropagation take from the prompt to an accuracy, in turn on the same cores.

python runs/backprop.py --set data.path=DIR
python runs/backprop.py --set data.path=DIR --rounds 5 --target 98.6

Both train the same shape (the recipe's layers) on the same images with two threads, each with the fewest epochs that
reach the target in the median of the rounds; the seed is the round. Both classify the test samples once, at the end,
when ffmpi saves its only checkpoint, too. PyTorch: ReLU, Adam falling to 0 over the last half, with each of the batches
and rates below; the fastest of them counts. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import functools
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
#: Batch size and learning rate of PyTorch's runs.
PYTORCH = ((128, 1e-3), (256, 2e-3))


def torch_accuracy(recipe: str, settings: list[str], epochs: int, seed: int, size: int, rate: float) -> float:
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
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, fused=True)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, 2 * (epochs - epoch) / epochs)
        for some in torch.randperm(len(x)).split(size):
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
        more += ["classify.softmax_every=0", f"checkpoint.every={epochs}"]  # once, at the end, as the other side
        for setting in [*settings, *more]:
            command += ["--set", setting]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        last = json.loads((Path(scratch) / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    return seconds, max(last["accuracy"].values())


def theirs(size: int, rate: float, recipe: str, settings: list[str], epochs: int, seed: int) -> tuple[float, float]:
    """Return the same for PyTorch with batches of `size` and a learning `rate`, in a process of its own."""
    numbers = (epochs, seed, size, rate)
    command = [sys.executable, __file__, "--recipe", recipe, "--torch", *map(str, numbers)]
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
    parser.add_argument("--torch", type=float, nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("expected --rounds of at least 1")
    if args.torch:
        epochs, seed, size, rate = args.torch
        print(torch_accuracy(args.recipe, args.settings, int(epochs), int(seed), int(size), rate))
        return
    sides = {"ffmpi": (ours, args.epochs[0])}
    for size, rate in PYTORCH:
        sides[f"PyTorch, batches of {size}, rate {rate:g}"] = functools.partial(theirs, size, rate), args.epochs[1]
    medians: dict[str, float] = {}
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
    seconds = medians.pop("ffmpi")
    fastest = min(medians, key=lambda name: medians[name])
    print(f"to {args.target} %: ffmpi takes {seconds / medians[fastest]:.2f} of the time of {fastest}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # the run has said why
