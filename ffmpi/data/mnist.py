"""MNIST, the handwritten digits of LeCun, Cortes and Burges."""

from __future__ import annotations

from .idx import IDX_PATH, Idx
from .known import DIGITS, File, Remote, Source

FILES = (
    File("train-images-idx3-ubyte", md5="6bbc9ace898e44ae57da46a324031adb"),
    File("train-labels-idx1-ubyte", md5="a25bea736e30d166cdddb491f175f624"),
    File("t10k-images-idx3-ubyte", md5="2646ac647ad5339dbf082846283269ea"),
    File("t10k-labels-idx1-ubyte", md5="27ae3e4e09519cfbb04c329615203637"),
)

FORMAT = Idx(
    "mnist", "MNIST handwritten digits, 28x28 grey", IDX_PATH, (28, 28), DIGITS, 60000, 10000, FILES,
    Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        tuple(Remote(f"{file.name}.gz", file.md5, unpacked=True) for file in FILES),
    ),
    nonzero=0.19, alike=("fashion-mnist",),
)  # fmt: skip
