"""The command `info`: a checkpoint, a run directory or this machine described without MPI."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import msgspec
from rich.console import Console

from .. import data as data_sets_module
from ..errors import UserError
from ..run import checkpoint
from ..run.differences import changed, setting_text
from ..run.directory import RunDirectory, checkpoint_path, environment
from ..run.results import result_of
from ..runtime.launch import library_name


def info(path: str | None, as_json: bool) -> None:
    """Describe a checkpoint, a run directory, or this machine."""
    description = _machine() if path is None else _checkpoint(path)
    if as_json:
        print(json.dumps(description))
        return
    console = Console(highlight=False)
    for name, value in description.items():
        if name == "config":
            console.print("config:", markup=False)
            console.print(_indent(value), markup=False)
        elif name == "warnings":
            for warning in value:
                console.print(f"warning: {warning}", markup=False, soft_wrap=True)
        else:
            title = name.replace("_", " ")
            console.print(f"{title}: {_text(name, value)}", markup=False, soft_wrap=True)


def _text(name: str, value: Any) -> str:
    """Return a part of a description for reading."""
    if name.endswith("_accuracy"):
        return ", ".join(f"{accuracy:.2f} % by {method}" for method, accuracy in value.items())
    if name == "images":
        return " x ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {setting_text(one)}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _indent(value: Any) -> str:
    import tomli_w

    return "".join(f"    {line}\n" for line in tomli_w.dumps(value).splitlines()).rstrip()


def _machine() -> dict[str, Any]:
    from llvmlite import binding

    from ..kernels import tile

    here = environment()
    return {
        "ffmpi": here["ffmpi"],
        "python": here["python"],
        "packages": here["packages"],
        "mpi": library_name(),
        "host": here["host"],
        "processor": here["processor"],
        "cores": here["cores"],
        "target": binding.get_host_cpu_name(),
        "forward_tile": {"rows": tile.FORWARD_ROWS, "units": tile.PANELS * 16},
        "data_sets": list(data_sets_module.FORMATS),
    }


def _checkpoint(path: str) -> dict[str, Any]:
    file = checkpoint_path(path)
    with checkpoint.reading(file) as reader:
        header = reader.header
        reader.check()
    run = RunDirectory(file.parent)
    settled = header.config
    description: dict[str, Any] = {
        "checkpoint": str(file),
        "written_by": f"ffmpi {header.version}",
        "epochs_done": header.chapter * settled.train.epochs // settled.chapters,
        "epochs": settled.train.epochs,
        "images": list(header.shape),
        "classes": list(header.names),
    }
    if header.pixel_format:
        description["pixels"] = dataclasses.asdict(header.pixel_format)
    records = run.records() if os.path.isdir(path) else []
    if records:
        last = records[-1]
        description["test_accuracy"] = last["accuracy"]
        if "validation" in last:
            description["validation_accuracy"] = last["validation"]
        description["seconds"] = round(sum(record["seconds"] for record in records), 1)
        description["ranks"] = sum(row.get("ranks", 1) for row in last["ranks"])
        description["warnings"] = last.get("warnings", [])
        description |= _where(run)
    description["changed_settings"] = changed(settled)
    description["config"] = msgspec.to_builtins(settled)
    return description


def _where(run: RunDirectory) -> dict[str, Any]:
    """Return on what a run has trained, in the words of `table`."""
    try:
        found = result_of(run.path, unfinished=True).where
    except UserError:  # a network is worth more than the description of where it was trained
        return {}
    return {key: value for key, value in found.items() if value is not None}
