"""What a format of data sets is: one file beside this one, found by its name in `ffmpi.config.registries.FORMATS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .known import SPLITS, DataSet, Fields, File, Source
from .pixels import fitted, measured_format
from .statistics import Summary, statistics_of, tally
from .streamed import Images


@dataclass(frozen=True)
class Format:
    """What is known of a data set before its files are seen, and how they are read.

    path : what `data.path` has to be, '' where none is needed
    shape, names, train, test : of an image, of the classes, samples; empty or 0: the files say
    nonzero : the share of pixels that are not zero, for who plans without the files
    files : those that were published
    source : where they can be fetched, for 'ffmpi data --download'
    """

    name: str
    description: str
    path: str = ""
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    train: int = 0
    test: int = 0
    files: tuple[File, ...] = ()
    source: Source | None = None
    nonzero: float = 1.0

    #: Whether it is for users' own images, of which nothing is known: then their pixels are measured.
    own: ClassVar[bool] = False
    #: Whether it is fast to read any of the images, so that they can be left in their file until they are wanted.
    streams: ClassVar[bool] = False
    #: The settings of `Fields` that it reads.
    reads: ClassVar[tuple[str, ...]] = ()
    #: The kinds of file, as `kinds` calls them, that it reads, and of which `images_of` makes images to classify.
    kinds: ClassVar[tuple[str, ...]] = ()
    #: Patterns of names that its directories hold, in small letters, and what to say of a directory with such a name.
    holds: ClassVar[tuple[tuple[str, str], ...]] = ()

    @property
    def classes(self) -> int:
        """How many classes there are; 0: the files say."""
        return len(self.names)

    def load(self, path: Path, split: str, images: bool, fields: Fields) -> DataSet:
        """Read one split, with its images or without. Raises UserError for whatever is wrong with the files."""
        raise NotImplementedError  # each member of the family has its own

    def stream(self, path: Path, split: str, fields: Fields) -> DataSet:
        """Read one split, its images only when they are wanted where the format can. Raises UserError."""
        return self.load(path, split, True, fields)

    def splits(self, path: Path, fields: Fields) -> tuple[str, ...]:
        """Return which splits there are: training samples may stand alone, as those of a shard do."""
        return SPLITS

    def is_published(self, path: Path, file: File) -> bool | None:
        """Compare the MD5 of one of `files` with the published one; None if there is none to compare with."""
        return None

    def images_of(
        self, path: Path, kind: str, shape: tuple[int, ...], sources: Sequence[str]
    ) -> tuple[Images, Sequence[str]]:  # fmt: skip
        """Return the images to classify in a file of one of `kinds`, and a name for each.

        Images are (samples, inputs) uint8 or float32, of `shape`, and may be left in the file; `sources` are names
        under which they may lie there.
        Raises UserError.
        """
        raise NotImplementedError  # each member of the family has its own

    def check(self, path: Path, fields: Fields) -> Summary:
        """Read all samples and measure them; say how test images are converted, or refuse them. Raises UserError."""
        tallies, first = {}, None
        for split in self.splits(path, fields):
            part = self.stream(path, split, fields) if self.streams else self.load(path, split, True, fields)
            assert part.images is not None
            pixels = measured_format(part.images)
            tallies[split] = tally(part)
            first = first or (pixels, part.shape, part.names)
            fitted(part, *first[:2], f"{path if self.path else self.name} ({split})")
        assert first is not None
        found = statistics_of(*first[1:], tallies)
        return Summary(self.name, found, {file.name: self.is_published(path, file) for file in self.files})
