"""What is told of the samples of a data set, and what may be wrong with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import UserError
from .pixels import PixelFormat, scales
from .statistics import Split, Statistics

#: The most numerous class has at most this many times the samples of the least numerous one, or a warning says so.
_MOST_UNBALANCED = 10
#: Standard deviations of the training pixels that the mean of the test pixels may lie from theirs.
_MOST_APART = 1.0
#: How many times the standard deviation of the one split that of the other may be.
_MOST_SCALED = 3.0


def check(found: Statistics, where: str, tested: bool = True) -> list[str]:
    """Return a sentence about each thing that may be wrong with the samples, from `where`.

    Unless they are to be `tested` it does not matter if there are no test samples. Raises UserError if
    there is nothing to learn, since they all are of one class.
    """
    told = []
    train, test = found.splits["train"], found.splits.get("test")
    with_samples = [name for name, count in zip(found.names, train.per_class, strict=True) if count]
    if len(with_samples) < 2:
        raise UserError(
            f"{where}: all {train.samples} training samples are of class {with_samples[0]}; expected samples of at "
            "least two classes"
        )
    missing = [name for name, count in zip(found.names, train.per_class, strict=True) if not count]
    if missing:
        one = f"class {missing[0]} has" if len(missing) == 1 else f"classes {_listed(missing)} have"
        cause = ": do the labels begin at 1 instead of 0?" if missing == [found.names[0]] else ""
        told.append(f"{one} no training samples, and cannot be learnt{cause}")
    counts = [(count, name) for name, count in zip(found.names, train.per_class, strict=True) if count]
    (few, rare), (many, common) = min(counts), max(counts)
    if many > _MOST_UNBALANCED * few:
        told.append(
            f"class {common} has {many} of the {train.samples} training samples, class {rare} {few}: always to say "
            f"{common} would be right for {100 * many / train.samples:.0f} % of them"
        )
    for split, part in found.splits.items():
        pixels = math.prod(found.shape)
        if part.samples > 1 and part.constant_pixels == pixels:
            told.append(f"all {part.samples} images of {split} are the same")
        elif part.contradicting:
            one = "1 image is" if part.contradicting == 1 else f"{part.contradicting} different images are"
            told.append(f"in {split} {one} there more than once with different classes")
    if test is None and tested:
        told.append("no test samples: 'ffmpi train' needs some, unless this is a shard (shards.by = 'file')")
    if test is not None:
        told += _untested(found.names, train, test) + _between(train, test, found.shared)
    return [f"{where}: {text}" for text in told]


def _untested(names: Sequence[str], train: Split, test: Split) -> list[str]:
    """Return what is wrong if most classes that are learnt have no test samples, as of samples sorted by class."""
    learnt = [name for name, count in zip(names, train.per_class, strict=True) if count]
    untested = [
        name for name, count, other in zip(names, train.per_class, test.per_class, strict=True) if count > other == 0
    ]
    if 2 * len(untested) < len(learnt):
        return []
    return [
        f"{len(untested)} of the {len(learnt)} classes with training samples have no test samples: were they shuffled?"
    ]


def _between(train: Split, test: Split, shared: int) -> list[str]:
    """Return what may be wrong with one split beside the other."""
    told = []
    if shared:
        found_again = "1 test image is a training image" if shared == 1 else f"{shared} test images are training images"
        told.append(f"{found_again}, too: the accuracy on them says nothing about new ones")
    if train.dtype != test.dtype:
        told.append(f"the pixels are {train.dtype} in train and {test.dtype} in test, and are converted")
    formats = (PixelFormat(part.dtype, part.least, part.greatest) for part in (train, test))
    (black, white), (low, high) = scales(*formats) or ((0.0, 1.0), (0.0, 1.0))
    mean, spread = (train.mean - black) / (white - black), train.std / (white - black)
    other_mean, other_spread = (test.mean - low) / (high - low), test.std / (high - low)
    scaled = max(spread, other_spread) > _MOST_SCALED * min(spread, other_spread)
    if abs(mean - other_mean) > _MOST_APART * spread or scaled:
        told.append(
            f"the pixels lie elsewhere in test (mean {test.mean:.4g}, standard deviation {test.std:.4g}) than in train "
            f"({train.mean:.4g}, {train.std:.4g}): were both prepared in the same way?"
        )
    return told


def describe(found: Statistics) -> list[str]:
    """Return two lines on each split: its pixels, and the samples of each class."""
    lines, shape = [], " x ".join(map(str, found.shape))
    for split, part in found.splits.items():
        lines.append(
            f"{split}: {part.samples} images of shape {shape}, {part.dtype}, {_pixels(part)}"
            + (f"; {part.constant_pixels} pixels are the same in all images" if part.constant_pixels else "")
            + (f"; {part.repeated} images are the same as an earlier one" if part.repeated else "")
            + (f"; {found.shared} images are in train, too" if split == "test" and found.shared else "")
        )
        lines.append(f"{split}: samples of each class: {_classes(found.names, part.per_class, len(found.names))}")
    return lines + _weights(found.splits["train"])


def outline(found: Statistics) -> list[str]:
    """Return a line on both splits' pixels, one on the samples of each class, and one on weights if there are any."""
    train, other = found.splits["train"], ""
    if test := found.splits.get("test"):
        ranges = [(part.dtype, f"{part.least:g} to {part.greatest:g}") for part in (train, test)]
        other = "" if ranges[0] == ranges[1] else f"; in test {test.dtype}, {_pixels(test)}"
    again = f"; {train.repeated} images are the same as an earlier one" if train.repeated else ""
    return [
        f"pixels {train.dtype}, {_pixels(train)}{other}{again}",
        f"training samples of each class: {_classes(found.names, train.per_class)}",
        *_weights(train),
    ]


def _weights(part: Split) -> list[str]:
    """Return a line on the samples' weights, if they have some."""
    if not (found := part.weights):
        return []
    none = f"; {found.none} samples of weight 0" if found.none else ""
    return [f"weights of training samples: {found.least:.4g} to {found.greatest:.4g}, mean {found.mean:.4g}{none}"]


def _pixels(part: Split) -> str:
    return f"{part.least:.4g} to {part.greatest:.4g}, mean {part.mean:.4g}, standard deviation {part.std:.4g}"


_MOST_NAMED = 10  # classes


def _classes(names: Sequence[str], counts: Sequence[int], most: int = _MOST_NAMED) -> str:
    if len(names) <= most:
        return ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    without = sum(not count for count in counts)
    none = f"; {without} without any" if without else ""
    return f"{min(filter(None, counts))} to {max(counts)} in {len(names) - without} classes{none}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown
