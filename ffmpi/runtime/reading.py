"""Reading the samples of a run on all ranks: each what it needs, and all the same."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from ..config.schema import SHARD, Config
from ..data import DataSet
from ..data.info import DatasetInfo
from ..data.known import SPLITS
from ..data.pixels import combined_format, fitted, measured_format, nonzero_share
from ..data.scaling import PixelScaling, scaling_of
from ..data.split import Contents, contents, divide, load, load_in_order, measured, partition, subset
from ..data.statistics import Statistics, combined, statistics_of, tally
from ..data.weights import expect_some
from ..errors import UserError
from ..network import random
from ..schedule import Schedule
from ..schedule.steps import Split
from .agreement import agree
from .mpi import all_ranks_or_raise, allgather, on_rank_0

#: What is told of the samples, on rank 0; it may raise UserError.
Look = Callable[[Statistics], None]

#: A rank's samples to learn from, by shard, and those that are only scored, by split.
Share = tuple[dict[int, DataSet], dict[Split, DataSet]]


def compare(comm: Any, read: dict[str, Contents]) -> None:
    """Make sure that all ranks have read the same samples, each as much as it has read of them.

    `read` has the contents by where they are from, in words.
    """
    facts = {name: fact for source, part in read.items() for name, fact in part.facts(source).items()}
    agree(comm, facts, "the same samples on all ranks; a relative path leads elsewhere from another directory")


def needs_samples(config: Config, dataset: DatasetInfo, schedule: Schedule, rank: int) -> bool:
    """Return whether `rank` reads samples: classes and weights, for those who choose, score, or learn from them."""
    images, last = 0 in schedule.computed(rank), schedule.spec.layers - 1
    learns = config.rule.needs_labels or dataset.weighted
    return images or learns or bool({last, last + 1} & set(schedule.trained(rank)))


def _cut(config: Config, train: DataSet) -> tuple[DataSet, DataSet | None]:
    """Return of the samples of a training split those to learn from, and those to validate with, if there are any."""
    if not config.data.validation:
        return train, None
    words = random.words(config.seed, random.Purpose.VALIDATION, 0, len(train.classes))
    kept, taken = partition(config, words)
    return subset(train, kept), subset(train, taken)


def read_split(config: Config, split: Split) -> DataSet:
    """Return the samples of a split of a run that is over, with images to be read in order. Raises UserError."""
    if split == "test":
        return load_in_order(config, "test", config.shards.test_path)
    if config.shards.by == "file":
        raise UserError(f"--split {split}: the samples lie in files of their own (shards.by = 'file'); expected 'test'")
    found = dict(zip(("train", "validation"), _cut(config, load_in_order(config, "train")), strict=True))[split]
    if found is None:
        raise UserError(
            f"--split {split}: the network was trained with data.validation = 0; expected 'test' or 'train'"
        )
    return found


class Whole:
    """One data set, which every rank that needs some of it reads."""

    def __init__(self, comm: Any, config: Config, scaling: PixelScaling | None, look: Look | None) -> None:
        """Read it on rank 0, which measures the pixels unless `scaling` is there already, and shows `look` what is so.

        dataset : the sizes, on all ranks
        """
        self.comm, self.config = comm, config
        self._source, self._read = config.data.path or config.data.name, dict[str, Contents]()
        self._sets: tuple[DataSet, DataSet] | None = None
        self.dataset: DatasetInfo = on_rank_0(comm, lambda: self._measure(scaling, look))

    def _load(self, images: bool) -> tuple[DataSet, DataSet]:
        both = load(self.config, "train", images=images), load(self.config, "test", images=images)
        self._read = {f"{self._source} ({name})": contents(data) for name, data in zip(SPLITS, both, strict=True)}
        return both

    def _parts(self, train: DataSet) -> tuple[list[DataSet], DataSet | None]:
        """Return the shards of the training samples, and the validation samples that were taken first."""
        train, validation = _cut(self.config, train)
        words = random.words(self.config.seed, random.Purpose.SHARD, 0, len(train.classes))
        return [subset(train, part) for part in divide(self.config, train.classes, words)], validation

    def _measure(self, scaling: PixelScaling | None, look: Look | None) -> DatasetInfo:
        self._sets = whole, test = self._load(images=True)
        parts, validation = self._parts(whole)
        if look:
            tallies = {"train": tally(*parts)} | ({"test": tally(test)} if len(test.classes) else {})
            look(statistics_of(whole.shape, whole.names, tallies))
        expect_some([part.weights for part in parts], self._source)
        assert whole.images is not None
        counts = tuple(len(part.classes) for part in parts)
        return DatasetInfo(
            whole.shape, whole.names, sum(counts), len(test.classes), self._read[f"{self._source} (train)"].digest,
            counts, scaling or scaling_of(self.config, measured(self.config, parts)), measured_format(whole.images),
            0 if validation is None else len(validation.classes), nonzero_share(whole.images),
            whole.weights is not None,
        )  # fmt: skip

    def share(self, schedule: Schedule) -> Share:
        """Return what this rank needs, which all ranks have found to be the same."""
        rank = self.comm.rank
        with all_ranks_or_raise(self.comm):
            images = 0 in schedule.computed(rank)
            labels = needs_samples(self.config, self.dataset, schedule, rank)
            if rank > 0 and labels:
                self._sets = self._load(images=images)
        compare(self.comm, self._read)
        whole = self._sets
        self._sets = None
        with all_ranks_or_raise(self.comm):
            if not whole or not labels:
                return {}, {}
            test = fitted(whole[1], self.dataset.pixel_format, self.dataset.shape, f"{self._source} (test)")
            parts, validation = self._parts(whole[0])
            scored: dict[Split, DataSet] = {"test": test}
            if validation is not None:
                scored["validation"] = validation
            return {shard: parts[shard] for shard in schedule.shards(rank)}, scored


class Files:
    """Shards in a file each, of which a rank reads its own, and test samples that everybody may see."""

    def __init__(self, comm: Any, config: Config, scaling: PixelScaling | None, look: Look | None) -> None:
        """Read them; see `Whole`.

        Of the other shards a rank learns the sizes, checksums and class names and, unless there is a `scaling` already,
        the moments of the pixels.
        """
        self._own: dict[int, DataSet] = {}
        pattern, elsewhere = config.data.path, config.shards.test_path
        with all_ranks_or_raise(comm):
            for shard in range(config.shards.count):
                if config.shards.count == 1 or shard % comm.size == comm.rank:
                    self._own[shard] = load(config, "train", images=True, path=_path(config, shard))
                    expect_some([self._own[shard].weights], _path(config, shard))
            test = load(config, "test", images=True, path=elsewhere)
        parts = {shard: contents(data) for shard, data in self._own.items()}
        files = {f"{_path(config, shard)} (train)": part for shard, part in parts.items()}
        compare(comm, files | {f"{elsewhere} (test)": contents(test)})
        facts = {}
        for shard, part in parts.items():
            images = self._own[shard].images
            assert images is not None
            facts[shard] = part, measured_format(images), [] if scaling else measured(config, [self._own[shard]])
        every = {shard: fact for each in allgather(comm, facts) for shard, fact in each.items()}
        every = dict(sorted(every.items()))
        with all_ranks_or_raise(comm):
            for shard, (part, *_) in every.items():
                if (part.shape, part.names) != (test.shape, test.names):
                    raise UserError(
                        f"{pattern}: shard {shard + 1} has images of shape {part.shape} in {len(part.names)} classes; "
                        f"expected {test.shape} in the {len(test.names)} of {elsewhere}; a file without samples of "
                        "some class can name all in its attribute 'classes' or 'class_names'"
                    )
            pixels = combined_format([found for _, found, _ in every.values()], pattern)
            self._test = test = fitted(test, pixels, test.shape, elsewhere)
        counts = tuple(part.samples for part, *_ in every.values())
        digest = zlib.crc32(repr([part.digest for part, *_ in every.values()]).encode())
        scaling = scaling or scaling_of(config, [part for *_, each in every.values() for part in each])
        sizes = sum(counts), len(test.classes), digest, counts
        assert test.images is not None  # of which all ranks have the same
        self.dataset = DatasetInfo(
            test.shape, test.names, *sizes, scaling, pixels, nonzero=nonzero_share(test.images),
            weighted=bool(config.data.weights),
        )  # fmt: skip
        if look:
            self._look(comm, look)

    def _look(self, comm: Any, look: Look) -> None:
        """Let rank 0 look at the samples of all files, of which each rank has measured its own."""
        tallies = {"train": tally(*self._own.values()), "test": tally(self._test)} if self._own else {}
        found = statistics_of(self._test.shape, self._test.names, tallies) if self._own else None
        every = comm.gather(found)
        on_rank_0(comm, lambda: look(combined(list(filter(None, every)))))

    def share(self, schedule: Schedule) -> Share:
        """Return what this rank has read."""
        return self._own, {"test": self._test}


def _path(config: Config, shard: int) -> str:
    return config.data.path.replace(SHARD, str(shard + 1))


def reading(comm: Any, config: Config, scaling: PixelScaling | None, look: Look | None) -> Whole | Files:
    """Begin to read the samples of a run, on all ranks; see `Whole`."""
    return (Files if config.shards.by == "file" else Whole)(comm, config, scaling, look)
