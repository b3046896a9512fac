"""Training on arrays, in one process or on all ranks of a job."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from .. import config as configuration
from ..data.memory import Arrays, holding
from ..errors import UserError, telling
from ..run.directory import RunDirectory
from ..run.kept import Kept
from ..run.progress import Output
from ..runtime.agreement import agree
from ..runtime.joined import joined
from ..runtime.mpi import all_ranks_or_raise, on_rank_0
from ..runtime.setup import training_worker
from ..runtime.training import Listeners, Observed, execute, facts, progress_of
from .settings import AnyConfig, complete
from .trained import TrainedNetwork
from .warning import warn_caller

#: What weights are called, as data.weights.
_WEIGHTS = "weights"
#: Told of each chapter's record, on rank 0; true ends the training after it.
Callback = Callable[[dict[str, Any]], object]


def fit(
    images: Any, labels: Any, config: AnyConfig = None, *, weights: Any = None, test: tuple[Any, Any] | None = None,
    classes: Sequence[str] = (), callbacks: Callback | Iterable[Callback] = (), run: str | Path | None = None,
    comm: Any = None, verbose: bool = False, trace: bool = False,
) -> TrainedNetwork:  # fmt: skip
    """Train a network on arrays and return it: the same bits as ``ffmpi train`` with the same configuration.

    In a job of several ranks all call this with the same arguments, and all get the network.

    images : (samples, ...) uint8 or floats of any range; labels : (samples,) whole numbers from 0
    config : `ffmpi.Config`, a dict of tables, the path of a TOML file, or another network's `config`; without
        ``data.mean`` and ``data.std`` pixels are standardised as ``data.standardise = "auto"`` says
    weights : (samples,) floats from 0, how often the loss of each sample counts
    test : images and labels that accuracy is measured on after each chapter; ``data.validation`` takes some of the
        training samples instead
    classes : names of the classes, by number; without any they are called by their numbers
    callbacks : called on rank 0 with each chapter's record, as in metrics.jsonl (`epoch`, `layers`, `accuracy`,
        `validation`, ...); if one returns true the training ends after that chapter or, with ``checkpoint.every``, the
        next one whose state is saved
    run : a run directory to write, as ``ffmpi train --run`` does; otherwise nothing is written
    comm : an mpi4py communicator; None: COMM_WORLD where a launcher has started the process, otherwise no MPI at all
    verbose : whether to print what ``ffmpi train`` prints
    trace : whether to record in the run directory what each rank does when, as ``ffmpi train --trace`` does

    Raises UserError, with the sentence that the command line would print; warns with FfmpiWarning.
    """
    listeners = [callbacks] if callable(callbacks) else list(callbacks)
    samples = _samples(images, labels, weights, test, tuple(classes))
    kept, history = Kept(), list[dict[str, Any]]()

    def chapter(record: dict[str, Any]) -> bool:
        history.append(record)
        return any([callback(record) for callback in listeners])

    with joined(comm) as ranks, ExitStack() as held:
        held.enter_context(telling(warn_caller if ranks.rank == 0 else lambda text: None))
        held.enter_context(holding(samples))
        with all_ranks_or_raise(ranks):
            settled = complete(config)
            if weights is not None:
                settled = structs.replace(settled, data=structs.replace(settled.data, weights=_WEIGHTS))
            if settled.checkpoint.best and run is None:
                raise UserError(
                    "checkpoint.best = True: keeps a file in the run directory; expected run = DIR beside it"
                )
            if trace and run is None:
                raise UserError("trace = True: is written into the run directory; expected run = DIR beside it")
        agree(ranks, {"config": f"CRC-32 {zlib.crc32(configuration.dump(settled).encode()):08x}"})
        observed = Observed("the arrays")
        worker = training_worker(ranks, settled, look=observed)
        directory = RunDirectory(Path(run)) if run is not None else None
        if directory:
            about = facts(ranks, worker) | {"data": observed.about}
            on_rank_0(ranks, lambda: directory.create(worker.config, about))
        progress = progress_of(ranks, worker, Output()) if verbose else None
        if progress:
            progress.start(directory.path if directory else None, 0, observed.lines)
        execute(ranks, worker, Listeners(directory, progress, chapter, kept, trace))
        if progress:
            progress.finish(directory)
    settled, dataset = worker.config, worker.dataset
    vars(worker).clear()  # it refers to itself, and would keep the samples
    with joined(comm) as ranks:
        state = ranks.bcast((kept.arrays, kept.chapter, history))
    return TrainedNetwork(settled, dataset, *state)


def _samples(
    images: Any, labels: Any, weights: Any, test: tuple[Any, Any] | None, classes: tuple[str, ...]
) -> Arrays:  # fmt: skip
    given = {"train/images": np.asarray(images), "train/labels": np.asarray(labels)}
    if test is not None:
        given |= {"test/images": np.asarray(test[0]), "test/labels": np.asarray(test[1])}
    if weights is not None:
        given[f"train/{_WEIGHTS}"] = np.asarray(weights)
    return Arrays(given, classes)
