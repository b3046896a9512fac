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
from ..runtime.mpi import all_ranks_or_raise, on_rank_0
from ..runtime.reading import compare, read_split
from ..runtime.setup import trained_network
from ..schedule.steps import Split
from .confusion import class_accuracies, class_table, confusion_matrix, confusion_table


def evaluate(
    comm: Any, path: str, settings: list[str], as_json: bool, with_confusion: bool = False, split: Split = "test"
) -> None:  # fmt: skip
    """Print the accuracy on a split by every method of the run, of each class, and the confusion matrix if asked to."""
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
    network = trained_network(comm, file, header, settled, memory_of(images))

    def classify(images: np.ndarray) -> np.ndarray:
        return np.stack([network.scores(images, method).argmax(axis=1) for method in methods], axis=1).astype(np.uint16)

    matrices = {method: np.zeros((classes, classes), np.int64) for method in methods}
    block = block_size(network, images, methods, comm.size)
    for part, answers in in_order(comm, images, block, classify, settled.schedule.timeout):
        for method, predicted in zip(methods, answers.T, strict=True):
            matrices[method] += confusion_matrix(test.classes[part], predicted, classes)
    if comm.rank > 0:
        return
    samples = len(test.classes)
    accuracy = {method: 100.0 * int(matrix.trace()) / samples for method, matrix in matrices.items()}
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
        print(json.dumps(found))
        return
    percents = ", ".join(f"{value:.2f} % by {method}" for method, value in accuracy.items())
    print(f"{file}: {percents} of {samples} {'training' if split == 'train' else split} samples")
    for line in class_table(header.names, matrices):
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
