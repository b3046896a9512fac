"""How well own images learn with nothing set but their path: makes files of many kinds and trains own-images.toml.

python runs/own_images.py
python runs/own_images.py --cifar DIR

Prints a Markdown table: one set of digits as five kinds of numbers; made-up pictures, small and large, few and many
classes; and, with the path of CIFAR-10, 1,024 photographs of airplanes and frogs, of which 500 others are for testing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from ffmpi import data
from ffmpi.data import DataSet

RECIPE = Path(__file__).resolve().parent / "own-images.toml"
Split = tuple[np.ndarray, np.ndarray]  # images, labels
AIRPLANE, FROG = 0, 6


def load(name: str, path: str | None, split: str) -> tuple[DataSet, np.ndarray]:
    """Return a split of a known data set and its images, (samples, *shape)."""
    samples = data.load(name, path, split)
    assert samples.images is not None
    return samples, samples.images.reshape(-1, *samples.shape)


def digits() -> Iterator[tuple[str, Split, Split]]:
    """Yield scikit-learn's digits as bytes and as floats of four ranges."""
    loaded = [load("digits", None, split) for split in ("train", "test")]
    mean, std = loaded[0][1].mean(), loaded[0][1].std()
    kinds = {
        "bytes": lambda x: x,
        "floats 0 to 1": lambda x: (x / 255).astype("f4"),
        "floats 0 to 255": lambda x: x.astype("f4"),
        "floats -1 to 1": lambda x: (x / 127.5 - 1).astype("f4"),
        "standardised": lambda x: ((x - mean) / std).astype("f4"),
    }
    for kind, convert in kinds.items():
        train, test = ((convert(images), samples.classes) for samples, images in loaded)
        yield f"digits, {kind}", train, test


def made_up(
    seed: int, shape: tuple[int, ...], classes: int, train: int, test: int, noise: float
) -> tuple[Split, Split]:
    """Return one random picture for each class, seen many times with noise, as bytes around the middle grey."""
    rng = np.random.default_rng(seed)
    pictures = rng.random((classes, *shape))
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, train + test - classes)])
    images = pictures[labels] + rng.normal(0, noise, (len(labels), *shape))
    pixels = (np.clip(images, 0, 1) * 255).astype(np.uint8)
    return (pixels[:train], labels[:train]), (pixels[train:], labels[train:])


def photographs(path: str) -> tuple[Split, Split]:
    """Return the first airplanes and frogs of CIFAR-10, 512 of each to train and 250 of each to test."""
    found = []
    for split, count in (("train", 512), ("test", 250)):
        samples, images = load("cifar10", path, split)
        picked = np.concatenate([np.flatnonzero(samples.classes == c)[:count] for c in (AIRPLANE, FROG)])
        found.append((images[picked], (samples.classes[picked] == FROG).astype(np.int64)))
    return found[0], found[1]


def accuracies(train: Split, test: Split, scratch: Path, options: list[str]) -> dict[str, float]:
    """Write the samples into a file, train on it, and return the test accuracy by method."""
    with h5py.File(scratch / "images.h5", "w") as file:
        for name, (images, labels) in (("train", train), ("test", test)):
            file[f"{name}/images"], file[f"{name}/labels"] = images, labels
    command = [
        sys.executable,
        "-P",
        "-m",
        "ffmpi",
        "train",
        str(RECIPE),
        "--run",
        str(scratch / "run"),
        "--json",
        *options,
    ]
    done = subprocess.run(
        [*command, "--set", f"data.path={scratch / 'images.h5'}"], check=True, stdout=subprocess.PIPE, text=True
    )
    accuracy: dict[str, float] = json.loads(done.stdout.splitlines()[-1])["accuracy"]
    return accuracy


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", metavar="DIR", help="CIFAR-10, as data.path of data.name = 'cifar10'")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="TABLE.KEY=VALUE")
    args = parser.parse_args()
    sets = list(digits())
    sets.append(("made up, 5 classes", *made_up(1, (32, 32, 3), 5, 500, 200, 0.4)))
    sets.append(("made up, 100 classes", *made_up(2, (28, 28), 100, 4500, 1500, 0.3)))
    sets.append(("made up, large, 6 classes", *made_up(3, (96, 96, 3), 6, 300, 120, 0.4)))
    if args.cifar:
        sets.append(("airplane or frog", *photographs(args.cifar)))
    print("| images | training | test | shape | softmax | goodness |\n| --- | --- | --- | --- | --- | --- |")
    options = [part for setting in args.settings for part in ("--set", setting)]
    for name, train, test in sets:
        with tempfile.TemporaryDirectory() as scratch:
            found = accuracies(train, test, Path(scratch), options)
        shape = " x ".join(map(str, train[0].shape[1:]))
        percents = " | ".join(f"{found[method]:.2f} %" for method in ("softmax", "goodness"))
        print(f"| {name} | {len(train[1])} | {len(test[1])} | {shape} | {percents} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # the run has said why
