"""What is known of each data set before its files are seen, and what comes out of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "test")


_EITHER = re.compile(r"\{([^{}|]*)\|([^{}|]*)\}")


@dataclass(frozen=True)
class Fields:
    """The names of the data sets with images and labels in a user's HDF5 file.

    They are looked for in groups train and test, or at the root. A name that says itself where its split's name stands
    is looked for as it is: {split} is train or test, and {A|B} is A for training and B for test samples.
    """

    images: str = "images"
    labels: str = "labels"

    @property
    def by_split(self) -> bool:
        """Whether one of the names says where its split's name stands."""
        return any("{split}" in name or _EITHER.search(name) for name in (self.images, self.labels))

    def names(self, split: str) -> tuple[str, str]:
        """Return the names of the images and the labels of a split."""

        def name_of(name: str) -> str:
            filled = name.replace("{split}", "{train|test}")
            if not _EITHER.search(filled):
                return f"{split}/{name}"
            return _EITHER.sub(lambda match: match[1 if split == "train" else 2], filled)

        return name_of(self.images), name_of(self.labels)


USUAL = Fields()


@dataclass(frozen=True)
class DataSet:
    """One split of a data set.

    images : (samples, inputs) uint8, or float32 where a user's file holds floats; None when only classes were asked for
    classes : (samples,) uint8
    shape : of one image, before it was flattened to a row
    names : one per class
    """

    images: np.ndarray | None
    classes: np.ndarray
    shape: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class File:
    """A public file: its unpacked name, and the MD5 of its content or of the ``.gz`` ('' if not published)."""

    name: str
    md5: str = ""
    packed_md5: str = ""


@dataclass(frozen=True)
class Known:
    """What is known of a data set before its files are seen; zeros and empty tuples: the file itself says."""

    description: str
    path: str  # what `path` has to be, '' when none is needed
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    train: int = 0
    test: int = 0
    files: tuple[File, ...] = ()

    @property
    def classes(self) -> int:
        """How many classes there are; 0: the file itself says."""
        return len(self.names)


FOLDER = "cifar-10-batches-bin"
DIGITS = tuple("0123456789")
IDX_PATH = "a directory with the four IDX files (train-images-idx3-ubyte and so on, plain or .gz)"
KNOWN = {
    "digits": Known("scikit-learn's handwritten digits, 8x8 grey", "", (8, 8), DIGITS, 1437, 360),
    "mnist": Known(
        "MNIST handwritten digits, 28x28 grey", IDX_PATH, (28, 28), DIGITS, 60000, 10000, (
            File("train-images-idx3-ubyte", md5="6bbc9ace898e44ae57da46a324031adb"),
            File("train-labels-idx1-ubyte", md5="a25bea736e30d166cdddb491f175f624"),
            File("t10k-images-idx3-ubyte", md5="2646ac647ad5339dbf082846283269ea"),
            File("t10k-labels-idx1-ubyte", md5="27ae3e4e09519cfbb04c329615203637"))),
    "fashion-mnist": Known(
        "Fashion-MNIST articles of clothing, 28x28 grey", IDX_PATH, (28, 28),
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        60000, 10000, (
            File("train-images-idx3-ubyte", packed_md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            File("train-labels-idx1-ubyte", packed_md5="25c81989df183df01b3e8a0aad5dffbe"),
            File("t10k-images-idx3-ubyte", packed_md5="bef4ecab320f06d8554ea6380940ec79"),
            File("t10k-labels-idx1-ubyte", packed_md5="bb300cfdad3c16e7a12a480ee83cd310"))),
    "cifar10": Known(
        "CIFAR-10 photographs, 32x32 colour, as planes red, green, blue",
        f"cifar-10-binary.tar.gz (or .tar.xz, .tar), or a directory with it or with {FOLDER}", (3, 32, 32),
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"), 50000, 10000, (
            File("data_batch_1.bin", md5="5dd7e06a14cb22eb9f671a540d1b7c25"),
            File("data_batch_2.bin", md5="5ea93a67294ea407fff1d09f752e9692"),
            File("data_batch_3.bin", md5="942cd6a4bcdd0dd3c604fbe906cb4421"),
            File("data_batch_4.bin", md5="ae636b3ba5c66a11e91e8cb52e771fcb"),
            File("data_batch_5.bin", md5="53f37980c15c3d472c316c40844f3f0d"),
            File("test_batch.bin", md5="803d5f7f4d78ea53de84dbe85f74fb6d"))),
    "hdf5": Known("your own images", "an HDF5 file with groups train and test, each with images and labels"),
}  # fmt: skip
