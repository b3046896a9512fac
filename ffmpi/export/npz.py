"""NumPy's .npz: the arrays by name, and `metadata`, the rest as text in JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .description import Network


def write(network: Network, path: Path) -> None:
    """Write `network`."""
    with open(path, "wb") as file:  # to a path without .npz NumPy would add it
        arrays: dict[str, Any] = network.arrays()
        np.savez(file, metadata=np.array(json.dumps(network.metadata())), **arrays)
