"""A user's own samples in tables of text: a column of labels, numbers in the others."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .files import DAMAGE, reading
from .format import Format
from .kinds import CSV, listing, shortened
from .known import SPLITS, USUAL, DataSet, Fields
from .labels import LONGEST_NAME, MOST_CLASSES, check_labels, class_type, classes_of
from .streamed import Images
from .tables import Table, is_number, label_column, numbers_of, open_table
from .weights import weights_of

PATH = (
    "a directory with train.csv and test.csv, or one CSV file with a column 'split' of train and test; in it a column "
    "of labels, and pixels or other numbers in the others"
)
_DAMAGE = (*DAMAGE, csv.Error)
_SPLIT = "split"
_ROWS = 1024  # that are read at once
_SIDE = 8  # pixels: the smallest square that is taken for an image
_FILES = {split: re.compile(rf"(.*[-_. ])?{split}(ing)?\.(csv|tsv|txt)(\.gz)?", re.IGNORECASE) for split in SPLITS}


@dataclass
class _Samples:
    """The samples of a split: their labels as they stand there, and their other columns if they were asked for."""

    table: Table
    labels: list[str]
    lines: list[int]
    pixels: list[np.ndarray]
    inputs: int
    weights: list[float]


def _read(table: Table, split: str, fields: Fields, images: bool, weights: bool) -> _Samples:
    """Read the samples of `split`; all of them if no column says of which they are."""
    label, divides = label_column(table, fields.labels), table.named([_SPLIT])
    often = _weight_column(table, fields.weights, weights) if fields.weights else None
    others = [index for index in range(table.columns) if index not in (label, often, *divides[:1])]
    if not others:
        raise UserError(f"{table.file}: has no column beside the labels, expected {PATH}")
    found = _Samples(table, [], [], [], len(others), [])
    block: list[tuple[int, str]] = []
    for number, line in table.rows():
        if divides and _split_of(table, number, table.field(line, divides[0])) != split:
            continue
        text = table.field(line, label).strip()
        if not text or len(text) > LONGEST_NAME or not text.isprintable():
            what = "has no label" if not text else f"has the label {text[:20]!r}, which is too long or unprintable"
            raise UserError(f"{table.file}: line {number} {what}, expected a whole number or the name of a class")
        found.labels.append(text)
        found.lines.append(number)
        if weights and often is not None:
            found.weights.append(_weight(table, number, table.field(line, often).strip()))
        if images:
            block.append((number, line))
            if len(block) == _ROWS:
                found.pixels.append(numbers_of(table, block, others))
                block.clear()
    if block:
        found.pixels.append(numbers_of(table, block, others))
    if not found.labels:
        raise UserError(f"{table.file}: has no samples of {split}, expected at least one")
    return found


def _weight_column(table: Table, name: str, wanted: bool) -> int | None:
    """Return the column of the weights, which need not be there if they are not `wanted`."""
    if name in table.header:
        return table.header.index(name)
    if not wanted:
        return None
    have = f"has the columns {shortened(table.header)}" if table.header else "has no names of columns"
    raise UserError(f"{table.file}: {have}, expected data.weights = {name!r} among them")


def _weight(table: Table, number: int, text: str) -> float:
    if not is_number(text):
        raise UserError(f"{table.file}: line {number} has the weight {text[:20]!r}, expected a number")
    return float(text)


def _split_of(table: Table, number: int, text: str) -> str:
    split = text.strip().lower().removesuffix("ing")
    if split not in SPLITS:
        raise UserError(f"{table.file}: line {number} has {text!r} in the column of splits, expected train or test")
    return split


def _tables(path: Path) -> dict[str, Table]:
    """Return the table of each split that is there; both may be in one."""
    if not path.is_dir():
        table = open_table(path)
        if not table.named([_SPLIT]):
            return {"train": table}
        return {split: table for split in SPLITS}
    found: dict[str, Table] = {}
    for split, pattern in _FILES.items():
        files = sorted(file for file in path.iterdir() if pattern.fullmatch(file.name) and file.name[0] != ".")
        if len(files) > 1:
            raise UserError(f"{path}: holds {files[0].name} and {files[1].name}, expected one of them")
        if files:
            found[split] = open_table(files[0])
    if not found:
        raise UserError(f"{path}: holds neither train.csv nor test.csv; it {listing(path)}; expected {PATH}")
    return found


def _classes(parts: dict[str, _Samples]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the classes of each split, (samples,) of `class_type`, and the names of the classes of all."""
    values = {text for part in parts.values() for text in part.labels}
    if not all(map(is_number, values)):
        names = tuple(sorted(values))
        if len(names) > MOST_CLASSES:
            file = next(iter(parts.values())).table.file
            raise UserError(f"{file}: has {len(names)} classes, expected 2 to {MOST_CLASSES}")
        numbers = {name: index for index, name in enumerate(names)}
        return {
            split: np.array([numbers[text] for text in part.labels], class_type(len(names)))
            for split, part in parts.items()
        }, names
    found = {}
    for split, part in parts.items():
        found[split], _ = classes_of(np.array(part.labels, np.float64), f"{part.table.file}: the column of labels")
        check_labels(part.table.file, found[split], MOST_CLASSES)
    count = 1 + max(int(classes.max()) for classes in found.values())
    if count < 2:
        raise UserError(f"{next(iter(parts.values())).table.file}: has {count} classes, expected 2 to {MOST_CLASSES}")
    return {split: classes.astype(class_type(count)) for split, classes in found.items()}, tuple(map(str, range(count)))


class Csv(Format):
    """A user's own samples in tables of text, with a line for each."""

    own = True
    reads = ("labels", "weights")
    kinds = (CSV,)
    holds = ((r".*\.(csv|tsv)(\.gz)?$", "tables of text, which data.name = 'csv' reads"),)

    def load(self, path: Path, split: str, images: bool, fields: Fields) -> DataSet:
        """Read a split; both splits' labels decide the number of classes. A square of columns is an image."""
        with reading(path, PATH, _DAMAGE):
            tables = _tables(path)
            if split not in tables:
                other = next(iter(tables.values())).file
                there = "for training, as none says of which split it is" if "train" in tables else "for tests"
                raise UserError(f"{path}: all samples of {other.name} are {there}; expected {PATH}")
            parts = {
                name: _read(table, name, fields, images and name == split, name == split == "train")
                for name, table in tables.items()
            }
            inputs = {part.inputs for part in parts.values()}
            if len(inputs) > 1:
                train, test = (part.table for part in parts.values())
                raise UserError(
                    f"{test.file}: has {test.columns} columns, expected {train.columns} as in {train.file.name}, with "
                    "labels"
                )
            classes, names = _classes(parts)
            count = inputs.pop()
            side = math.isqrt(count)
            shape = (side, side) if side >= _SIDE and side * side == count else (count,)
            pixels = np.concatenate(parts[split].pixels) if images else None
            weights = None
            if fields.weights and split == "train":
                where = f"{parts[split].table.file}: the column {fields.weights!r}"
                weights = weights_of(np.array(parts[split].weights), where)
            return DataSet(pixels, classes[split], shape, names, weights)

    def images_of(
        self, path: Path, kind: str, shape: tuple[int, ...], sources: Sequence[str]
    ) -> tuple[Images, Sequence[str]]:  # fmt: skip
        """Return the lines of a table, with a column for each pixel and perhaps one of labels, by their numbers."""
        with reading(path, PATH, _DAMAGE):
            table, inputs = open_table(path), math.prod(shape)
            columns = list(range(table.columns))
            if table.columns == inputs + 1:
                columns.remove(label_column(table, USUAL.labels))
            if len(columns) != inputs:
                raise UserError(
                    f"{path}: has {table.columns} columns, expected {inputs}, one for each pixel of the network's "
                    "images, and perhaps one of labels"
                )
            rows = list(table.rows())
            blocks = [numbers_of(table, rows[at : at + _ROWS], columns) for at in range(0, len(rows), _ROWS)]
            if not blocks:
                raise UserError(f"{path}: has no line after its first, expected a sample")
            return np.concatenate(blocks), [str(number) for number, _ in rows]

    def splits(self, path: Path, fields: Fields) -> tuple[str, ...]:
        """Return which splits there are."""
        with reading(path, PATH, _DAMAGE):
            return tuple(dict.fromkeys(["train", *_tables(path)]))


FORMAT = Csv("csv", "your own samples, in tables of text", PATH)
