"""The command `export`: a checkpoint's network as a file for other programs, without MPI."""

from __future__ import annotations

import json
from pathlib import Path

from ..export import expect_place, write
from ..run.trained import load


def export(path: str, out: str, method: str | None, force: bool, as_json: bool) -> None:
    """Write the network of the checkpoint, or run directory, at `path` to `out`, and print what was written."""
    file = Path(out)
    expect_place(file, force)  # before a checkpoint is read
    _, trained = load(path)
    network = write(trained, file, method, force)
    if as_json:
        known = network.metadata()
        print(json.dumps({"file": out, **{key: known[key] for key in ("method", "classes", "shape", "pixels")}}))
        return
    shape = ", ".join(map(str, ("n", *network.shape)))
    print(
        f"{out}: {len(network.layers)} layers, which classify by {network.method} in {len(network.classes)} classes; "
        f"images ({shape}), {network.pixels}"
    )
