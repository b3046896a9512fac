"""Images and labels in named arrays, whatever kind of file holds these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from ..errors import UserError
from .kinds import shortened
from .known import DataSet, Fields, Numbers
from .labels import MOST_CLASSES, check_labels, class_type, classes_of, expect_labels
from .names import guess, names_of
from .shapes import agree, arranged, rearranged
from .streamed import LARGEST_CHUNK, Images, Source, StreamedImages
from .weights import expect_weights, weights_of


class Array(Protocol):
    """An array in a file."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def kind(self) -> str:
        """The type of its elements as one would call it."""
        ...

    def read(self) -> np.ndarray:
        """Return all of it."""
        ...

    def read_into(self, array: np.ndarray) -> Iterator[slice]:
        """Read all of it into `array`, of the same shape and perhaps another type; yield the rows that are done."""
        ...


class Store(Protocol):
    """A file or directory of arrays.

    where : its path
    expected : what it should be, for messages
    """

    where: str
    expected: str

    def exists(self, name: str) -> bool:
        """Return whether there is something called `name`, which for a group may be a part of arrays' names."""
        ...

    def open(self, name: str) -> Array:
        """Return an array, at least one element large. Raises UserError if it is not there or cannot be read."""
        ...

    def arrays(self) -> dict[str, Array]:
        """Return the first arrays by name, for messages; unchecked."""
        ...

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, if they are there."""
        ...


def describe(array: Array) -> str:
    """Return the name, type and shape of an array."""
    return f"{array.name} ({array.kind} {array.shape})"


def instead(store: Store) -> str:
    """Say what a store holds, and which settings would read it."""
    held = store.arrays()
    if not held:
        return f"; it holds no data set at all, expected {store.expected}"
    if fields := guess(held):
        names = f"data.images = {fields.images!r} and data.labels = {fields.labels!r}"
        cure = f"{names} would read it (in 'ffmpi data': --images, --labels)"
    else:
        names = "their names in data.images and data.labels, such as 'x_{split}' for x_train and x_test"
        cure = f"expected {store.expected}, or {names}"
    return f"; it holds {shortened(map(describe, held.values()))}; {cure}"


def load(
    store: Store, split: str, images: bool, fields: Fields, source_of: Callable[[Array], Source] | None = None
) -> DataSet:  # fmt: skip
    """Read groups train and test, or the root as train; both splits' labels decide the number of classes.

    With `source_of`, which returns an array as the source of streamed images, these are left where they are.
    """
    path = store.where
    splits = names_of(store, fields)
    names = store.class_names()
    labels: dict[str, np.ndarray] = {}
    columns = 0
    for group, (_, name) in splits.items():
        labels[group], found = read_labels(store, name)
        columns = max(columns, found)
        check_labels(f"{path}: {group}", labels[group], len(names) or MOST_CLASSES)
    count = len(names) or max(columns, *(1 + int(values.max()) for values in labels.values()))
    names = names or tuple(str(i) for i in range(count))
    if not 2 <= len(names) <= MOST_CLASSES:
        raise UserError(f"{path}: has {len(names)} classes, expected 2 to {MOST_CLASSES}")
    pictures = {group: open_images(store, name) for group, (name, _) in splits.items()}
    if split not in splits:
        _refuse_split(store, split, splits, fields)
    if pictures[split].shape[0] != len(labels[split]):
        counts = f"{pictures[split].shape[0]} images and {len(labels[split])} labels"
        last = pictures[split].shape[-1] == len(labels[split])
        hint = ": is the last axis that of the samples? np.moveaxis(images, -1, 0) puts it first" if last else ""
        raise UserError(f"{path}: has {counts} in {split}, expected as many of each{hint}")
    shape = next(iter(pictures.values())).shape[1:]  # of the training images, if there are any
    if not all(agree(array.shape[1:], shape) for array in pictures.values()):
        found_shapes = " and ".join(str(array.shape[1:]) for array in pictures.values())
        raise UserError(f"{path}: has images of shapes {found_shapes} in train and test, expected one shape")
    own = pictures[split]
    pixels: Images | None = None
    if images and source_of:
        pixels = rearranged(StreamedImages(source_of(own)), own.shape[1:], shape, path)
    elif images:
        pixels = arranged(_read_images(store, own), own.shape[1:], shape, path)
    weights = read_weights(store, fields, len(labels[split])) if fields.weights and split == "train" else None
    return DataSet(pixels, labels[split].astype(class_type(count)), shape, names, weights)


def read_weights(store: Store, fields: Fields, samples: int) -> np.ndarray:
    """Return the weights of the training samples, (samples,) float32. Raises UserError for what are none."""
    beside, alone = fields.weight_names()
    array = store.open(alone if store.exists(alone) and not store.exists(beside) else beside)
    where = f"{store.where}: {array.name!r}"
    expect_weights(array.shape, array.dtype, array.kind, samples, where)
    return weights_of(array.read(), where)


def read_labels(store: Store, name: str) -> tuple[np.ndarray, int]:
    """Return the classes in the array `name`, (samples,) of an integer type, and their number; 0: not said there.

    Floats that are whole numbers, booleans, shape (samples, 1) and one-hot rows (samples, classes) are read, too.
    Raises UserError for what are no labels.
    """
    array, where = store.open(name), f"{store.where}: {name!r}"
    expect_labels(array.shape, array.dtype, array.kind, where)
    return classes_of(array.read(), where)


def _refuse_split(store: Store, split: str, splits: dict[str, tuple[str, str]], fields: Fields) -> None:
    """Say that the samples of one split are missing, where the others are, and what to do."""
    other = next(iter(splits))
    have = " and ".join(repr(name) for name in splits[other])
    kind, instead = ("test", "training") if split == "test" else ("training", "test")
    lacking = fields.names(split)
    raise UserError(
        f"{store.where}: has no {kind} samples, its {have} are {instead} samples; expected {store.expected}: "
        f"put a share of the samples, drawn at random, into {lacking[0]!r} and {lacking[1]!r}"
        + ("" if fields.by_split or other in splits[other][0].split("/") else f", the others likewise into '{other}'")
    )


def open_images(store: Store, name: str) -> Array:
    """Return the array `name`. Raises UserError if it cannot be images, whatever their pixels."""
    array = store.open(name)
    if len(array.shape) < 2 or array.dtype.kind + str(array.dtype.itemsize) not in ("u1", "f2", "f4", "f8"):
        cures = {
            "b": "images.astype('uint8') * 255",
            "u": "images.astype('uint8') if they go up to 255, else images.astype('float32')",
            "i": "images.astype('uint8') if they go from 0 to 255, else images.astype('float32')",
        }
        cure = f", converted by {cures[array.dtype.kind]}" if len(array.shape) > 1 and array.dtype.kind in cures else ""
        found = f"{name!r} is {array.kind} of shape {array.shape}"
        raise UserError(
            f"{store.where}: {found}, expected uint8, float16, float32 or float64 of shape (samples, ...){cure}"
        )
    return array


def _read_images(store: Store, array: Array) -> np.ndarray:
    """Return (samples, inputs) uint8 or float32, read in slices straight into the array."""
    pixels = np.empty(array.shape, np.uint8 if array.dtype.kind == "u" else np.float32)
    for part in array.read_into(pixels):
        if pixels.dtype.kind == "f":
            finite = np.isfinite(pixels[part]).all(axis=tuple(range(1, pixels.ndim)))
            if not finite.all():
                found = f"image {part.start + int(np.argmin(finite))} of {array.name!r} has a NaN or infinite pixel"
                raise UserError(f"{store.where}: {found}, expected finite float32 values")
    return pixels.reshape(len(pixels), -1)


def read_images(
    store: Store, shape: tuple[int, ...], sources: Sequence[str]
) -> tuple[np.ndarray, Sequence[str]]:  # fmt: skip
    """Return the images in the first of the arrays `sources` that is there, arranged to `shape`, and their indices.

    Images are (samples, inputs) uint8 or float32. Raises UserError for those that cannot be arranged.
    """
    array = _first_of(store, sources)
    found = arranged(_read_images(store, array), array.shape[1:], shape, f"{store.where}: {array.name!r}")
    return found, Numbers(len(found))


def stream_images(
    store: Store, shape: tuple[int, ...], sources: Sequence[str], source_of: Callable[[Array], Source]
) -> tuple[Images, Sequence[str]]:  # fmt: skip
    """Return what `read_images` does, but leave images where they are unless reading a few takes much more memory."""
    array = _first_of(store, sources)
    source = source_of(array)
    if source.at_once > LARGEST_CHUNK:
        return read_images(store, shape, [array.name])
    return rearranged(StreamedImages(source), array.shape[1:], shape, source.where), Numbers(array.shape[0])


def _first_of(store: Store, sources: Sequence[str]) -> Array:
    """Return the first of the arrays `sources` that is there. Raises UserError if none is, or it is no images."""
    names = [Fields(source).names("test")[0] if Fields(source).by_split else source for source in sources]
    name = next((name for name in names if store.exists(name)), "")
    if not name:
        held = shortened(map(describe, store.arrays().values())) or "no data set at all"
        missing = " and no ".join(map(repr, names))
        raise UserError(
            f"{store.where}: has no data set {missing}; it holds {held}; expected the name of one by --images"
        )
    return open_images(store, name)
