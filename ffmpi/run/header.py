"""What a checkpoint says of itself, and which arrays it has (docs/design.md, section 12).

The root has the attributes format, ffmpi (version), id (another one with each save), chapter (chapters done) and
checksum; group header has the texts config (TOML), problem (JSON) and checksums (JSON), as data sets, since HDF5 limits
attributes to 64 KB. checksums has the CRC-32 of each array's bytes in row order or, of one that is cut with the units,
the axis that counts these and the CRC-32 of each 16 of them, see `checksums`; checksum is that of the header itself,
see `header_checksum`. Matrices that are cut along their columns are stored in chunks of 16 columns.

Group layers/K has weights (inputs, units) and bias (units,) float32, their moments weights_m, bias_m and, with Adam,
weights_v, bias_v of the same shapes, and steps, int64. Group layers/K/BLOCK has the same for a block that the rule
declares, head/K for the head's block on layer K. negatives/C are the adaptive negatives for chapter C, (samples,)
uint8, or uint16 of more than 256 classes. Beside them stand the arrays of `DatasetInfo.statistics`, float32.

Format 1 had its texts in attributes of the root, and neither checksums nor an id; up to format 2 a layer's classifier
was called classifiers/K; up to format 3 each array was stored and checksummed as a whole, and sums over a layer's units
were added in another order, so that a run that is resumed from one ends with other bits. All are still read.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import h5py
import msgspec
import numpy as np
from msgspec import Meta

from ..config.schema import Config
from ..data.labels import MOST_CLASSES, class_type
from ..data.pixels import PixelFormat
from ..data.scaling import PixelScaling
from ..errors import UserError
from .untrusted import attribute

FORMAT = 4
MOST = 2**62  # of anything counted
_Size = Annotated[int, Meta(ge=1, le=MOST)]


class DatasetText(msgspec.Struct, frozen=True):
    """What a checkpoint keeps of the `DatasetInfo`, as JSON; what older ones have not needs a default.

    A field that is added here is one of `DatasetInfo`, and of `Header` for those who read it.
    """

    shape: Annotated[tuple[_Size, ...], Meta(min_length=1)]
    names: Annotated[tuple[str, ...], Meta(min_length=2, max_length=MOST_CLASSES)]
    train: _Size
    digest: int
    pixel_format: PixelFormat | None = None


def dtype_of(name: str, classes: int) -> type:
    """Return the type of the array `name`: float32, but for the number of steps and for some of `classes`."""
    if name.startswith("negatives/"):
        return class_type(classes)
    return np.int64 if name.endswith("steps") else np.float32


def identity(path: Path) -> str:
    """Return the id of the checkpoint at `path`; empty if there is none, or none that has an id."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return bytes(attribute(file, "id", "S")).decode(errors="replace")
    except (UserError, OSError, RuntimeError, TypeError, ValueError, KeyError):
        return ""


def header_checksum(file_format: int, version: str, identity: str, chapter: int, texts: dict[str, str]) -> int:
    """Return the CRC-32 of a header of this format: of its attributes and its texts in the order of their names."""
    return zlib.crc32(json.dumps([file_format, version, identity, chapter, *sorted(texts.items())]).encode())


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself."""

    config: Config
    shape: tuple[int, ...]  # of an image
    names: tuple[str, ...]  # of the classes
    train: int  # samples it was trained on
    digest: int  # CRC-32 of them
    chapter: int  # chapters done
    version: str  # of ffmpi
    id: str  # of the save; empty in format 1
    scaling: PixelScaling | None = field(default=None, compare=False)  # of the training pixels, if they were measured
    pixel_format: PixelFormat | None = None  # of the training images; older files do not say
    format: int = field(default=FORMAT, compare=False)  # of the file
