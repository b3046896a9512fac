"""Under which names arrays of images and labels lie in a file, and under which they may be meant to."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .known import SPLITS, Fields

if TYPE_CHECKING:
    from .arrays import Array, Store


def names_of(store: Store, fields: Fields) -> dict[str, tuple[str, str]]:
    """Return for each split that is in the store the names of its images and of its labels.

    Names that do not say where the split's is to stand are those in groups train and test or, if there is neither
    group, at the root, whose samples are for training. Raises UserError if there is nothing of these names.
    """
    found = {
        split: names
        for split, names in ((split, fields.names(split)) for split in SPLITS)
        if any(store.exists(name) for name in (names if fields.by_split else (split,)))
    }
    if not found and fields.by_split:
        store.open(fields.names("train")[0])  # raises
    return found or {"train": (fields.images, fields.labels)}


#: Words for the training samples, and those for samples to test with that may stand in their place.
_WORDS = {
    "train": ("test", "val", "valid", "validation", "dev"),
    "Train": ("Test", "Val", "Valid", "Validation"),
    "TRAIN": ("TEST", "VAL"),
    "training": ("test", "testing", "validation"),
}


def _pattern(name: str, held: dict[str, Array]) -> str:
    """Return the name that covers the training array `name` and its counterpart for tests; '' if there is none."""
    for word, others in reversed(_WORDS.items()):
        for match in re.finditer(word, name):
            before, after = name[: match.start()], name[match.end() :]
            for other in others:
                if before + other + after in held:
                    if (before, word, other) == ("", "train", "test") and after[:1] == "/":
                        return after[1:]
                    here = "{split}" if (word, other) == ("train", "test") else f"{{{word}|{other}}}"
                    return before + here + after
    return next((name + f"{{|{end}}}" for end in ("_test", "_val") if name + end in held), "")


def _pairs(held: dict[str, Array]) -> Iterator[Fields]:
    patterns = {name: pattern for name in held if (pattern := _pattern(name, held))}
    for images, as_images in (patterns or {name: name for name in held}).items():
        number = held[images].dtype.kind in "uif" and held[images].kind != "records"
        if not number or math.prod(held[images].shape[1:]) < 2:
            continue
        for labels, as_labels in (patterns or {name: name for name in held}).items():
            one_each = math.prod(held[labels].shape[1:]) == 1 and len(held[labels].shape) in (1, 2)
            if one_each and held[labels].dtype.kind in "iufb" and held[labels].shape[:1] == held[images].shape[:1]:
                yield Fields(as_images, as_labels)


def guess(held: dict[str, Array]) -> Fields | None:
    """Return the names under which images and labels can be read, if the arrays leave no doubt."""
    pairs = list(_pairs(held))
    return pairs[0] if len(pairs) == 1 else None
