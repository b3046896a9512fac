"""Epochs in windows: their order, and images that are read from a file window by window."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from msgspec import structs
from numpy.testing import assert_array_equal

from ffmpi import data
from ffmpi.config.schema import Config, Data, Train
from ffmpi.data.pixels import PixelFormat, fitted, measured_format, nonzero_share
from ffmpi.data.scaling import moments
from ffmpi.data.split import contents, load, subset
from ffmpi.data.statistics import tally
from ffmpi.data.streamed import StreamedImages
from ffmpi.network import random
from ffmpi.network.blocks import Blocks
from ffmpi.network.labels import order_of
from ffmpi.network.window import Window
from tests.unit.samples import refused


def windowed(size: int, shuffle: bool = True, seed: int = 5, batch_size: int = 10) -> Config:
    return Config(seed=seed, data=Data(window=size), train=Train(shuffle=shuffle, batch_size=batch_size))


# -- The order --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("size", "count"), [(1, 7), (10, 7), (40, 95), (600, 1437), (5120, 5903), (8192, 8192)])
def test_windows_are_blocks_in_a_random_order_each_shuffled(size: int, count: int) -> None:
    """Said once more, with lists."""
    block = {1: 1, 10: 1, 40: 2, 600: 16, 5120: 20, 8192: 32}[size]
    pieces = [list(range(start, min(start + block, count))) for start in range(0, count, block)]
    chosen = np.argsort(np.random.Philox(key=[5, 3], counter=[0, 0, 1, 9]).random_raw(len(pieces)), kind="stable")
    row = [sample for index in chosen for sample in pieces[index]]
    words = np.random.Philox(key=[5, 3], counter=[0, 0, 0, 9]).random_raw(count)
    expected = []
    for start in range(0, count, size):
        expected += sorted(row[start : start + size], key=lambda sample: int(words[sample]))
    order = order_of(windowed(size), 9, count)
    assert order.tolist() == expected and sorted(expected) == list(range(count))
    assert order.dtype == np.int64


def test_one_window_for_all_is_the_usual_order() -> None:
    for count in (1, 50, 700):
        assert_array_equal(order_of(windowed(count), 3, count), random.order(5, 3, count))
        assert_array_equal(order_of(windowed(900), 3, count), random.order(5, 3, count))


def test_each_epoch_has_other_windows_and_none_without_shuffle() -> None:
    one, other = (set(order_of(windowed(64), epoch, 640)[:64].tolist()) for epoch in (0, 1))
    assert len(one & other) < 48
    assert_array_equal(order_of(windowed(64, shuffle=False), 1, 640), np.arange(640))


@pytest.mark.parametrize(("size", "count"), [(3, 20), (600, 1437), (1024, 1000)])
def test_places_are_those_in_the_windows(size: int, count: int) -> None:
    blocks = Blocks(windowed(size), 2, count)
    row = np.concatenate([blocks.window(index) for index in range(-(-count // size))])
    assert_array_equal(blocks.places(row), np.arange(count))


# -- Images in a file -------------------------------------------------------------------------------------------------
def write(path: Path, samples: int = 530, shape: tuple[int, ...] = (6, 5), dtype: str = "u1", **how: object) -> Path:
    images = np.random.default_rng(1).integers(0, 200, (samples + 40, *shape))
    values = images.astype("u1") if dtype == "u1" else (images / 77 - 1).astype(dtype)
    with h5py.File(path, "w") as file:
        for split, part in (("train", slice(0, samples)), ("test", slice(samples, None))):
            file.create_dataset(f"{split}/images", data=values[part], **how)
            file[f"{split}/labels"] = np.arange(len(values[part])) % 7
    return path


LAYOUTS = {
    "in one": {},
    "in chunks": {"chunks": (16, 6, 5)},
    "in slices": {"chunks": (40, 2, 3)},
    "compressed": {"chunks": (7, 6, 5), "compression": "gzip", "shuffle": True},
    "half": {"dtype": "f2"},
    "double, big-endian": {"dtype": ">f8", "chunks": (9, 6, 5)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_as_from_memory(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images, subsets of them, and all that is measured, to the last bit."""
    monkeypatch.setattr("ffmpi.data.streamed.CHUNK", 3000)
    monkeypatch.setattr("ffmpi.data.streamed._GAP", 200)
    path = str(write(tmp_path / "set.h5", **LAYOUTS[layout]))  # type: ignore[arg-type]
    for split in ("train", "test"):
        whole, streamed = data.load("hdf5", path, split), data.load("hdf5", path, split, streamed=True)
        assert isinstance(streamed.images, StreamedImages) and isinstance(whole.images, np.ndarray)
        assert (whole.shape, whole.names) == (streamed.shape, streamed.names)
        assert_array_equal(whole.classes, streamed.classes)
        assert contents(whole) == contents(streamed)
        some = np.flatnonzero(np.random.default_rng(2).random(len(whole.classes)) < 0.3)
        for one, other in ((whole, streamed), (subset(whole, some), subset(streamed, some))):
            images, there = one.images, other.images
            assert isinstance(images, np.ndarray) and isinstance(there, StreamedImages)
            assert (there.shape, there.dtype, len(there)) == (images.shape, images.dtype, len(images))
            assert_array_equal(there[:], images)
            assert_array_equal(there[5:80:3], images[5:80:3])
            wanted = np.random.default_rng(3).permutation(len(images))[:33]
            out = np.empty((len(wanted), 30), images.dtype)
            there.read(wanted, out)
            assert_array_equal(out, images[wanted])
            assert measured_format(there) == measured_format(images)
            assert nonzero_share(there) == nonzero_share(images)
            assert tally(other).split() == tally(one).split()
            for name in ("mean", "squares"):
                assert_array_equal(getattr(moments(there), name), getattr(moments(images), name))


def test_converted_as_they_are_read(tmp_path: Path) -> None:
    """Test images with colours last and floats for a network that was trained on bytes with colours first."""
    path = write(tmp_path / "set.h5", 60, (4, 5, 3), dtype="f4")
    with h5py.File(path, "r+") as file:
        for split in ("train", "test"):
            file[f"{split}/images"][...] = (file[f"{split}/images"][...] + 1) / 3  # 0 to 1
    trained = PixelFormat("uint8", 0, 255)
    one, other = (
        fitted(data.load("hdf5", str(path), "test", streamed=streamed), trained, (3, 4, 5), "set")
        for streamed in (False, True)
    )
    assert isinstance(one.images, np.ndarray) and isinstance(other.images, StreamedImages)
    assert other.images.dtype == np.uint8 and other.shape == (3, 4, 5)
    assert_array_equal(other.images[:], one.images)


def test_a_pixel_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "set.h5", dtype="f4")
    with h5py.File(path, "r+") as file:
        file["train/images"][311, 2, 2] = np.nan
    streamed = data.load("hdf5", str(path), "train", streamed=True)
    refused(lambda: contents(streamed), path, "image 311 has a NaN or infinite pixel, expected finite")
    refused(lambda: data.check("hdf5", str(path)), path, "image 311 has a NaN")


def test_chunks_too_large_to_stream(tmp_path: Path) -> None:
    path = write(tmp_path / "set.h5", 40, (32, 32))
    with h5py.File(path, "r+") as file:
        del file["train"]
        how = {"chunks": (9000, 32, 32), "compression": "gzip", "compression_opts": 1}
        file.create_dataset("train/images", data=np.ones((9000, 32, 32), np.uint8), **how)
        file["train/labels"] = np.arange(9000) % 7
    settled = structs.replace(windowed(500), data=Data(name="hdf5", path=str(path), window=500))
    refused(lambda: load(settled, "train", images=True), "data.window = 500", "chunks of 9 MB, expected at most 8 MB")
    assert load(settled, "train", images=False).images is None


# -- Windows of them --------------------------------------------------------------------------------------------------
class Counting:
    """A source that counts what is read."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.where, self.shape, self.dtype, self.at_once = images, "here", images.shape, images.dtype, 1
        self.read = np.zeros(len(images), int)

    def read_rows(self, first: int, out: np.ndarray) -> None:
        out[...] = self.images[first : first + len(out)]
        self.read[first : first + len(out)] += 1


@pytest.mark.parametrize(("size", "count"), [(600, 1437), (64, 640), (2000, 700)])
def test_an_epoch_reads_each_image_once_and_holds_two_windows(
    size: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ffmpi.data.streamed._GAP", 0)
    source = Counting(np.random.default_rng(0).integers(0, 256, (count, 6), np.uint8))
    settled = windowed(size)
    window = Window(StreamedImages(source), settled, 10)
    assert window.nbytes == min(count, 2 * size) * 6
    for epoch in range(3):
        source.read[:] = 0
        window.set_epoch(epoch)
        order = order_of(settled, epoch, count)
        for start in range(0, count, 10):
            samples = order[start : start + 10]
            images, rows = window.take(samples)
            assert images.nbytes == window.nbytes
            assert_array_equal(images[rows], source.images[samples])
            ahead = order[min(start + 20, count - 10) :][:10]  # as neutral rows are read, two batches before
            images, rows = window.take(np.concatenate([samples, ahead]))
            assert_array_equal(images[rows], source.images[np.concatenate([samples, ahead])])
        assert (source.read == 1).all()
    window.release()
    images, rows = window.take(order[:10])
    assert_array_equal(images[rows], source.images[order[:10]])


def test_samples_to_score_are_read_in_their_own_order() -> None:
    source = Counting(np.random.default_rng(0).integers(0, 256, (3000, 1024), np.uint8))
    window = Window(StreamedImages(source, np.arange(100, 3000)), None, 10)
    assert window.nbytes == 2 * 2**20
    for _ in range(2):
        for start in range(0, 2900, 10):
            samples = np.arange(start, start + 10)
            images, rows = window.take(samples)
            assert_array_equal(images[rows], source.images[100 + samples])
    assert source.read[:100].sum() == 0 and (source.read[100:] == 2).all()
