"""Directories of images by class: every format and mode, and all that cannot be used named at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from samples import LFS, pixels, refused

from ffmpi import data

CLASSES = ("cat", "dog", "emu")


def write(
    root: Path, shape: tuple[int, ...] = (8, 6), suffix: str = "png", splits: dict[str, int] | None = None
) -> str:
    """Write images of three classes in turn, the last in a directory of its own, and what is to be ignored."""
    for split, samples in (splits or {"train": 9, "test": 6}).items():
        for index, image in enumerate(pixels(samples, *shape)):
            folder = root / split / CLASSES[index % 3]
            if index == samples - 1:
                folder = folder / "more"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{index}.{suffix}")
        (root / split / ".hidden").mkdir()
        (root / split / "cat" / ".hidden.png").write_bytes(b"")
        (root / split / "cat" / "notes.txt").write_text("not an image")
    return str(root)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "gif"])
@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3)])
def test_forms(shape: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    if (suffix, len(shape)) == ("gif", 3):
        pytest.skip("a palette of 256 colours")
    path = write(tmp_path, shape, suffix)
    for split, samples in (("train", 9), ("test", 6)):
        found = data.load("folder", path, split)
        assert found.names == CLASSES and found.shape == shape
        order = np.concatenate([np.arange(samples)[first::3] for first in range(3)])
        assert_array_equal(found.images, pixels(samples, *shape)[order].reshape(samples, -1), strict=True)
        assert_array_equal(found.classes, np.sort(np.arange(samples) % 3).astype(np.uint8), strict=True)
        assert data.load("folder", path, split, images=False).images is None
    assert data.check("folder", path).samples == {"train": 9, "test": 6}


def test_modes_that_are_the_same(tmp_path: Path) -> None:
    """Grey in a palette, in one bit and with an opaque channel of transparency is grey; JPEG is read, too."""
    path = write(tmp_path)
    image = Image.fromarray(pixels(8, 6))
    image.convert("P").save(tmp_path / "train/cat/p.png")
    image.convert("1").save(tmp_path / "train/cat/bits.png")
    image.convert("LA").save(tmp_path / "train/cat/la.png")
    image.save(tmp_path / "train/dog/photo.jpeg")
    assert data.load("folder", path, "train").shape == (8, 6)
    images, _ = data.read_images(str(tmp_path / "train/dog/photo.jpeg"), (8, 6))
    assert images.shape == (1, 48)


def test_all_that_cannot_be_used_at_once(tmp_path: Path) -> None:
    path = write(tmp_path)
    folder = tmp_path / "train"
    Image.fromarray(pixels(6, 8)).save(folder / "cat/turned.png")
    refused(
        lambda: data.load("folder", path, "train"), f"{folder}/cat/turned.png: has 6 rows and 8 columns, grey; ",
        f"expected 8 rows and 6 columns, grey, as most of {folder}",
    )  # fmt: skip
    Image.fromarray(pixels(8, 6, 3)).save(folder / "cat/colour.png")
    (folder / "dog/pointer.jpg").write_bytes(LFS)
    content = (folder / "dog/1.png").read_bytes()
    (folder / "dog/1.png").write_bytes(content[:-20])
    Image.fromarray(pixels(8, 6, 4)).save(folder / "emu/through.png")
    Image.fromarray(pixels(8, 6).astype(np.uint16) * 257).save(folder / "emu/deep.png")
    refused(
        lambda: data.load("folder", path, "train"), f"{folder}: 6 of 14 images cannot be used: ",
        "dog/pointer.jpg: is a", "cat/turned.png: has",
        "cat/colour.png: has 8 rows and 6 columns, in colour", "dog/1.png: is truncated",
        "emu/deep.png: has",
    )  # fmt: skip
    assert data.load("folder", path, "test").shape == (8, 6)


def test_one_bad_file(tmp_path: Path) -> None:
    path = write(tmp_path, suffix="bmp")
    file = tmp_path / "train/dog/1.bmp"
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    refused(lambda: data.load("folder", path, "train"), f"{file}: cannot be read (image file is truncated", "expected")
    file.write_bytes(content)
    frames = [Image.fromarray(image) for image in pixels(2, 8, 6)]
    frames[0].save(tmp_path / "train/emu/moving.gif", save_all=True, append_images=frames[1:])
    refused(lambda: data.load("folder", path, "train"), "moving.gif: has 2 frames, expected one image")


def test_an_absurd_size_takes_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path, suffix="bmp")
    file = tmp_path / "train/dog/1.bmp"
    content = bytearray(file.read_bytes())
    content[18:26] = np.array([2**30, 2**30], "<i4").tobytes()
    file.write_bytes(content)
    refused(lambda: data.load("folder", path, "train"), f"{file}: cannot be read (", "decompression bomb")


def test_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(lambda: data.load("folder", str(tmp_path), "train"), f"{tmp_path}: has no directory train; it is empty")
    path = write(tmp_path, splits={"train": 9, "val": 6})
    assert len(data.load("folder", path, "test").classes) == 6
    assert "has no directory test, val is taken for the test samples" in capsys.readouterr().err
    only = write(tmp_path / "only", splits={"train": 9})
    refused(lambda: data.load("folder", only, "test"), "has no directory test beside train")
    assert data.check("folder", only).samples == {"train": 9}
    refused(lambda: data.load("folder", f"{path}/train/cat", "train"), "it holds 0.png, 3.png, ")
    refused(lambda: data.load("folder", f"{path}/train/cat/0.png", "train"), "is a PNG image", "train/CLASS")
    refused(lambda: data.load("hdf5", path, "train"), "holds only, train, val, as directories of images by class do")
    (tmp_path / "flat/train").mkdir(parents=True)
    (tmp_path / "flat/train/0.png").write_bytes((tmp_path / "train/cat/0.png").read_bytes())
    refused(lambda: data.load("folder", str(tmp_path / "flat"), "train"), "has directories of 0 classes, expected 2 to")
    for name in CLASSES:
        (tmp_path / "none/train" / name).mkdir(parents=True)
    refused(lambda: data.load("folder", str(tmp_path / "none"), "train"), "holds no image in its directories cat, dog")
