"""What a rank will need of memory, printed before it starts: priced from the shapes of what it will hold."""

from __future__ import annotations

import math
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import kernels
from ..config.schema import Config
from ..data.info import DatasetInfo
from ..data.labels import class_type
from ..data.split import streams
from ..data.streamed import AROUND
from ..errors import UserError, ranges, warn
from ..network.activations import Activations
from ..network.inference import Inference
from ..network.layout import BatchLayout
from ..network.stages import every_block, sizes_of
from ..network.window import window_of
from ..schedule import Schedule
from ..schedule.totals import most_stashed
from . import saving
from .collect import saving_copies
from .limits import Limit
from .model import RankModel
from .reading import needs_samples
from .worker import Worker

MB = 2.0**20
#: Interpreter, libraries, MPI and kernels, the latter from the cache or compiled, for one thread or for more: a little
#: more than was measured with MPICH (206, 374 and 410 MB).
_LOADED, _COMPILED, _COMPILED_PARALLEL = 225 * MB, 390 * MB, 430 * MB
#: Bytes of labels for a sample, beside its class: of training place in the order and negative, with what drawing these
#: takes.
_TRAINING_LABELS, _SCORED_LABELS = 72, 8
#: Bytes of a sample's weight, as it is read and as it is kept.
_WEIGHTS = 12
#: Bytes of a sample's place in the order, with what drawing that takes, where there are no labels.
_ORDER = 32
#: Bytes of a streamed sample's place in its file; and what measuring one takes.
_ROW, _MEASURED = 8, 64
#: Bytes for a sample that is augmented: how it is moved, with what drawing that takes.
_MOVES = 110


@dataclass(frozen=True)
class Price:
    """Bytes that a rank needs at most.

    Attributes
    ----------
    weights : weights and moments, also copies of layers that others train, and states kept for a later save
    activations : of a batch, in and out of each layer, and what computing them takes beside
    stash : a chapter's activations, kept for the epochs of the next layer
    links : buffers of what comes from or goes to other ranks
    data : images and labels
    base : interpreter, libraries, kernels
    starting : what reading, drawing or restoring takes beside `data` and `weights`, before there are activations
    saving : parts of arrays on their way into the checkpoint
    """

    weights: float
    activations: float
    stash: float
    links: float
    data: float
    base: float
    starting: float
    saving: float = 0.0

    @property
    def total(self) -> float:
        """The most at any time: memory for the start is given back before the first batch."""
        training = self.activations + self.stash + self.links + self.saving
        return self.base + self.data + self.weights + max(self.starting, training)

    @property
    def largest(self) -> str:
        """What takes most, and how to take less."""
        cures = {
            "weights": "weights and moments; expected smaller network.layers, more hosts, or checkpoint.wait = true",
            "activations": "a batch's activations; expected a smaller train.batch_size",
            "stash": "a chapter's activations; expected schedule.name = 'pipeline', or more hosts",
            "saving": "parts of what is saved; expected smaller network.layers",
            "links": "links between ranks; expected a smaller schedule.depth or train.batch_size",
            "data": "the samples; expected fewer of them, or fewer ranks on a host",
            "base": "the program itself; expected fewer ranks on a host",
        }
        return cures[max(cures, key=lambda name: float(getattr(self, name)))]


def price(config: Config, dataset: DatasetInfo, schedule: Schedule, rank: int, base: float) -> Price:
    """Return what `rank` needs; UserError where not even the address space has room for it.

    Its objects are made, without samples, and their sizes added up: the system gives memory only when it is used.
    """
    ranks = SimpleNamespace(rank=rank, size=schedule.spec.ranks)
    try:
        model = RankModel(config, dataset, schedule, rank, {}, {})
        worker = Worker(ranks, model, schedule)
    except MemoryError:
        least = sum(_least(config, dataset, schedule, rank))
        raise UserError(
            f"not enough memory: the layers of rank {rank} alone need more than {_size(least)}; expected a smaller "
            "network or smaller batches"
        ) from None
    try:
        return _price(config, dataset, schedule, rank, base, model, worker)
    finally:
        vars(worker).clear()  # it refers to itself, and what it holds would be there beside the run's own


def _price(
    config: Config, dataset: DatasetInfo, schedule: Schedule, rank: int, base: float, model: RankModel, worker: Worker
) -> Price:  # fmt: skip
    trained = list(model.all_states.values())
    weights = _bytes([*trained, *(layer.parameters for layer in model.layers.values())])
    links = float(worker.buffers.nbytes)
    copies = float(worker.buffers.copied)
    units = config.network.layers
    most, snapshots = most_stashed(schedule, rank, units, lambda stage: _bytes(model.states(stage).values()))
    if (every := schedule.spec.save_every) and saving_copies(config, schedule.spec.ranks, every - 1):
        snapshots = _bytes(trained)
    outputs = config.rule.outputs(dataset.classes)
    sizes = {width: Activations(width, model.layout.most_rows, outputs).flat.nbytes for width in most}
    largest = float(max((panels.nbytes for one in trained for panels in one.panels.values()), default=0))
    data, reading = _data(config, dataset, schedule, rank)
    return Price(
        weights=weights + copies + snapshots,
        activations=_bytes([worker]) - weights - links,
        stash=sum(count * sizes[width] for width, count in most.items()),
        links=links - copies,
        data=data,
        base=base,
        starting=max(reading, 2.5 * largest),
        saving=_saving(config, dataset, rank, _bytes(trained)),
    )


def _saving(config: Config, dataset: DatasetInfo, rank: int, own: float) -> float:
    """Return the bytes of parts that are under way at once during a save, from or to a rank that has `own` of all."""
    blocks = every_block(config, dataset).values()
    every = 4.0 * sum(math.prod(shape) for block in blocks for shape in block.shapes().values())
    part = 4.0 * max(saving.PART, kernels.LANES * max(sizes_of(config, dataset)))
    if rank > 0:
        return min(saving.EACH * part, own)
    return min(part, own) + min(saving.OWNERS * saving.EACH * part, max(0.0, every - own))


def price_of_answers(network: Inference, data: float, base: float) -> Price:
    """Return what a rank needs that has `network` and, of the images that it answers for, `data` bytes."""
    weights = _bytes(network.blocks.values())
    largest = max(4.0 * math.prod(array.shape) for one in network.blocks.values() for array in one.held)
    activations = _bytes([network]) - weights
    return Price(weights, activations, stash=0.0, links=0.0, data=data, base=base, starting=2.5 * largest)


def base_of(threads: int) -> float:
    """Return what any rank needs, now that its kernels have been loaded or compiled."""
    if not kernels.compiled_here():
        return _LOADED
    return _COMPILED_PARALLEL if threads > 1 else _COMPILED


def _least(config: Config, dataset: DatasetInfo, schedule: Schedule, rank: int) -> Iterable[float]:
    """Yield the bytes of the weights and moments of each layer that `rank` trains."""
    sets = 1 + config.optimizer.moments
    for layer, (inputs, units) in enumerate(pairwise(sizes_of(config, dataset))):
        if layer in schedule.trained(rank):
            yield 4.0 * sets * inputs * min(units, kernels.LANES * len(schedule.pieces(rank)[layer]))


def _bytes(roots: Iterable[Any]) -> float:
    """Return the bytes of all arrays that ffmpi's objects among `roots` hold, each memory once."""
    seen: set[int] = set()
    total, stack = 0.0, list(roots)
    while stack:
        item = stack.pop()
        while isinstance(item, np.ndarray) and isinstance(item.base, np.ndarray):
            item = item.base
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            total += item.nbytes
        elif isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list | tuple):
            stack += item
        elif type(item).__module__.startswith("ffmpi.") and hasattr(item, "__dict__"):
            stack += vars(item).values()
    return total


def _data(config: Config, dataset: DatasetInfo, schedule: Schedule, rank: int) -> tuple[float, float]:
    """Return the bytes of this rank's samples, and what reading them takes beside."""
    images = 0 in schedule.computed(rank)
    if not needs_samples(config, dataset, schedule, rank):
        labelled, pixels = 0, 0
    else:
        labelled, pixels = 1, dataset.pixels * dataset.pixel_bytes * images
    streamed, windows = streams(config), 0
    if streamed and pixels:
        windows, pixels = _windows(config, dataset, schedule, rank), 0
    own = sum(dataset.shards[shard] for shard in schedule.shards(rank))
    negatives = config.negatives
    choices = min(negatives.lag, config.chapters) + 1 if negatives.adaptive else 0
    kind = np.dtype(class_type(dataset.classes)).itemsize
    moves = _MOVES if images and config.augment else 0
    scored = dataset.validation + dataset.test
    training = pixels + _TRAINING_LABELS + kind * (1 + choices) + moves + _WEIGHTS * dataset.weighted
    data = labelled * (own * training + scored * (pixels + kind + _SCORED_LABELS))
    data += windows
    if not labelled and config.network.transforms:  # random draws are keyed by samples
        data += own * _ORDER
    whole = dataset.train + scored
    if streamed:
        reading = AROUND + whole * _MEASURED
    elif config.shards.by == "file":
        reading = max(dataset.shards) * pixels
    elif rank == 0:  # reads all and tells the others
        pixels = dataset.pixels * dataset.pixel_bytes
        reading = max(0, 2 * whole * (pixels + kind) - data)
    else:
        reading = 2 * whole * (pixels + kind) * labelled - data
    return float(data), float(max(reading, 0))


def _windows(config: Config, dataset: DatasetInfo, schedule: Schedule, rank: int) -> int:
    """Return the bytes of the streamed images that are in memory at once."""
    row, at_once = dataset.pixels * dataset.pixel_bytes, BatchLayout(config, dataset.classes).most_images
    learnt = [window_of(config, dataset.shards[shard], row, at_once) for shard in schedule.shards(rank)]
    scored = [window_of(None, count, row, at_once) for count in (dataset.validation, dataset.test) if count]
    images = max((math.prod(one) for one in learnt), default=0) + sum(math.prod(one) for one in scored)
    return images * row + _ROW * (dataset.train + dataset.validation) + AROUND


@dataclass(frozen=True)
class Need:
    """What one rank needs, has already, and may have."""

    host: str
    price: Price
    resident: float
    limits: tuple[Limit, ...]
    available: int | None


def resident() -> float:
    """Return the most memory in bytes that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def check(needs: list[Need]) -> None:
    """Refuse what cannot fit; warn where it fits only if others give memory back. `needs` are by rank."""
    groups: dict[str, tuple[Limit, list[int]]] = {}
    for rank, need in enumerate(needs):
        for limit in need.limits:
            groups.setdefault(limit.key, (limit, []))[1].append(rank)
    for limit, ranks in groups.values():
        total = math.fsum(needs[rank].price.total for rank in ranks)
        if total > limit.bytes:
            greatest = max((needs[rank].price for rank in ranks), key=lambda price: price.total)
            raise UserError(
                f"not enough memory: {_who(ranks)} {_size(total)}, more than the {_size(limit.bytes)} of {limit.what}; "
                f"most is for {greatest.largest}"
            )
    for host in dict.fromkeys(need.host for need in needs):
        here = [rank for rank, need in enumerate(needs) if need.host == host]
        free = [available for rank in here if (available := needs[rank].available) is not None]
        more = math.fsum(max(0.0, needs[rank].price.total - needs[rank].resident) for rank in here)
        if free and more > min(free):
            warn(
                f"memory of {host}: {_who(here)} up to {_size(more)} more, but only {_size(min(free))} is free now; "
                "the system may end the run"
            )


def _who(ranks: list[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]} needs"
    return f"ranks {ranges(ranks)} together need"


def _size(count: float) -> str:
    for unit, power in (("TB", 2), ("GB", 1)):
        if count >= 10_000 * MB * 1024 ** (power - 1):
            return f"{count / MB / 1024**power:.1f} {unit}"
    return f"{count / MB:.0f} MB"
