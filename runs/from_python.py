"""Time what Python programs have against the command line and the kernels, in turn, on real MNIST.

    python runs/from_python.py DIR

`ffmpi.fit` on arrays beside `ffmpi train` on the same samples: seconds of training, and whether the weights are the
same bits. And of `network.predict` on 10,000 images the share of the time that the forward kernels take.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import ffmpi
from ffmpi import data, kernels

RECIPE = Path(__file__).parent / "mnist.toml"


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path, help="directory of MNIST's files")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3, help="of which the median is told")
    arguments = parser.parse_args()
    train, test = (data.load("mnist", str(arguments.mnist), split) for split in data.SPLITS)
    settings = [f"train.epochs={arguments.epochs}"]
    config = ffmpi.read_config(RECIPE, *settings)
    shape = (-1, *train.shape)
    ratios, network = [], None
    for _ in range(arguments.turns):
        with tempfile.TemporaryDirectory() as place:
            run = Path(place) / "run"
            changes = [part for one in [f"data.path={arguments.mnist}", *settings] for part in ("--set", one)]
            command = [sys.executable, "-P", "-m", "ffmpi", "train", str(RECIPE), "--run", str(run), *changes]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            trained = ffmpi.load(run)
        network = ffmpi.fit(
            np.asarray(train.images).reshape(shape), train.classes, config,
            test=(np.asarray(test.images).reshape(shape), test.classes),
        )  # fmt: skip
        same = all((network.parameters[name] == array).all() for name, array in trained.parameters.items())
        seconds = [sum(record["seconds"] for record in one.history) for one in (network, trained)]
        ratios.append(seconds[0] / seconds[1])
        print(f"fit {seconds[0]:.2f} s, train {seconds[1]:.2f} s: {ratios[-1]:.3f}; same bits: {same}")
    assert network is not None
    print(f"fit takes {statistics.median(ratios):.3f} of the time of train (median)")
    images = np.asarray(test.images).reshape(shape)
    for method in network.methods:
        shares = [_share_in_kernels(lambda method=method: network.predict(images, method)) for _ in range(7)]
        share, seconds_each = (statistics.median(one) for one in zip(*shares, strict=True))
        rate = len(images) / seconds_each
        print(
            f"predict by {method}: {rate:.0f} images a second, {share:.2f} of the time in the forward kernels (median)"
        )


def _share_in_kernels(predict: Callable[[], Any]) -> tuple[float, float]:
    """Return the share of the time of ``predict()`` that forward kernels take, and the seconds of it all."""
    spent = 0.0

    def timed(kernel: Any) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal spent
            began = time.perf_counter()
            result = kernel(*arguments)
            spent += time.perf_counter() - began
            return result

        return call

    names = ("forward", "forward_parallel", "forward_labelled", "forward_labelled_parallel")
    before = {name: getattr(kernels, name) for name in names}
    try:
        for name, kernel in before.items():
            setattr(kernels, name, timed(kernel))
        began = time.perf_counter()
        predict()
        whole = time.perf_counter() - began
    finally:
        for name, kernel in before.items():
            setattr(kernels, name, kernel)
    return spent / whole, whole


if __name__ == "__main__":
    main()
