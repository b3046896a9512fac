"""The directory of a sweep: a run directory for each point of its grid, their configurations, and which these are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from .. import __version__
from ..config.changes import with_configuration
from ..config.grid import Point
from ..config.read import dump, located, read
from ..config.schema import Config
from ..errors import UserError
from . import checkpoint
from .directory import RunDirectory, put


class _Grid(msgspec.Struct):
    """What is relied on in sweep.json."""

    runs: list[str]


class SweepDirectory:
    """A directory with sweep.json, configs/NAME.toml for each run, and the run directories NAME themselves.

    Attributes
    ----------
    path, grid, script, logs : the directory, and where in it the names of its runs are, the batch script of a job
        array, and what Slurm says of the array's tasks
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.grid, self.script, self.logs = path / "sweep.json", path / "sweep.sh", path / "slurm"

    def exists(self) -> bool:
        """Return whether there is a sweep here."""
        return os.path.isfile(self.grid)

    def config(self, name: str) -> Path:
        """Return where the configuration of the run `name` is: complete, as 'ffmpi train' takes it."""
        return self.path / "configs" / f"{name}.toml"

    def log(self, name: str) -> Path:
        """Return where the output of the run `name` is."""
        return self.path / name / "output.log"

    def names(self) -> list[str]:
        """Return the names of the runs that were ever part of the sweep; UserError if sweep.json is damaged."""
        try:
            found = msgspec.convert(json.loads(self.grid.read_text(encoding="utf-8")), _Grid).runs
        except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
            raise UserError(
                f"{self.grid}: cannot be read ({error}); expected what 'ffmpi sweep' leaves there"
            ) from None
        for name in found:
            if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
                raise UserError(f"{self.grid}: {name!r}: expected the name of a directory in {self.path}")
        return found

    def write(self, points: Sequence[Point], source: str) -> None:
        """Add `points`, of the configuration file `source`, to the sweep.

        Raises UserError, before anything is written, if a run that has begun has another configuration, or if the
        directory cannot be written to.
        """
        before = self.names() if self.exists() else []
        for point in points:
            run = self.path / point.name
            if os.path.exists(run / "config.toml"):
                with_configuration(read(str(run / "config.toml")), point.config, str(run), source, "--dir")
        names = list(dict.fromkeys([*before, *(point.name for point in points)]))
        try:
            for point in points:
                self.config(point.name).parent.mkdir(parents=True, exist_ok=True)
                put(self.config(point.name), dump(located(point.config)))
            put(
                self.grid,
                json.dumps({"ffmpi": __version__, "config": os.path.abspath(source), "runs": names}, indent=2),
            )
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be made a sweep's directory ({error}); expected another --dir"
            ) from None

    def finished(self, name: str, config: Config) -> bool:
        """Return whether the checkpoint of the run `name` is its last; one that cannot be read is none."""
        file = RunDirectory(self.path / name).checkpoint
        if not os.path.exists(file):
            return False
        try:
            with checkpoint.reading(file) as reader:
                return reader.header.chapter >= config.chapters
        except UserError:  # the run itself will say so
            return False


def runs_in(paths: Iterable[Path]) -> list[Path]:
    """Return `paths` with a sweep's directory replaced by its runs, and without what else lies in such a directory."""
    found: list[Path] = []
    names: dict[Path, list[str] | None] = {}  # of the runs of the sweep there, if there is one
    for path in paths:
        for place in (path, path.parent):
            if place not in names:
                sweep = SweepDirectory(place)
                names[place] = sweep.names() if sweep.exists() else None
        inside, around = names[path], names[path.parent]
        if inside is not None:
            found += [path / name for name in inside]
        elif around is None or path.name in around:
            found.append(path)
    return list(dict.fromkeys(found))
