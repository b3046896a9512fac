"""CIFAR-10's binary version, from its archive or unpacked."""

from __future__ import annotations

import hashlib
import lzma
import math
import tarfile
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np

from ..errors import UserError
from .files import DAMAGE, fill, reading
from .format import Format
from .kinds import BZIP2, GZIP, TAR, XZ, describe, expect, kind_of, listing, read_head, shortened
from .known import SPLITS, DataSet, Fields, File, Remote, Source
from .labels import check_labels
from .statistics import Summary, Tally, statistics_of

FOLDER = "cifar-10-batches-bin"
_DAMAGE = (*DAMAGE, lzma.LZMAError, tarfile.TarError)


class Cifar10(Format):
    """CIFAR-10's 60,000 photographs in ten classes."""

    holds = (
        (r"data_batch_\d\.bin$|cifar-10-batches-bin$|cifar-10-binary\.tar", "as CIFAR-10 does (data.name = 'cifar10')"),
        (
            r"data_batch_\d$|cifar-10-batches-py$|cifar-10-python\.tar",
            "as CIFAR-10's version for Python does; what is read is the binary version, cifar-10-binary.tar.gz",
        ),
    )

    def load(self, path: Path, split: str, images: bool, fields: Fields) -> DataSet:
        """Read the batches of one split."""
        members, samples = _members(self, split)
        pixels = np.empty((samples, math.prod(self.shape)), np.uint8) if images else None
        classes = np.empty(samples, np.uint8)
        for member, first, block in _records(self, path, members):
            at = members.index(member) * (samples // len(members)) + first
            classes[at : at + len(block)] = block[:, 0]
            if pixels is not None:
                pixels[at : at + len(block)] = block[:, 1:]
        return DataSet(pixels, classes, self.shape, self.names)

    def check(self, path: Path, fields: Fields) -> Summary:
        """Summarise both splits in one pass, as decompression is what takes the time."""
        digests = {file.name: hashlib.md5(usedforsecurity=False) for file in self.files}
        tallies = {split: Tally(self.classes) for split in SPLITS}
        for member, _, block in _records(self, path, tuple(digests)):
            digests[member].update(block.data)
            tallies[_split(member)].add(block[:, 1:], block[:, 0])
        files: dict[str, bool | None] = {file.name: digests[file.name].hexdigest() == file.md5 for file in self.files}
        return Summary(self.name, statistics_of(self.shape, self.names, tallies), files)


def _split(member: str) -> str:
    return "test" if member.startswith("test") else "train"


def _members(known: Format, split: str) -> tuple[tuple[str, ...], int]:
    members = tuple(file.name for file in known.files if _split(file.name) == split)
    return members, known.train if split == "train" else known.test


def _records(known: Format, path: Path, members: Sequence[str]) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield (member, first, block) in the files' order, block : (rows, 1 + inputs) uint8, the class before the pixels.

    All blocks share one buffer. An archive is read as a stream, only up to the last wanted member, never unpacked.
    """
    batches = path / FOLDER if (path / FOLDER).is_dir() else path
    archives = [path / f"cifar-10-binary.tar{suffix}" for suffix in (".gz", ".xz", "")]
    archive_path = path if path.is_file() else next((file for file in archives if file.is_file()), None)
    expected = known.path
    if (batches / "test_batch.bin").is_file() or batches != path:
        for member in members:
            with reading(batches / member, expected), (batches / member).open("rb") as stream:
                yield from _blocks(known, batches / member, member, stream, (batches / member).stat().st_size)
    elif archive_path is None:
        found = f"holds neither {FOLDER} nor cifar-10-binary.tar.gz; it {listing(path)}"
        raise UserError(f"{path}: {found}; expected {expected}")
    else:
        missing, seen = list(members), list[str]()
        expect(archive_path, expected, GZIP, XZ, BZIP2, TAR)
        with reading(archive_path, expected, _DAMAGE), tarfile.open(archive_path, "r|*") as archive:
            for info in archive:
                folder, _, member = info.name.removeprefix("./").rpartition("/")
                if len(seen) < 100:
                    seen.append(info.name)
                if folder == FOLDER and member in missing and info.isreg():
                    content = cast(BufferedIOBase, archive.extractfile(info))
                    yield from _blocks(known, f"{archive_path}: {member}", member, content, info.size)
                    missing.remove(member)
                if not missing:
                    return
        instead = f"it holds {shortened(seen, 4)}" if seen else "it is empty"
        python = ", CIFAR-10's version for Python" if any("cifar-10-batches-py" in name for name in seen) else ""
        raise UserError(f"{archive_path}: holds no {FOLDER}/{missing[0]}, {instead}{python}; expected {expected}")


def _blocks(
    known: Format, file: object, member: str, stream: BufferedIOBase, size: int
) -> Iterator[tuple[str, int, np.ndarray]]:
    members, samples = _members(known, _split(member))
    rows, record = samples // len(members), 1 + math.prod(known.shape)
    if size != rows * record:
        found = f"is {size} bytes long"
        if isinstance(file, Path) and (size == 0 or kind_of(read_head(file))):
            found = describe(read_head(file))
        raise UserError(f"{file}: {found}, expected {rows * record} ({rows} records of {record} bytes)")
    buffer = np.empty((256, record), np.uint8)
    for first in range(0, rows, len(buffer)):
        block = buffer[: rows - first]
        if (done := fill(stream, block)) < block.size:
            raise UserError(f"{file}: truncated after {first * record + done} bytes, expected {size}")
        check_labels(file, block[:, 0], known.classes, first)
        yield member, first, block


FORMAT = Cifar10(
    "cifar10", "CIFAR-10 photographs, 32x32 colour, as planes red, green, blue",
    f"cifar-10-binary.tar.gz (or .tar.xz, .tar), or a directory with it or with {FOLDER}", (3, 32, 32),
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"), 50000, 10000, (
        File("data_batch_1.bin", md5="5dd7e06a14cb22eb9f671a540d1b7c25"),
        File("data_batch_2.bin", md5="5ea93a67294ea407fff1d09f752e9692"),
        File("data_batch_3.bin", md5="942cd6a4bcdd0dd3c604fbe906cb4421"),
        File("data_batch_4.bin", md5="ae636b3ba5c66a11e91e8cb52e771fcb"),
        File("data_batch_5.bin", md5="53f37980c15c3d472c316c40844f3f0d"),
        File("test_batch.bin", md5="803d5f7f4d78ea53de84dbe85f74fb6d")),
    Source(
        "https://www.cs.toronto.edu/~kriz/", (Remote("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),)
    ),
)  # fmt: skip
