"""The command `evaluate`, and how a checkpoint's network is set up to be read out on any number of ranks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .. import config
from ..config.changes import EVALUATION
from ..config.schema import Config
from ..data import DataSet
from ..data.info import DatasetInfo, resolved
from ..data.pixels import fitted
from ..data.split import contents
from ..errors import UserError
from ..network.methods import METHOD_NAMES
from ..run import checkpoint
from ..run.checkpoint import Header
from ..run.directory import checkpoint_path
from ..run.metrics import Measurements
from ..runtime.model import RankModel
from ..runtime.mpi import all_ranks_or_exit, on_rank_0, wait
from ..runtime.reading import compare, read_split
from ..runtime.setup import prepare_kernels, restore
from ..runtime.sizes import spec_of
from ..runtime.worker import Worker
from ..schedule import Pipeline, ScheduleSpec, Steps
from ..schedule.pipeline import conclusion, sweep
from ..schedule.steps import Batch, Record, Report, Split
from .confusion import class_accuracies, class_table, confusion_matrix, confusion_table


def evaluate(
    comm: Any, path: str, settings: list[str], as_json: bool, with_confusion: bool = False, split: Split = "test"
) -> None:  # fmt: skip
    """Print the accuracy on a split by every method of the run, of each class, and the confusion matrix if asked to."""
    file: Path = on_rank_0(comm, lambda: checkpoint_path(path))
    header, settled = read_header(comm, file, settings, places=True)
    test: DataSet | None = None  # what is scored here, of whichever split

    def read() -> DatasetInfo:
        nonlocal test
        test = read_split(settled, split, images=True)
        return DatasetInfo(
            header.shape, test.names, header.train, len(test.classes), scaling=header.scaling
        )  # fmt: skip

    dataset: DatasetInfo = on_rank_0(comm, read)
    source = (split == "test" and settled.shards.test_path) or settled.data.path or settled.data.name
    with all_ranks_or_exit(comm):
        if dataset.names != header.names:
            raise UserError(
                f"{source}: has the classes {', '.join(dataset.names)}; expected {', '.join(header.names)} as in {file}"
            )
        pipeline = Pipeline(readout_spec(settled, dataset, comm.size))
        if comm.rank > 0 and comm.rank in pipeline.owners[pipeline.spec.layers - 1 :]:
            test = read_split(settled, split, images=False)
    compare(comm, {f"{source} ({split})": contents(test)} if test else {})
    with all_ranks_or_exit(comm):
        test = fitted(test, header.pixel_format, header.shape, source) if test else None
    worker = readout_worker(comm, file, header, settled, dataset, pipeline, test)
    batches = pipeline.spec.scored_after(settled.chapters - 1)
    accuracy: dict[str, float] = {}

    def report(chapter: int, measurements: Measurements) -> None:
        accuracy.update(measurements.accuracy("test"))

    worker.on_report = report
    worker.execute(readout_steps(pipeline, comm.rank, batches))
    # One rank has scored each image, the others hold zeros.
    predicted = np.zeros_like(worker.predicted["test"])
    wait(comm.Ireduce(worker.predicted["test"], predicted), settled.schedule.timeout, "the predictions")
    if comm.rank > 0:
        return
    assert test is not None
    matrices = {
        method: confusion_matrix(test.classes, predicted[METHOD_NAMES.index(method)], dataset.classes)
        for method in accuracy
    }
    if as_json:
        found = {
            "checkpoint": str(file),
            "samples": dataset.test,
            "split": split,
            "accuracy": accuracy,
            "classes": dataset.names,
            "class_accuracy": {method: class_accuracies(matrix) for method, matrix in matrices.items()},
            "confusion": {method: matrix.tolist() for method, matrix in matrices.items()},
        }
        print(json.dumps(found))
        return
    percents = ", ".join(f"{value:.2f} % by {method}" for method, value in accuracy.items())
    print(f"{file}: {percents} of {dataset.test} {'training' if split == 'train' else split} samples")
    for line in class_table(dataset.names, matrices):
        print(line)
    for method, matrix in matrices.items() if with_confusion else ():
        print(f"\n{method}:")
        for line in confusion_table(dataset.names, matrix):
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


def readout_spec(settled: Config, dataset: DatasetInfo, ranks: int) -> ScheduleSpec:
    """Return what the schedule has to know to read out a network: nothing is learnt, so no negatives are selected."""
    return dataclasses.replace(spec_of(settled, dataset, ranks), adaptive=None)


def readout_worker(
    comm: Any, file: Path, header: Header, settled: Config, dataset: DatasetInfo, pipeline: Pipeline,
    test: DataSet | None,
) -> Worker:  # fmt: skip
    """Return a worker of this rank that has the network of `file` and, where they are needed, the test samples."""
    prepare_kernels(comm, settled)
    worker = Worker(
        comm,
        RankModel(resolved(settled, dataset), dataset, pipeline, comm.rank, {}, {"test": test} if test else {}),
        pipeline,
    )
    restore(comm, file, header, worker.model)
    return worker


def readout_steps(pipeline: Pipeline, rank: int, batches: Sequence[Batch]) -> Steps:
    """Yield what `rank` does to pass `batches` through the network once, and to report on rank 0 what was measured."""
    yield from chain.from_iterable(
        sweep(pipeline, rank, batches, conclusion(pipeline.spec, pipeline.spec.chapters - 1, batches, None))
    )
    yield Report(0)
    if rank == 0:
        yield Record(0, tuple(range(pipeline.spec.ranks)))
