"""A user's own samples in tables of text: a column of labels, numbers in the others."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from ..errors import UserError
from .files import DAMAGE, check_labels, reading
from .format import Format
from .kinds import CSV, HEAD, TEXT, describe, kind_of, listing, read_head, shortened
from .known import SPLITS, USUAL, DataSet, Fields
from .labels import LONGEST_NAME, MOST_CLASSES, classes_of

PATH = (
    "a directory with train.csv and test.csv, or one CSV file with a column 'split' of train and test; in it a column "
    "of labels, and pixels or other numbers in the others"
)
_DAMAGE = (*DAMAGE, csv.Error)
_LABELS = ("label", "labels", "class", "target", "y")  # what a column of labels is mostly called
_SPLIT = "split"
_LONGEST = 1 << 24  # characters of a line
_ROWS = 1024  # that are read at once
_SIDE = 8  # pixels: the smallest square that is taken for an image
_FILES = {split: re.compile(rf"(.*[-_. ])?{split}(ing)?\.(csv|tsv|txt)(\.gz)?", re.IGNORECASE) for split in SPLITS}


@dataclass(frozen=True)
class _Table:
    """A file, and what its first line says of its columns.

    header : their names; empty if the first line is a sample
    columns : their number
    """

    file: Path
    delimiter: str
    header: tuple[str, ...]
    columns: int

    def named(self, names: Sequence[str]) -> list[int]:
        """Return the columns called one of `names`, in small or capital letters."""
        return [index for index, name in enumerate(self.header) if name.strip().lower() in names]

    def column(self, index: int) -> str:
        """Return what to call a column in a message."""
        return f"{index + 1}, {self.header[index]!r}" if self.header else str(index + 1)

    def rows(self) -> Iterator[tuple[int, str]]:
        """Yield the number and the text of each line that has a sample; all have the same number of columns."""
        lines = _lines(self.file)
        if self.header:
            next(lines)
        for number, line in lines:
            found = len(self.fields(line)) if '"' in line else line.count(self.delimiter) + 1
            if found != self.columns:
                raise UserError(
                    f"{self.file}: line {number} has {found} columns, expected {self.columns} as in the first"
                )
            yield number, line

    def field(self, line: str, index: int) -> str:
        """Return one field of a line; those at its ends without cutting it into all of them."""
        if '"' in line or 0 < index < self.columns - 1:
            return self.fields(line)[index]
        return line.partition(self.delimiter)[0] if index == 0 else line.rpartition(self.delimiter)[2]

    def fields(self, line: str) -> list[str]:
        """Return the fields of a line."""
        if '"' in line:
            return next(csv.reader([line], delimiter=self.delimiter), [])
        return line.split(self.delimiter)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file, plain or gzipped, that are not empty, and their numbers from 1."""
    head = read_head(file)
    packed = head[:2] == b"\x1f\x8b"
    if packed:
        with gzip.open(file) as stream:
            head = stream.read(HEAD)
    kind = kind_of(head.removeprefix(b"\xef\xbb\xbf"))
    text_like = not re.search(rb"[\0-\x08\x0e-\x1f]", head) and head  # perhaps not in UTF-8
    if not text_like or (kind and kind.name not in (CSV, TEXT)):
        raise UserError(f"{file}: {describe(head)}, expected a table of text")
    raw = cast(IO[bytes], gzip.open(file) if packed else file.open("rb"))  # noqa: SIM115
    with io.TextIOWrapper(raw, encoding="utf-8-sig") as text:
        number = 0
        try:
            while line := text.readline(_LONGEST):
                number += 1
                if len(line) >= _LONGEST:
                    raise UserError(f"{file}: line {number} has more than {_LONGEST} characters, expected a table")
                if line := line.rstrip("\r\n"):
                    yield number, line
        except UnicodeDecodeError:
            raise UserError(f"{file}: is no UTF-8 after line {number}, expected a table of text in UTF-8") from None


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def _open(file: Path) -> _Table:
    """Read the first line of a table: what separates its columns, and whether it has their names."""
    first = next(_lines(file), (0, ""))[1]
    delimiter = max(",;\t", key=first.count)
    if not first.count(delimiter):
        raise UserError(f"{file}: its first line {first[:40]!r} has one column, expected several, as {PATH}")
    table = _Table(file, delimiter, (), 0)
    fields = table.fields(first)
    texts = [name for name in fields if not _number(name)]
    # Names of numbers only are those that pandas gives to columns without names.
    names = len(texts) > 1 or any(name.strip().lower() in _LABELS for name in texts)
    counted = len(fields) > 2 and fields == [str(index) for index in range(len(fields))]
    return _Table(file, delimiter, tuple(fields) if names or counted else (), len(fields))


def _label_column(table: _Table, wanted: str) -> int:
    """Return the column of the labels: that of the name `wanted`, or the one that can be it."""
    ends = {"first": 0, "last": table.columns - 1}
    if wanted != USUAL.labels:
        if wanted in table.header:
            return table.header.index(wanted)
        if wanted in ends:
            return ends[wanted]
        have = f"has the columns {shortened(table.header)}" if table.header else "has no names of columns"
        raise UserError(f"{table.file}: {have}, expected data.labels = {wanted!r} among them, or 'first' or 'last'")
    named = table.named(_LABELS)
    if len(named) == 1:
        return named[0]
    if named:
        called = " and ".join(repr(table.header[index]) for index in named)
        raise UserError(f"{table.file}: has columns {called}, expected the one of the labels as data.labels")
    able = [index for index in ends.values() if _can_be_labels(table, index)]
    if len(able) == 1:
        return able[0]
    found = "both its first and its last column can be labels" if able else "neither its first nor its last can be that"
    raise UserError(
        f"{table.file}: has no column called {', '.join(_LABELS[:-1])} or {_LABELS[-1]}, and {found}; expected its "
        "name, 'first' or 'last' as data.labels"
    )


def _can_be_labels(table: _Table, index: int) -> bool:
    """Return whether a column has texts, or all whole numbers from 0 to a greatest one, most of them repeatedly."""
    found = [table.field(line, index).strip() for _, line in table.rows()]
    values = set(found)
    if not all(map(_number, values)):
        return 1 < len(values) <= MOST_CLASSES
    numbers = {float(value) for value in values}
    return 1 < len(numbers) <= min(MOST_CLASSES, len(found) // 2) and numbers == set(range(len(numbers)))


@dataclass
class _Samples:
    """The samples of a split: their labels as they stand there, and their other columns if they were asked for."""

    table: _Table
    labels: list[str]
    lines: list[int]
    pixels: list[np.ndarray]
    inputs: int


def _read(table: _Table, split: str, wanted: str, images: bool) -> _Samples:
    """Read the samples of `split`; all of them if no column says of which they are."""
    label, divides = _label_column(table, wanted), table.named([_SPLIT])
    others = [index for index in range(table.columns) if index != label and index not in divides[:1]]
    if not others:
        raise UserError(f"{table.file}: has no column beside the labels, expected {PATH}")
    found = _Samples(table, [], [], [], len(others))
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
        if images:
            block.append((number, line))
            if len(block) == _ROWS:
                found.pixels.append(_numbers(table, block, others))
                block.clear()
    if block:
        found.pixels.append(_numbers(table, block, others))
    if not found.labels:
        raise UserError(f"{table.file}: has no samples of {split}, expected at least one")
    return found


def _split_of(table: _Table, number: int, text: str) -> str:
    split = text.strip().lower().removesuffix("ing")
    if split not in SPLITS:
        raise UserError(f"{table.file}: line {number} has {text!r} in the column of splits, expected train or test")
    return split


def _numbers(table: _Table, block: list[tuple[int, str]], columns: list[int]) -> np.ndarray:
    """Return the columns of some lines, uint8 if they are whole numbers from 0 to 255, else float32."""
    parse = functools.partial(
        np.loadtxt, [line for _, line in block], comments=None, delimiter=table.delimiter, usecols=columns, ndmin=2,
        quotechar='"',
    )  # fmt: skip
    with suppress(ValueError, DeprecationWarning), warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # of 1.5, which would become 1
        return parse(dtype=np.uint8)  # ten times as fast as float64
    try:
        values = parse(dtype=np.float64)
    except ValueError:
        number, index, text = next(
            (number, index, fields[index])
            for number, line in block
            for fields in [table.fields(line)]
            for index in columns
            if not _number(fields[index].strip())
        )
        raise UserError(
            f"{table.file}: line {number} has {text[:40]!r} in column {table.column(index)}, expected a number"
        ) from None
    whole = values.astype(np.uint8) if ((values >= 0) & (values <= 255)).all() else None
    if whole is not None and (whole == values).all():
        return whole
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    if not np.isfinite(found).all():
        row, column = (int(at[0]) for at in np.nonzero(~np.isfinite(found)))
        raise UserError(
            f"{table.file}: line {block[row][0]} has {values[row, column]:g} in column "
            f"{table.column(columns[column])}, expected finite float32 values"
        )
    return found


def _tables(path: Path) -> dict[str, _Table]:
    """Return the table of each split that is there; both may be in one."""
    if not path.is_dir():
        table = _open(path)
        if not table.named([_SPLIT]):
            return {"train": table}
        return {split: table for split in SPLITS}
    found: dict[str, _Table] = {}
    for split, pattern in _FILES.items():
        files = sorted(file for file in path.iterdir() if pattern.fullmatch(file.name) and file.name[0] != ".")
        if len(files) > 1:
            raise UserError(f"{path}: holds {files[0].name} and {files[1].name}, expected one of them")
        if files:
            found[split] = _open(files[0])
    if not found:
        raise UserError(f"{path}: holds neither train.csv nor test.csv; it {listing(path)}; expected {PATH}")
    return found


def _classes(parts: dict[str, _Samples]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the classes of each split, (samples,) uint8, and the names of the classes of all."""
    values = {text for part in parts.values() for text in part.labels}
    if not all(map(_number, values)):
        names = tuple(sorted(values))
        if len(names) > MOST_CLASSES:
            file = next(iter(parts.values())).table.file
            raise UserError(f"{file}: has {len(names)} classes, expected 2 to {MOST_CLASSES}")
        numbers = {name: index for index, name in enumerate(names)}
        return {
            split: np.array([numbers[text] for text in part.labels], np.uint8) for split, part in parts.items()
        }, names
    found = {}
    for split, part in parts.items():
        found[split], _ = classes_of(np.array(part.labels, np.float64), f"{part.table.file}: the column of labels")
        check_labels(part.table.file, found[split], MOST_CLASSES)
    count = 1 + max(int(classes.max()) for classes in found.values())
    if count < 2:
        raise UserError(f"{next(iter(parts.values())).table.file}: has {count} classes, expected 2 to {MOST_CLASSES}")
    return {split: classes.astype(np.uint8) for split, classes in found.items()}, tuple(map(str, range(count)))


class Csv(Format):
    """A user's own samples in tables of text, with a line for each."""

    own = True
    reads = ("labels",)
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
                name: _read(table, name, fields.labels, images and name == split) for name, table in tables.items()
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
            return DataSet(pixels, classes[split], shape, names)

    def images_of(
        self, path: Path, kind: str, shape: tuple[int, ...], sources: Sequence[str]
    ) -> tuple[np.ndarray, list[str]]:  # fmt: skip
        """Return the lines of a table, with a column for each pixel and perhaps one of labels, by their numbers."""
        with reading(path, PATH, _DAMAGE):
            table, inputs = _open(path), math.prod(shape)
            columns = list(range(table.columns))
            if table.columns == inputs + 1:
                columns.remove(_label_column(table, USUAL.labels))
            if len(columns) != inputs:
                raise UserError(
                    f"{path}: has {table.columns} columns, expected {inputs}, one for each pixel of the network's "
                    "images, and perhaps one of labels"
                )
            rows = list(table.rows())
            blocks = [_numbers(table, rows[at : at + _ROWS], columns) for at in range(0, len(rows), _ROWS)]
            if not blocks:
                raise UserError(f"{path}: has no line after its first, expected a sample")
            return np.concatenate(blocks), [str(number) for number, _ in rows]

    def splits(self, path: Path, fields: Fields) -> tuple[str, ...]:
        """Return which splits there are."""
        with reading(path, PATH, _DAMAGE):
            return tuple(dict.fromkeys(["train", *_tables(path)]))


FORMAT = Csv("csv", "your own samples, in tables of text", PATH)
