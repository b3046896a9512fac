"""Checkpoints: what was written comes back to the bit, and whatever is wrong with a file is one sentence."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ffmpi import config
from ffmpi.commands.info import info
from ffmpi.data.info import DatasetInfo
from ffmpi.data.pixels import PixelFormat
from ffmpi.data.scaling import PixelScaling
from ffmpi.errors import UserError
from ffmpi.network.classifier import classifier_block
from ffmpi.network.parameters import Parameters, dense
from ffmpi.run import checkpoint
from ffmpi.run.checkpoint import FORMAT, Header, reading
from ffmpi.run.header import identity
from ffmpi.run.writer import Writer
from tests.helpers import seal

INPUTS, UNITS = 5, 3
PROBLEM = {"shape": [2, 2], "names": ["cat", "d\u00f6g"], "train": 30, "digest": 77}
PIXELS = PixelFormat("uint8", 3, 255)
SCALING = PixelScaling(np.arange(4, dtype=np.float32), np.ones(1, np.float32), np.full(1, 3, np.float32))
THE_SAME = DatasetInfo((2, 2), ("cat", "d\u00f6g"), 30, 10, 77, shards=(10, 20), scaling=SCALING, pixel_format=PIXELS)
SETTINGS = config.parse(
    "data = { standardise = 'pixel', path = '/\u00e9' }",
    "test",
    ["train.epochs=4", "network.layers=[3]", "optimizer.name=adam"],
)
WEIGHTS = "layers/0/weights"


def parameters(seed: int = 1) -> Parameters:
    """Return parameters of which every saved number is another one."""
    rng = np.random.default_rng(seed)
    made = Parameters(BLOCK)
    for name, shape in shapes().items():
        value = rng.normal(size=shape).astype(np.float32)
        made.set_array(name, np.array(seed) if name == "steps" else abs(value) if name.endswith("_v") else value)
    return made


BLOCK = dense(INPUTS, UNITS, SETTINGS.optimizer)


def shapes() -> dict[str, tuple[int, ...]]:
    return BLOCK.shapes()


def begin(
    path: Path, chapter: int = 2, seed: int = 1, dataset: DatasetInfo = THE_SAME, before: str | None = None
) -> Writer:
    """Write a checkpoint of one layer, but do not commit it."""
    before = identity(path) if before is None else before
    writer, made = Writer(path, SETTINGS, dataset, chapter, before), parameters(seed)
    axes = {f"layers/0/{name}": axis for name, axis in BLOCK.axes().items()}
    writer.create({f"layers/0/{name}": shape for name, shape in shapes().items()}, axes)
    for name in shapes():
        writer.write(f"layers/0/{name}", made.array(name))
    return writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "checkpoint.h5"
    begin(file).commit()
    return file


def read(path: Path) -> tuple[Header, Parameters]:
    made = Parameters(BLOCK)
    with reading(path) as reader:
        reader.load("layers/0", made)
        return reader.header, made


def refused(path: Path, *fragments: str) -> None:
    """The file costs one line which names it and what was found."""
    with pytest.raises(UserError) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text and not text.endswith("."), text
    for fragment in fragments:
        assert fragment in text, text


def edit(path: Path, change: Callable[[h5py.File], Any], sealed: bool = True) -> Path:
    """Change a checkpoint, and its checksums with it, as somebody would who means harm."""
    with h5py.File(path, "r+") as file:
        change(file)
    if sealed:
        seal(path)
    return path


def replace(path: Path, value: Any, name: str = WEIGHTS) -> Path:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return edit(path, change)


# what comes back ------------------------------------------------------------------------------------------------------


def test_round_trip(path: Path) -> None:
    header, found = read(path)
    assert header.config == SETTINGS and header.chapter == 2 and header.version
    assert (header.shape, header.names, header.train, header.digest) == ((2, 2), ("cat", "d\u00f6g"), 30, 77)
    expected = parameters()
    for name in shapes():
        assert_array_equal(found.array(name), expected.array(name))
        assert found.array(name).dtype == expected.array(name).dtype
    for mine, other in zip((found.w, *found.moments), (expected.w, *expected.moments), strict=True):
        assert_array_equal(mine, other)  # the padding too


class Piece:
    """Parameters of some units only: those of a classifier are rows, others' columns."""

    def __init__(self, whole: Parameters, first: int, stop: int) -> None:
        self.block, self.learns, self.held = whole.block, whole.learns, whole.held
        self._whole, self._first, self._stop, self.steps = whole, first, stop, 0
        self.found: dict[str, np.ndarray] = {}

    def span(self, name: str) -> tuple[slice, ...]:
        """Return where the units lie."""
        full = [slice(0, size) for size in self.block.shapes()[name]]
        if name in self.block.axes():
            full[self.block.axes()[name]] = slice(self._first, self._stop)
        return tuple(full)

    def set_array(self, name: str, value: np.ndarray) -> None:
        """Take an array that is not cut."""
        self.found[name] = value

    def set_array_part(self, name: str, start: int, value: np.ndarray) -> None:
        """Take some units, those in order."""
        axis, before = self.block.axes()[name], self.found.get(name)
        assert start == (0 if before is None else before.shape[axis])
        self.found[name] = value if before is None else np.concatenate([before, value], axis)


@pytest.mark.parametrize("classifier", [False, True])
def test_arrays_in_parts(tmp_path: Path, classifier: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are written in any order; a piece is read without the rest, of which damage is not seen."""
    units, cuts = 77, [(48, 77), (0, 16), (16, 48)]
    block = classifier_block(SETTINGS, units, 3) if classifier else dense(INPUTS, units, SETTINGS.optimizer)
    whole, path, rng = Parameters(block), tmp_path / "parts.h5", np.random.default_rng(3)
    for name, shape in block.shapes().items():
        whole.set_array(name, np.array(9) if name == "steps" else rng.random(shape, np.float32))
    every = {f"layers/0/{name}": whole.array(name) for name in block.shapes()}
    writer = Writer(path, SETTINGS, THE_SAME, 0)
    axes = {f"layers/0/{name}": axis for name, axis in block.axes().items()}
    writer.create({name: array.shape for name, array in every.items()}, axes)
    for first, stop in cuts:
        piece = Piece(whole, first, stop)
        for name in block.axes():
            writer.write(f"layers/0/{name}", whole.array_part(name, first, stop), piece.span(name))
    for name in every.keys() - axes.keys():
        writer.write(name, every[name])
    writer.commit()
    monkeypatch.setattr(checkpoint, "_AT_ONCE", 16 * INPUTS)
    with reading(path) as reader:
        assert reader.header.chapter == 0 and reader.header.pixel_format == PIXELS
        reader.check()
        for name, array in every.items():
            assert_array_equal(reader.array(name, array.shape), array, strict=True)
        again = Parameters(block)
        reader.load("layers/0", again)
        assert_array_equal(again.flat, whole.flat)
    with h5py.File(path, "r+") as file:
        file[WEIGHTS][(40, 1) if classifier else (1, 40)] = 7
    with reading(path) as reader:
        for first, stop in cuts[:2]:
            piece = Piece(whole, first, stop)
            reader.load("layers/0", piece)  # type: ignore[arg-type]
            for name, array in piece.found.items():
                assert_array_equal(array, every[f"layers/0/{name}"][piece.span(name)], strict=True)
            assert piece.steps == 9
        with pytest.raises(UserError, match=r"damaged: 'layers/0/weights'"):
            reader.load("layers/0", Piece(whole, 16, 48))  # type: ignore[arg-type]


def test_a_missing_part(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "parts.h5", SETTINGS, THE_SAME, 0)
    writer.create({WEIGHTS: (2, 32)}, {WEIGHTS: 1})
    part = slice(0, 2), slice(16, 32)
    writer.write(WEIGHTS, np.ones((2, 16), np.float32), part)
    with pytest.raises(AssertionError, match="there already"):
        writer.write(WEIGHTS, np.ones((2, 16), np.float32), part)
    with pytest.raises(AssertionError, match=WEIGHTS):
        writer.commit()


def test_plain_hdf5(path: Path) -> None:
    """What others find in the file: row-major arrays and text of fixed length."""
    with h5py.File(path) as file:
        assert_array_equal(file[WEIGHTS][()], parameters().array("weights"))
        assert file.attrs["format"] == FORMAT
        assert config.parse(bytes(file["header/config"][()]).decode(), "text", []) == SETTINGS
        assert json.loads(file["header/problem"][()]) == PROBLEM | {"pixel_format": dataclasses.asdict(PIXELS)}
        checksums = json.loads(file["header/checksums"][()])
        assert checksums.keys() == {f"layers/0/{name}" for name in shapes()} | SCALING.arrays().keys()
        assert checksums[WEIGHTS] == {"axis": 1, "panels": [zlib.crc32(file[WEIGHTS][()].tobytes())]}
        assert checksums["layers/0/steps"] == zlib.crc32(file["layers/0/steps"][()].tobytes())


# what is refused ------------------------------------------------------------------------------------------------------


def test_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.h5", "no such file")


def test_directory(tmp_path: Path) -> None:
    refused(tmp_path, "cannot be opened")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty"),
        (b"hello", "is a text which begins 'hello'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n", "cannot be opened"),
        (b"\x89HDF\r\n\x1a\n" + bytes(2000), "cannot be opened"),
    ],
)
def test_no_hdf5(tmp_path: Path, content: bytes, found: str) -> None:
    file = tmp_path / "checkpoint.h5"
    file.write_bytes(content)
    refused(file, found)


def test_truncated(path: Path) -> None:
    content = path.read_bytes().rstrip(b"\0")  # the room that was reserved and not needed does not count
    for size in range(1, len(content), len(content) // 40):
        path.write_bytes(content[:size])
        refused(path)


def test_empty_hdf5(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.h5"
    h5py.File(file, "w").close()
    refused(file, "attribute 'format'", "an ffmpi checkpoint")


@pytest.mark.parametrize("name", ["format", "id", "checksum", "chapter", "ffmpi"])
@pytest.mark.parametrize("value", [None, 1.5, "text of variable length", [1, 2], np.bytes_(b"\xff"), h5py.Empty("i8")])
def test_wrong_attribute(path: Path, name: str, value: Any) -> None:
    def change(file: h5py.File) -> None:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    refused(edit(path, change, sealed=False), repr(name))


@pytest.mark.parametrize("name", ["config", "problem", "checksums"])
@pytest.mark.parametrize(
    "value", [None, 1.5, "text of variable length", [1, 2], np.bytes_(b"\xff"), h5py.Empty("i8"), h5py.SoftLink("/x")]
)
def test_wrong_text(path: Path, name: str, value: Any) -> None:
    def change(file: h5py.File) -> None:
        del file[f"header/{name}"]
        if value is not None:
            file[f"header/{name}"] = value

    refused(edit(path, change, sealed=False), repr(f"header/{name}"))


def test_a_text_longer_than_the_file_takes_no_memory(path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["header/config"]
        file.create_dataset("header/config", (), h5py.string_dtype("utf-8", 2**30))

    refused(edit(path, change, sealed=False), "'header/config' is said to have 1073741824 bytes")


def attribute(path: Path, name: str, value: Any) -> Path:
    return edit(path, lambda file: file.attrs.__setitem__(name, value))


def test_other_format(path: Path) -> None:
    refused(attribute(path, "format", FORMAT + 1), f"checkpoint format {FORMAT + 1}", f"format 1 to {FORMAT}")


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("[train", "not valid TOML"),
        ("[train]\nepoch = 3", "did you mean 'epochs'?"),
        ("seed = -1", "seed = -1"),
        ("seed = " + 3000 * "[", "TOML"),
        ("seed = 1" + 5000 * "0", "TOML"),
    ],
)
def test_wrong_config(path: Path, text: str, fragment: str) -> None:
    seal(path, {"config": text})
    refused(path, fragment)


@pytest.mark.parametrize(
    "problem",
    [
        "{",
        "[]",
        "3",
        json.dumps({"shape": [2, 2], "names": ["a", "b"]}),
        json.dumps(PROBLEM | {"shape": 2}),
        json.dumps(PROBLEM | {"shape": ["x"]}),
        json.dumps(PROBLEM | {"shape": []}),
        json.dumps(PROBLEM | {"shape": [2, 0]}),
        json.dumps(PROBLEM | {"shape": [1e999, 2]}),
        json.dumps(PROBLEM | {"names": ["a"]}),
        json.dumps(PROBLEM | {"names": ["a"] * 1001}),
        json.dumps(PROBLEM | {"pixel_format": {"dtype": "uint8", "least": "0", "greatest": 9}}),
        json.dumps(PROBLEM | {"train": 0}),
        json.dumps(PROBLEM | {"train": 10**400}),
        json.dumps(PROBLEM | {"train": float("inf")}),
        "[" * 20_000,
    ],
)
def test_wrong_problem(path: Path, problem: str) -> None:
    seal(path, {"problem": problem})
    refused(path, "'problem'")


@pytest.mark.parametrize(
    "checksums",
    [
        "{",
        "[]",
        json.dumps({WEIGHTS: "x"}),
        json.dumps({WEIGHTS: None}),
        "{}",
        *(
            json.dumps({WEIGHTS: {"axis": axis, "panels": panels}})
            for axis, panels in ((0, [1]), (1, []), (1, [1, 1]), (2, [1]), (-1, [1]))
        ),
    ],
)
def test_wrong_checksums(path: Path, checksums: str) -> None:
    seal(path, {"checksums": checksums})
    refused(path, "checksum")


@pytest.mark.parametrize("name", ["", "/", "..", "a//b", "\0", "header/config", "layers", "inputs/std", "\ud800"])
def test_checksums_of_what_is_no_array(path: Path, name: str) -> None:
    with h5py.File(path) as file:
        checksums = json.loads(file["header/checksums"][()])
    seal(path, {"checksums": json.dumps(checksums | {name: 1})})
    with pytest.raises(UserError) as caught, reading(path) as reader:
        reader.check()
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("chapter", [-1, 5, 2**62])
def test_chapter_beyond_the_run(path: Path, chapter: int) -> None:
    refused(attribute(path, "chapter", chapter), "a chapter of the run")


def test_chapters_of_the_run(tmp_path: Path) -> None:
    for chapter in (0, 4):
        begin(tmp_path / "checkpoint.h5", chapter).commit()
        assert read(tmp_path / "checkpoint.h5")[0].chapter == chapter


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((INPUTS, UNITS + 1), np.float32),
        np.zeros((UNITS, INPUTS), np.float32),
        np.zeros(INPUTS * UNITS, np.float32),
        np.float32(1),
        np.zeros((INPUTS, UNITS), np.float64),
        np.zeros((INPUTS, UNITS), np.int32),
        np.zeros((INPUTS, UNITS), ">f4"),
        np.full((INPUTS, UNITS), "a", "S4"),
        h5py.Empty("f4"),
        np.dtype("f4"),
    ],
)
def test_wrong_array(path: Path, value: Any) -> None:
    refused(replace(path, value), repr(WEIGHTS), f"float32 ({INPUTS}, {UNITS})")


@pytest.mark.parametrize("name", [name for name in shapes() if name != "steps"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(path: Path, name: str, value: float) -> None:
    def change(file: h5py.File) -> None:
        array = file[f"layers/0/{name}"]
        array[tuple(size - 1 for size in array.shape)] = value

    refused(edit(path, change), f"'layers/0/{name}'", "not finite")


@pytest.mark.parametrize("name", ["weights_v", "bias_v", "steps"])
def test_negative(path: Path, name: str) -> None:
    value = -np.abs(parameters().array(name)) - 1
    refused(replace(path, value, f"layers/0/{name}"), f"'layers/0/{name}'", "negative")


@pytest.mark.parametrize("name", [WEIGHTS, "layers/0/steps", "layers/0", "layers"])
def test_missing(path: Path, name: str) -> None:
    refused(edit(path, lambda file: file.__delitem__(name)), "no data set 'layers/0/")


@pytest.mark.parametrize("name", ["layers", "layers/0"])
@pytest.mark.parametrize("value", [3, np.dtype("f4")])
def test_no_group(path: Path, name: str, value: Any) -> None:
    refused(replace(path, value, name), "'layers")


@pytest.mark.parametrize("steps", [-1, 2**63 - 1])
def test_impossible_count_of_steps(path: Path, steps: int) -> None:
    refused(replace(path, np.int64(steps), "layers/0/steps"), "'layers/0/steps'")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_could_not_be_read_is_not_written(path: Path, value: float) -> None:
    """Nothing looks at a loss after a run's last update."""
    before, writer, made = path.read_bytes(), Writer(path, SETTINGS, THE_SAME, 3), parameters()
    made.bias[0, 1] = value
    writer.create({"layers/0/bias": (UNITS,)})
    with pytest.raises(UserError, match="layers/0/bias is no longer finite"):
        writer.write("layers/0/bias", made.array("bias"))
    assert path.read_bytes() == before


def test_group_instead_of_a_data_set(path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file[WEIGHTS]
        file.create_group(WEIGHTS)

    refused(edit(path, change), repr(WEIGHTS), "not a plain data set")


@pytest.mark.parametrize("name", [WEIGHTS, "layers/0", "layers"])
@pytest.mark.parametrize("kind", ["soft", "external"])
def test_links(path: Path, name: str, kind: str) -> None:
    """A link would be followed into another part of the file, or into another file."""
    other = path.with_name("other.h5")
    begin(other).commit()

    def change(file: h5py.File) -> None:
        file.move(name, "kept")
        file[name] = h5py.SoftLink("/kept") if kind == "soft" else h5py.ExternalLink(str(other), name)

    refused(edit(path, change), "no data set 'layers/0/", "stored in the file")


@pytest.mark.parametrize("kind", ["virtual", "external"])
def test_data_elsewhere(path: Path, kind: str) -> None:
    other, raw, shape = path.with_name("other.h5"), path.with_name("raw"), (INPUTS, UNITS)
    begin(other).commit()
    raw.write_bytes(bytes(4 * INPUTS * UNITS))
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource(str(other), WEIGHTS, shape)

    def change(file: h5py.File) -> None:
        del file[WEIGHTS]
        if kind == "virtual":
            file.create_virtual_dataset(WEIGHTS, layout)
        else:
            file.create_dataset(WEIGHTS, shape, "f4", external=[(str(raw), 0, 4 * INPUTS * UNITS)])

    refused(edit(path, change), repr(WEIGHTS), "not a plain data set", "stored in the file")


def test_damaged_bytes_never_escape(path: Path) -> None:
    """Whatever bytes are flipped, the file is read or refused: no other exception."""
    content, rng = path.read_bytes(), np.random.default_rng(1)
    for _ in range(100):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 8):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        message = ""
        try:
            read(path)
        except UserError as error:
            message = str(error)
        assert "\n" not in message


# an interrupted write -------------------------------------------------------------------------------------------------


def test_no_commit_leaves_the_old_one(path: Path) -> None:
    before = path.read_bytes()
    writer = begin(path, chapter=3, seed=2)
    assert path.read_bytes() == before
    del writer
    assert path.read_bytes() == before
    assert read(path)[0].chapter == 2
    begin(path, chapter=4, seed=3).commit()  # what was left of it is in nobody's way
    header, found = read(path)
    assert header.chapter == 4
    assert_array_equal(found.array("weights"), parameters(3).array("weights"))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_two_writers_without_locks(tmp_path: Path) -> None:
    """The one that saves next has the word; nobody mixes what both have written."""
    path = tmp_path / "checkpoint.h5"
    first = begin(path, chapter=1)
    first.commit()
    mine, others = begin(path, 2, seed=2, before=first.id), begin(path, 3, seed=3, before=first.id)
    with pytest.raises(UserError, match="another ffmpi writes here"):  # others have begun a file since
        mine.commit()
    others.commit()
    with pytest.raises(UserError, match="another ffmpi writes here"):  # others have saved since
        begin(path, 2, seed=2, before=first.id).commit()
    header, found = read(path)
    assert (header.chapter, header.id) == (3, others.id)
    assert_array_equal(found.array("weights"), parameters(3).array("weights"))
    begin(path, 4, before=others.id).commit()


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_failed_commit_leaves_the_old_one(path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    writer = begin(path, chapter=3, seed=2)
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(UserError) as caught:
        writer.commit()
    assert "No space left on device" in str(caught.value) and "previous one is intact" in str(caught.value)
    assert read(path)[0].chapter == 2


def test_a_slow_disk_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file takes the old one's place when it is on the disk, and not before."""
    on_disk = threading.Event()
    writer = begin(path, chapter=3, seed=2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: on_disk.wait(30))
    assert not writer.commit(wait=False) and not writer.commit(wait=False)
    assert read(path)[0].chapter == 2
    on_disk.set()
    while not writer.commit(wait=False):
        pass
    assert read(path)[0].chapter == 3


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_sync(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Some refuse it for directories, or altogether: the checkpoint is as safe as it can be there."""

    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    begin(path, chapter=3, seed=2).commit()
    assert read(path)[0].chapter == 3


def test_interrupt_leaves_the_old_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    writer = begin(path, chapter=3, seed=2)
    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        writer.commit()
    assert read(path)[0].chapter == 2


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from ffmpi.run.writer import Writer
from ffmpi.errors import UserError
from ffmpi.data.info import DatasetInfo
from ffmpi.config.schema import Config

units = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (3000 * units // 2, resource.RLIM_INFINITY))
try:
    writer = Writer(Path(sys.argv[1]), Config(), DatasetInfo((4,), ("a", "b"), 1, 1), 1)
    names = [f"layers/{part}/weights" for part in range(3)]
    writer.create({name: (250, units) for name in names})
    for name in names:
        writer.write(name, np.ones((250, units), np.float32))
    writer.commit()
except UserError as error:
    print(error, flush=True)
"""


@pytest.mark.parametrize("units", [10, 100, 1000])
def test_full_disk_leaves_the_old_one(units: int, path: Path) -> None:
    """A limit on the size of files stands for a full disk; in a process of its own, since it cannot be lifted."""
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path, str(units)], capture_output=True, text=True, timeout=60
    )
    assert path.read_bytes() == before
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stdout
    assert "previous one is intact" in done.stdout
    assert done.stdout.count("\n") == 1, done.stdout


def test_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write the checkpoint") as caught:
        Writer(tmp_path / "none" / "checkpoint.h5", SETTINGS, THE_SAME, 1)
    assert "\n" not in str(caught.value)


def test_texts_of_any_length(tmp_path: Path) -> None:
    """HDF5 limits an attribute to 64 KB, so none holds what may be longer."""
    names = tuple(f"{index}" + "\u00e9" * 1000 for index in range(256))
    settings = config.parse(
        "", "test", ["schedule.name=federated", "train.epochs=9000", "shards.count=9000",
                     f"shards.sizes={[1.25] * 9000}", "data.path=/" + "x" * 70_000],
    )  # fmt: skip
    writer = Writer(tmp_path / "checkpoint.h5", settings, dataclasses.replace(THE_SAME, names=names), 1)
    writer.create({})
    writer.commit()
    with reading(tmp_path / "checkpoint.h5") as reader:
        assert (reader.header.names, reader.header.config) == (names, settings)


# what is measured -----------------------------------------------------------------------------------------------------


def test_scaling_comes_back(path: Path) -> None:
    with reading(path) as reader:
        found = reader.header.scaling
    assert found is not None
    for name, array in SCALING.arrays().items():
        assert_array_equal(found.arrays()[name], array, strict=True)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"mean": np.zeros(3, np.float32)}, "shapes (3,) and (1,)"),
        ({"std": np.zeros(1, np.float32)}, "no positive number"),
        ({"square": np.ones(2, np.float32)}, "no positive number"),
    ],
)
def test_scaling_that_cannot_be(wrong: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    dataset = dataclasses.replace(THE_SAME, scaling=dataclasses.replace(SCALING, **wrong))
    begin(tmp_path / "checkpoint.h5", dataset=dataset).commit()
    refused(tmp_path / "checkpoint.h5", words, "one for each of 4 pixels")


# damage ---------------------------------------------------------------------------------------------------------------


def everything(path: Path) -> list[Any]:
    """Return all that a run could take over from a checkpoint."""
    header, found = read(path)
    with reading(path) as reader:
        reader.check()
    assert header.scaling is not None
    scaling = {name: array.tobytes() for name, array in header.scaling.arrays().items()}
    return [header, scaling, *(found.array(name).tobytes() for name in shapes())]


def test_each_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.h5"
    begin(path).commit()
    content, expected, noticed = path.read_bytes(), everything(path), 0
    used = len(content.rstrip(b"\0"))  # the rest is room that was reserved and not needed
    offsets = np.random.default_rng(3).choice(used, 150, replace=False)
    for offset in offsets:
        damaged = bytearray(content)
        damaged[offset] ^= 1 << (offset % 8)
        path.write_bytes(damaged)
        message = ""
        try:
            assert everything(path) == expected, offset
        except UserError as error:
            message = str(error)
        noticed += bool(message)
        assert "\n" not in message and (not message or str(path) in message)
    # Unused space lies between HDF5's blocks.
    assert noticed > 0.5 * len(offsets)


@pytest.mark.parametrize("name", [*(f"layers/0/{name}" for name in shapes()), "inputs/mean", "inputs/std"])
def test_a_flipped_bit_in_an_array_names_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.h5"
    begin(path).commit()
    with h5py.File(path) as file:
        node = file[name]
        offset = node.id.get_chunk_info(0).byte_offset if node.chunks else node.id.get_offset()
    damaged = bytearray(path.read_bytes())
    damaged[offset] ^= 1
    path.write_bytes(damaged)
    refused(path, told := f"damaged: {name!r} does not agree with its checksum")
    with pytest.raises(UserError, match=re.escape(told)):
        info(str(path), as_json=True)
