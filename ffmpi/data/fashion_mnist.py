"""Fashion-MNIST, the articles of clothing of Xiao, Rasul and Vollgraf."""

from __future__ import annotations

from .idx import IDX_PATH, Idx
from .known import File, Remote, Source

FILES = (
    File("train-images-idx3-ubyte", packed_md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    File("train-labels-idx1-ubyte", packed_md5="25c81989df183df01b3e8a0aad5dffbe"),
    File("t10k-images-idx3-ubyte", packed_md5="bef4ecab320f06d8554ea6380940ec79"),
    File("t10k-labels-idx1-ubyte", packed_md5="bb300cfdad3c16e7a12a480ee83cd310"),
)
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

FORMAT = Idx(
    "fashion-mnist", "Fashion-MNIST articles of clothing, 28x28 grey", IDX_PATH, (28, 28), CLASSES, 60000, 10000, FILES,
    Source(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        tuple(Remote(f"{file.name}.gz", file.packed_md5) for file in FILES),
    ),
    nonzero=0.5, alike=("mnist",),
)  # fmt: skip
