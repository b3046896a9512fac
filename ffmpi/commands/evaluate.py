"""The command `evaluate`: the accuracy of a checkpoint's network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .. import config
from ..config.changes import EVALUATION
from ..config.schema import Config
from ..data.shapes import rearranged
from ..data.split import glimpsed
from ..errors import UserError
from ..run import checkpoint
from ..run.checkpoint import Header
from ..run.directory import checkpoint_path
from ..runtime.answering import block_size, converted_on_all, in_order, memory_of
from ..runtime.by_layer import memory_of_spectra, spectra
from ..runtime.mpi import all_ranks_or_raise, on_rank_0
from ..runtime.reading import compare, read_split
from ..runtime.setup import trained_network
from ..schedule.steps import Split
from .confusion import class_accuracies, class_table, confusion_matrix, confusion_table
from .layers import layer_table, layers_of, ways_of


def evaluate(
    comm: Any, path: str, settings: list[str], as_json: bool, with_confusion: bool = False, split: Split = "test",
    by_layer: bool = False,
) -> None:  # fmt: skip
    """Print the accuracy on a split by every method of the run, of each class, and the confusion matrix if asked to.

    With `by_layer` what each layer alone says and spans stands in place of the classes, unless their matrix is wanted.
    """
    file: Path = on_rank_0(comm, lambda: checkpoint_path(path))
    header, settled = read_header(comm, file, settings, places=True)
    source = (split == "test" and settled.shards.test_path) or settled.data.path or settled.data.name
    with all_ranks_or_raise(comm):
        test = read_split(settled, split)
        if test.names != header.names:
            raise UserError(
                f"{source}: has the classes {', '.join(test.names)}; expected {', '.join(header.names)} as in {file}"
            )
    compare(comm, {f"{source} ({split})": glimpsed(test)})
    with all_ranks_or_raise(comm):
        assert test.images is not None
        images = rearranged(test.images, test.shape, header.shape, source)
    images = converted_on_all(comm, images, header.pixel_format, source)
    methods, classes = settled.methods, len(header.names)
    needed = memory_of(images)
    if by_layer:
        needed += memory_of_spectra(settled.network.layers, comm.size)
    network = trained_network(comm, file, header, settled, needed)
    ways = ways_of(settled) if by_layer else {}

    def classify(images: np.ndarray) -> np.ndarray:
        whole = [network.scores(images, method).argmax(axis=1)[:, None] for method in methods]
        return np.hstack([*whole, *(network.layer_predictions(images, method) for method in ways.values())])

    matrices = {method: np.zeros((classes, classes), np.int64) for method in methods}
    right = np.zeros((len(ways), len(settled.network.layers)), np.int64)
    block = block_size(network, images, methods, comm.size)
    for part, answers in in_order(comm, images, block, classify, settled.schedule.timeout):
        true, predicted = test.classes[part], answers[:, : len(methods)]
        for method, each in zip(methods, predicted.T, strict=True):
            matrices[method] += confusion_matrix(true, each, classes)
        right += (answers[:, len(methods) :] == true[:, None]).sum(axis=0).reshape(right.shape)
    spans = spectra(comm, network, images, test.classes.astype(np.int64), block) if by_layer else []
    if comm.rank > 0:
        return
    samples = len(test.classes)
    accuracy = {method: 100.0 * int(matrix.trace()) / samples for method, matrix in matrices.items()}
    layers = layers_of(settled, dict(zip(ways, 100.0 * right / samples, strict=True)), spans) if by_layer else []
    if as_json:
        found = {
            "checkpoint": str(file),
            "samples": samples,
            "split": split,
            "accuracy": accuracy,
            "classes": header.names,
            "class_accuracy": {method: class_accuracies(matrix) for method, matrix in matrices.items()},
            "confusion": {method: matrix.tolist() for method, matrix in matrices.items()},
        }
        print(json.dumps(found | ({"layers": layers} if by_layer else {})))
        return
    percents = ", ".join(f"{value:.2f} % by {method}" for method, value in accuracy.items())
    print(f"{file}: {percents} of {samples} {'training' if split == 'train' else split} samples")
    for line in layer_table(layers) if by_layer else ():
        print(line)
    for line in class_table(header.names, matrices) if with_confusion or not by_layer else ():
        print(line)
    for method, matrix in matrices.items() if with_confusion else ():
        print(f"\n{method}:")
        for line in confusion_table(header.names, matrix):
            print(line)


def read_header(
    comm: Any, file: Path, settings: list[str], places: bool = False
) -> tuple[Header, Config]:  # fmt: skip
    """Return what the checkpoint says, changed by `settings`; with `places` the data must be where it says."""

    def read() -> tuple[Header, Config]:
        with checkpoint.reading(file) as reader:
            header = reader.header
        for setting in settings:
            for key in config.keys_of(setting):
                if key not in EVALUATION:
                    raise UserError(f"--set {setting}: {key} is the network's; expected one of {', '.join(EVALUATION)}")
        settled = config.change(header.config, str(file), settings)
        if places:
            config.check_places(settled, str(file))
        return header, settled

    header, settled = on_rank_0(comm, read)
    return header, settled
