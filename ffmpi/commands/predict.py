"""The command `predict`: the class of each image, by a checkpoint's network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import data
from ..data import DataSet
from ..data.info import DatasetInfo
from ..data.pixels import converted
from ..errors import UserError
from ..network.methods import METHODS
from ..run.checkpoint import Header
from ..run.directory import checkpoint_path
from ..runtime.mpi import all_ranks_or_exit, on_rank_0, wait
from ..schedule import Pipeline
from .evaluate import read_header, readout_spec, readout_steps, readout_worker


def predict(
    comm: Any, path: str, images_path: str, method: str | None, name: str | None, as_json: bool
) -> None:  # fmt: skip
    """Print the class and the scores of each image."""
    file: Path = on_rank_0(comm, lambda: checkpoint_path(path))
    header, settled = read_header(comm, file, [])
    method = method or settled.methods[0]
    with all_ranks_or_exit(comm):
        if method not in settled.methods:
            raise UserError(f"--method {method}: not in {file}; expected {' or '.join(settled.methods)}")
    images, names = np.empty((0, 0), np.uint8), list[str]()
    sources = [name] if name else list(dict.fromkeys([settled.data.images, "images"]))

    def read() -> DatasetInfo:
        nonlocal images, names
        images, names = data.read_images(images_path, header.shape, sources)
        images = np.asarray(converted(images, header.pixel_format, images_path))
        return DatasetInfo(header.shape, header.names, header.train, len(images), scaling=header.scaling)

    dataset: DatasetInfo = on_rank_0(comm, read)
    with all_ranks_or_exit(comm):
        pipeline = Pipeline(readout_spec(settled, dataset, comm.size))
    unlabelled = DataSet(images, np.empty(0, np.uint8), header.shape, header.names) if comm.rank == 0 else None
    worker = readout_worker(comm, file, header, settled, dataset, pipeline, unlabelled)
    worker.wanted = method
    stream = METHODS[method].stream
    batches = [batch for batch in pipeline.spec.scored_after(settled.chapters - 1) if batch.stream == stream]
    worker.execute(readout_steps(pipeline, comm.rank, batches))
    # One rank has scored each image, the others hold zeros.
    scores = np.zeros_like(worker.scores["test"])
    wait(comm.Ireduce(worker.scores["test"], scores), settled.schedule.timeout, "the scores")
    if comm.rank == 0:
        _print_predictions(header, names, scores, as_json)


def _print_predictions(header: Header, names: Sequence[str], scores: np.ndarray, as_json: bool) -> None:
    for name, row in zip(names, scores, strict=True):
        best = int(row.argmax())
        if as_json:
            print(json.dumps({"image": name, "class": best, "name": header.names[best], "scores": row.tolist()}))
        else:
            print(f"{name}\t{header.names[best]}\t" + " ".join(f"{score:.5g}" for score in row))
