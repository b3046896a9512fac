"""Trained networks for other programs: one file a format, found by the suffix of the file that is to be written."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from ..errors import UserError, nearest
from ..network.inference import Inference
from ..run.untrusted import reason
from .description import Network, describe

#: The module here of each format, by suffix; its `write` takes a `Network` and the path of a file that it makes.
FORMATS = {".npz": "npz", ".pt": "pytorch", ".onnx": "onnx", ".h5": "hdf5"}


def expect_place(path: Path, force: bool) -> None:
    """Raise UserError if nothing is to be written at `path`: its suffix is unknown, or without `force` it is there."""
    if path.suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise UserError(f"{path}: a name that tells no format; expected one in {known}{nearest(path.suffix, FORMATS)}")
    if path.is_dir():
        raise UserError(f"{path}: is a directory; expected the name of a file to write")
    if os.path.lexists(path) and not force:
        raise UserError(f"{path}: is there already; expected another name, or --force to replace it")


def write(
    trained: Inference, path: str | os.PathLike[str], method: str | None = None, force: bool = False
) -> Network:  # fmt: skip
    """Write a network that classifies by `method`, by default its first one, to `path`; return what was written.

    The file is written beside `path` and renamed. Raises UserError if there is one already and `force` does not replace
    it, if it cannot be written, if a library that the format needs is missing, or if the network has no such method.
    """
    path = Path(path)
    expect_place(path, force)
    if trained.dataset.pixel_format is None:
        raise UserError(
            f"{path}: a checkpoint as old as this does not say whether its pixels are bytes or floats; expected one of "
            "this version"
        )
    network = describe(trained.config, trained.dataset, trained.blocks, method or trained.methods[0])
    try:
        writer = importlib.import_module(f"{__name__}.{FORMATS[path.suffix]}")
    except ImportError as error:
        missing = error.name or error
        raise UserError(f"{path}: needs {missing}; expected it installed by pip install 'ffmpi[export]'") from None
    partial = path.with_name(path.name + ".partial")
    try:
        writer.write(network, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # HDF5's and PyTorch's own are RuntimeErrors
        raise UserError(f"{path}: cannot be written ({reason(error)}); expected a place with room for it") from None
    finally:
        partial.unlink(missing_ok=True)
    return network
