"""Tables of text: lines of columns, and what these hold."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from ..errors import UserError
from .kinds import CSV, HEAD, TEXT, describe, kind_of, read_head, shortened
from .known import USUAL
from .labels import MOST_CLASSES

LABELS = ("label", "labels", "class", "target", "y")  # what a column of labels is mostly called
_LONGEST = 1 << 24  # characters of a line


@dataclass(frozen=True)
class Table:
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


def is_number(text: str) -> bool:
    """Return whether a field is a number, as NumPy reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def open_table(file: Path) -> Table:
    """Read the first line of a table: what separates its columns, and whether it has their names."""
    first = next(_lines(file), (0, ""))[1]
    delimiter = max(",;\t", key=first.count)
    if not first.count(delimiter):
        raise UserError(f"{file}: its first line {first[:40]!r} has one column, expected a column of labels and others")
    table = Table(file, delimiter, (), 0)
    fields = table.fields(first)
    texts = [name for name in fields if not is_number(name)]
    # Names of numbers only are those that pandas gives to columns without names.
    names = len(texts) > 1 or any(name.strip().lower() in LABELS for name in texts)
    counted = len(fields) > 2 and fields == [str(index) for index in range(len(fields))]
    return Table(file, delimiter, tuple(fields) if names or counted else (), len(fields))


def label_column(table: Table, wanted: str) -> int:
    """Return the column of the labels: that of the name `wanted`, or the one that can be it."""
    ends = {"first": 0, "last": table.columns - 1}
    if wanted != USUAL.labels:
        if wanted in table.header:
            return table.header.index(wanted)
        if wanted in ends:
            return ends[wanted]
        have = f"has the columns {shortened(table.header)}" if table.header else "has no names of columns"
        raise UserError(f"{table.file}: {have}, expected data.labels = {wanted!r} among them, or 'first' or 'last'")
    named = table.named(LABELS)
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
        f"{table.file}: has no column called {', '.join(LABELS[:-1])} or {LABELS[-1]}, and {found}; expected its "
        "name, 'first' or 'last' as data.labels"
    )


def _can_be_labels(table: Table, index: int) -> bool:
    """Return whether a column has texts, or all whole numbers from 0 to a greatest one, most of them repeatedly."""
    found = [table.field(line, index).strip() for _, line in table.rows()]
    values = set(found)
    if not all(map(is_number, values)):
        return 1 < len(values) <= MOST_CLASSES
    numbers = {float(value) for value in values}
    return 1 < len(numbers) <= min(MOST_CLASSES, len(found) // 2) and numbers == set(range(len(numbers)))


def numbers_of(table: Table, block: list[tuple[int, str]], columns: list[int]) -> np.ndarray:
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
            if not is_number(fields[index].strip())
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
