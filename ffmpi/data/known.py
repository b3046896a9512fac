"""What comes out of a data set's files, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from .streamed import Images

SPLITS = ("train", "test")


_EITHER = re.compile(r"\{([^{}|]*)\|([^{}|]*)\}")


@dataclass(frozen=True)
class Fields:
    """The names of the data sets with images and labels in a user's HDF5 file.

    They are looked for in groups train and test, or at the root. A name that says itself where its split's name stands
    is looked for as it is: {split} is train or test, and {A|B} is A for training and B for test samples. Only training
    samples have weights, if these have a name.
    """

    images: str = "images"
    labels: str = "labels"
    weights: str = ""

    @property
    def by_split(self) -> bool:
        """Whether one of the names says where its split's name stands."""
        return any("{split}" in name or _EITHER.search(name) for name in (self.images, self.labels))

    def names(self, split: str) -> tuple[str, str]:
        """Return the names of the images and the labels of a split."""
        return _filled(self.images, split), _filled(self.labels, split)

    def weight_names(self) -> tuple[str, str]:
        """Return where the weights of the training samples may be: among these, or under just this name."""
        return _filled(self.weights, "train"), self.weights


def _filled(name: str, split: str) -> str:
    filled = name.replace("{split}", "{train|test}")
    if not _EITHER.search(filled):
        return f"{split}/{name}"
    return _EITHER.sub(lambda match: match[1 if split == "train" else 2], filled)


USUAL = Fields()


class Numbers(Sequence[str]):
    """The names "0", "1" and so on of `count` images, made when they are wanted."""

    def __init__(self, count: int) -> None:
        self._range = range(count)

    def __repr__(self) -> str:
        return f"{len(self)} numbers"

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        return list(map(str, self._range[at])) if isinstance(at, slice) else str(self._range[at])


@dataclass(frozen=True)
class DataSet:
    """One split of a data set.

    images : (samples, inputs) uint8, or float32 where a user's file holds floats, in memory or in their file; None when
        only classes were asked for
    classes : (samples,) uint8, or uint16 where there are more than 256: `labels.class_type`
    shape : of one image, before it was flattened to a row
    names : one per class
    weights : (samples,) float32, how often the loss of each counts, where they were asked for
    """

    images: Images | None
    classes: np.ndarray
    shape: tuple[int, ...]
    names: tuple[str, ...]
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class File:
    """A public file: its unpacked name, and the MD5 of its content or of the ``.gz`` ('' if not published)."""

    name: str
    md5: str = ""
    packed_md5: str = ""


@dataclass(frozen=True)
class Remote:
    """A file on a server; `md5` is that of the file, or of its content unpacked, so that any recompression passes."""

    name: str
    md5: str
    unpacked: bool = False


@dataclass(frozen=True)
class Source:
    """Where a data set's files are: the address they have in common, and their names."""

    url: str
    files: tuple[Remote, ...]


DIGITS = tuple("0123456789")
