"""All ranks see one world: what several of them know of it is compared, once, before they work together."""

from __future__ import annotations

import hashlib
import shlex
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UserError
from .launch import library_name
from .mpi import all_ranks_or_raise, allgather, folder, host


def agree(comm: Any, facts: dict[str, str], expected: str = "the same on all ranks") -> None:
    """Compare `facts`, texts by what they are of, with those of the other ranks of `comm`; a rank may know only some.

    Where two ranks know otherwise, all end with one sentence that names both and their hosts.
    """
    every = allgather(comm, (host(), folder(), facts))
    known: dict[str, int] = {}  # the first rank that does
    folders = {there for _, there, _ in every}

    def who(rank: int) -> str:
        name, there, _ = every[rank]
        return f"rank {rank} on {name}" + (f" in {there}" if len(folders) > 1 else "")

    with all_ranks_or_raise(comm):
        for rank, (_, _, others) in enumerate(every):
            for name, fact in others.items():
                first = known.setdefault(name, rank)
                if (other := every[first][2][name]) != fact:
                    raise UserError(f"{name}: {other} on {who(first)}, but {fact} on {who(rank)}; expected {expected}")


def check(comm: Any, arguments: Sequence[str]) -> None:
    """Make sure that all ranks run the same code with the same command line `arguments`."""
    from .. import kernels  # not by those who come to `refuse`

    versions = {
        "ffmpi": f"version {__version__}, source {_digest_of_source()}",
        "ffmpi.kernels": f"source {kernels.DIGEST[:8]}",
        "MPI library": library_name(),
    }
    agree(comm, _command_line(arguments) | versions)


def refuse(comm: Any, arguments: Sequence[str], fault: str) -> None:
    """End all ranks because of a `fault` that this one has found; the others may find themselves in `check`."""
    agree(comm, _command_line(arguments))
    with all_ranks_or_raise(comm):
        raise UserError(fault)


def _command_line(arguments: Sequence[str]) -> dict[str, str]:
    return {"command line": shlex.join(arguments)}


def _digest_of_source() -> str:
    """Return eight digits that change with any source file of ffmpi."""
    here, whole = Path(__file__).parent.parent, hashlib.sha256()
    for file in sorted(here.rglob("*.py")):
        whole.update(file.relative_to(here).as_posix().encode() + file.read_bytes())
    return whole.hexdigest()[:8]


def checksum_of_file(path: str) -> dict[str, str]:
    """Return the checksum of a file as a fact, or nothing where it cannot be read: one rank reads it for all."""
    try:
        return {path: f"CRC-32 {zlib.crc32(Path(path).read_bytes()):08x}"}
    except OSError:
        return {}
