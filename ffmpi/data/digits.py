"""Scikit-learn's handwritten digits, in their own split."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from ..errors import UserError
from .files import DAMAGE, reading
from .format import Format
from .known import DIGITS, DataSet, Fields


class Digits(Format):
    """Scikit-learn's 1797 digits, their values 0..16 scaled to 0..255 and rounded to the nearest.

    The split is the order of the first 1797 words of NumPy's Philox stream with key 1797 (stable argsort): the first
    1437 samples are for training, the other 360 for tests. Raw Philox words are the same in every version of NumPy.
    """

    def load(self, path: Path, split: str, images: bool, fields: Fields) -> DataSet:
        """Read one split."""
        samples = table()
        order = np.argsort(np.random.Philox(key=1797).random_raw(len(samples)), kind="stable")
        samples = samples[order[: self.train] if split == "train" else order[self.train :]]
        pixels = ((samples[:, :-1] * 255 + 8) // 16).astype(np.uint8) if images else None
        return DataSet(pixels, samples[:, -1].astype(np.uint8), self.shape, self.names)


FORMAT = Digits("digits", "scikit-learn's handwritten digits, 8x8 grey", "", (8, 8), DIGITS, 1437, 360, nonzero=0.51)


def table() -> np.ndarray:
    """Return (1797, 65) uint16: 64 pixels and the class.

    Read from scikit-learn's own file, since importing scikit-learn for it costs a second and 60 MB on every rank.
    """
    missing = "data set 'digits' is part of scikit-learn, which is not installed: pip install ffmpi[digits]"
    try:
        spec = importlib.util.find_spec("sklearn")
    except ValueError:  # sklearn is in sys.modules without a spec: let the import below decide
        spec = None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            with reading(file, "scikit-learn's digits", (*DAMAGE, ValueError)), gzip.open(file, "rt") as lines:
                return np.loadtxt(lines, dtype=np.uint16, delimiter=",", ndmin=2)
    try:  # an unusual installation, such as a zip
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(missing) from None
    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(np.uint16)
