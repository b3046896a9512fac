"""The command `data convert`: a data set of any format as an HDF5 file."""

from __future__ import annotations

import json
import shlex

from .. import data
from ..data import convert as conversion


def convert(
    name: str, path: str | None, target: str, compress: bool, as_json: bool, images: str = "images",
    labels: str = "labels", weights: str = "",
) -> None:  # fmt: skip
    """Write the data set, and say what is in the file and which settings train on it as on the original."""
    written = conversion.convert(name, path, target, data.Fields(images, labels, weights), compress)
    own = data.FORMATS[name].own  # then pixels are measured, unless it is set otherwise
    settings = ["data.name=hdf5", f"data.path={target}", *([] if own else ["data.standardise=fixed"])]
    if weights:
        settings.append("data.weights=weights")
    samples = {split: len(part.classes) for split, part in written.items()}
    shape, names = next((part.shape, part.names) for part in written.values())
    if as_json:
        found = {"path": target, "samples": samples, "shape": shape, "classes": names, "settings": settings}
        print(json.dumps(found))
        return
    words = {"train": "training", "test": "test"}
    counts = " and ".join(f"{count} {words[split]}" for split, count in samples.items())
    print(f"{target}: {counts} samples of shape {' x '.join(map(str, shape))}, {len(names)} classes")
    print("for the same weights train with " + " ".join(f"--set {shlex.quote(setting)}" for setting in settings))
