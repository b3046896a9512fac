"""A user's own images, one file each, in directories by class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError, note
from .files import DAMAGE, reading
from .format import Format
from .images import Form, form_of, is_image, pixels_of, read, refuse
from .kinds import IMAGES, PNG, expect, listing
from .known import DataSet, Fields
from .labels import LONGEST_NAME, MOST_CLASSES, class_type
from .streamed import Images, StreamedImages

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
        return self._read(path, split, _Files.read if images else _Files.check)

    def stream(self, path: Path, split: str, fields: Fields) -> DataSet:
        """Find a split's images, of which each is read when it is wanted."""

        def left(files: _Files) -> StreamedImages:
            files.check()
            return StreamedImages(files)

        return self._read(path, split, left)

    def _read(self, path: Path, split: str, images_of: Callable[[_Files], Images | None]) -> DataSet:
        with reading(path, PATH, DAMAGE):
            folders = _folders(path)
            names = _classes(folders)
            if split not in folders:
                other = next(iter(folders.values())).name
                raise UserError(f"{path}: has no directory {split} beside {other}; expected {PATH}")
            files, classes = _files_of(folders[split], names)
            return DataSet(images_of(files), classes, files.shape[1:], names)

    def images_of(
        self, path: Path, kind: str, shape: tuple[int, ...], sources: Sequence[str]
    ) -> tuple[Images, Sequence[str]]:  # fmt: skip
        """Return one image, under the name of its file."""
        return read(path, shape)[np.newaxis], [path.name]

    def splits(self, path: Path, fields: Fields) -> tuple[str, ...]:
        """Return which splits there are."""
        with reading(path, PATH, DAMAGE):
            return tuple(dict.fromkeys(["train", *_folders(path)]))


class _Files:
    """The images of one split, see `streamed.Source`; those that are not of the form of most cannot be used."""

    dtype, at_once = np.dtype(np.uint8), 1

    def __init__(self, folder: Path, files: list[Path], forms: list[Form], bad: list[UserError]) -> None:
        self.where, self._folder, self._list, self._forms = str(folder), folder, files, forms
        self._form = usual = Counter(forms).most_common(1)[0][0]
        self.shape, self._total = (len(files), *usual.shape), len(files) + len(bad)
        others = [(file, form) for file, form in zip(files, forms, strict=True) if form != usual]
        wrong = [UserError(f"{file}: has {form}; expected {usual}, as most of {folder}") for file, form in others]
        self._bad = [*bad, *wrong]

    def check(self) -> None:
        """Raise UserError if some cannot be used."""
        refuse(self._folder, self._bad, self._total)

    def read(self) -> np.ndarray:
        """Return all images, (samples, inputs) uint8. Raises UserError for all that cannot be used or read."""
        images = np.empty(self.shape, np.uint8)
        refuse(self._folder, [*self._bad, *self._read(0, images)], self._total)
        return images.reshape(len(images), -1)

    def read_rows(self, first: int, out: np.ndarray) -> None:
        """Read the images from number `first` on into `out`. Raises UserError for those that cannot be read."""
        refuse(self._folder, self._read(first, out), self._total)

    def _read(self, first: int, out: np.ndarray) -> list[UserError]:
        form, bad = self._form, list[UserError]()
        for index in range(len(out)):
            if self._forms[first + index] == form:
                try:
                    out[index] = pixels_of(self._list[first + index], (form.rows, form.columns), form.mode)
                except UserError as error:
                    bad.append(error)
        return bad


def _files_of(folder: Path, names: tuple[str, ...]) -> tuple[_Files, np.ndarray]:
    """Return the images of one split, and their classes. Raises UserError if there are none."""
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
    if not files:
        refuse(folder, bad, len(bad))
        raise UserError(f"{folder}: holds no image in its directories {', '.join(names)}; expected {PATH}")
    return _Files(folder, files, forms, bad), np.array(classes, class_type(len(names)))


FORMAT = Folder("folder", "your own images, in directories by class", PATH)
