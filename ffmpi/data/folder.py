"""A user's own images, one file each, in directories by class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError, note
from .files import DAMAGE, reading
from .format import Format
from .images import Form, form_of, is_image, pixels_of, read, refuse
from .kinds import IMAGES, PNG, expect, listing
from .known import DataSet, Fields
from .labels import LONGEST_NAME, MOST_CLASSES, class_type

PATH = "a directory of images by class: train/CLASS/*.png and test/CLASS/*.png, or other images that Pillow reads"
_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")


def _folders(path: Path) -> dict[str, Path]:
    """Return the directory of each split that is there."""
    if not path.is_dir():
        expect(path, PATH)
    inner = {entry.name.lower(): entry for entry in sorted(path.iterdir()) if entry.is_dir()}
    found = {}
    for split, names in (("train", _TRAIN), ("test", _TEST)):
        if name := next((name for name in names if name in inner), ""):
            found[split] = inner[name]
            if split == "test" and name.startswith("val"):
                note(f"{path}: has no directory test, {name} is taken for the test samples")
    if not found:
        raise UserError(f"{path}: has no directory train; it {listing(path)}; expected {PATH}")
    return found


def _classes(folders: dict[str, Path]) -> tuple[str, ...]:
    """Return the names of the directories in those of all splits, sorted."""
    names = {
        entry.name
        for folder in folders.values()
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    }
    where = next(iter(folders.values()))
    if not 2 <= len(names) <= MOST_CLASSES:
        held = "" if names else f"; it {listing(where)}"
        raise UserError(f"{where}: has directories of {len(names)} classes, expected 2 to {MOST_CLASSES}{held}")
    for name in sorted(names):
        if not name.isprintable() or len(name) > LONGEST_NAME:
            raise UserError(
                f"{where}: the name {name!a} of a class is unprintable or longer than {LONGEST_NAME} characters, "
                "expected a short one"
            )
    return tuple(sorted(names))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files in a directory and those in it, in the order of their names, without hidden ones."""
    for inner, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(inner, name) for name in sorted(names) if not name.startswith("."))


class Folder(Format):
    """A user's own images in directories by class, as torchvision's ImageFolder reads them."""

    own = True
    kinds = (PNG, *IMAGES)
    holds = (
        (r".*\.(png|jpe?g|bmp|gif|tiff?|webp)$", "images, which 'ffmpi predict' reads"),
        (r"(train|test|val)$", "as directories of images by class do (data.name = 'folder')"),
    )

    def load(self, path: Path, split: str, images: bool, fields: Fields) -> DataSet:
        """Read a split, whose images all are of one size, grey or in colour; the directories of both have the classes.

        Images are (rows, columns) uint8 or, in colour, (rows, columns, 3), in the order of the classes and of the
        files' names.
        """
        with reading(path, PATH, DAMAGE):
            folders = _folders(path)
            names = _classes(folders)
            if split not in folders:
                other = next(iter(folders.values())).name
                raise UserError(f"{path}: has no directory {split} beside {other}; expected {PATH}")
            return _load(folders[split], names, images)

    def images_of(
        self, path: Path, kind: str, shape: tuple[int, ...], sources: Sequence[str]
    ) -> tuple[np.ndarray, list[str]]:  # fmt: skip
        """Return one image, under the name of its file."""
        return read(path, shape)[np.newaxis], [path.name]

    def splits(self, path: Path, fields: Fields) -> tuple[str, ...]:
        """Return which splits there are."""
        with reading(path, PATH, DAMAGE):
            return tuple(dict.fromkeys(["train", *_folders(path)]))


def _load(folder: Path, names: tuple[str, ...], images: bool) -> DataSet:
    """Read the images of one split."""
    files: list[Path] = []
    classes: list[int] = []
    forms: list[Form] = []
    bad: list[UserError] = []
    for index, name in enumerate(names):
        for file in _files(folder / name):
            try:
                if is_image(file):
                    forms.append(form_of(file))
                    files.append(file)
                    classes.append(index)
            except UserError as error:
                bad.append(error)
    total = len(files) + len(bad)
    if not files:
        refuse(folder, bad, total)
        raise UserError(f"{folder}: holds no image in its directories {', '.join(names)}; expected {PATH}")
    usual = Counter(forms).most_common(1)[0][0]
    for file, form in zip(files, forms, strict=True):
        if form != usual:
            bad.append(UserError(f"{file}: has {form}; expected {usual}, as most of {folder}"))
    pixels = np.empty((len(files), *usual.shape), np.uint8) if images else None
    for index, (file, form) in enumerate(zip(files, forms, strict=True)):
        if pixels is not None and form == usual:
            try:
                pixels[index] = pixels_of(file, (usual.rows, usual.columns), usual.mode)
            except UserError as error:
                bad.append(error)
    refuse(folder, bad, total)
    rows = None if pixels is None else pixels.reshape(len(pixels), -1)
    return DataSet(rows, np.array(classes, class_type(len(names))), usual.shape, names)


FORMAT = Folder("folder", "your own images, in directories by class", PATH)
