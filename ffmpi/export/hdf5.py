"""HDF5: the arrays by name, and `metadata`, the rest as text in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import h5py

from .description import Network


def write(network: Network, path: Path) -> None:
    """Write `network`."""
    with h5py.File(path, "w", locking=False) as file:
        file["metadata"] = json.dumps(network.metadata())
        for name, array in network.arrays().items():
            file[name] = array
