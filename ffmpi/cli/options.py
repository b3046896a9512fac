"""What commands have in common: arguments, options, and on which ranks they run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import click

from ..launcher import launched_rank


def once(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Run a command that needs no MPI on one rank, if a launcher has started several; it may return an exit status."""

    @wraps(command)
    def on_rank_0(*args: object, **options: object) -> int | None:
        return command(*args, **options) if launched_rank() == 0 else None

    return on_rank_0


def explained(**names: Iterable[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Write lists of names into a command's help, ``{NAME}`` by NAME."""

    def fill_in(command: Callable[..., None]) -> Callable[..., None]:
        command.__doc__ = (command.__doc__ or "").format(**{key: ", ".join(each) for key, each in names.items()})
        return command

    return fill_in


class _Place(click.ParamType):
    """A path in which ``~`` is the user's home: no shell replaces it in ``--run=~/here``."""

    name = "path"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return os.path.expanduser(value)


PLACE = _Place()

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
settings = click.option(
    "--set", "settings", multiple=True, metavar="TABLE.KEY=VALUE", help="Change a configured value; may be repeated."
)
split = click.option(
    "--split",
    type=click.Choice(["test", "validation", "train"]),
    default="test",
    show_default=True,
    help="The samples: validation are those that data.validation took from those to learn from, train the others.",
)


def output(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what `progress.Output` says, by the names of its fields."""
    command = as_json(command)
    command = click.option(
        "--log-every",
        type=click.FloatRange(0),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Without a terminal, say what all ranks are doing when nothing was said for so long; 0: never.",
    )(command)
    command = click.option(
        "--trace",
        is_flag=True,
        help="Record what each rank does when: trace.h5 and, for ui.perfetto.dev, trace.json in the run directory.",
    )(command)
    command = click.option(
        "--tensorboard",
        is_flag=True,
        help="Also write the metrics as event files, into the run directory's tensorboard/.",
    )(command)
    return click.option("--quiet", is_flag=True, help="Print only errors, warnings and the result.")(command)


ranks_per_host = click.option(
    "--ranks-per-host", type=click.IntRange(1), help="Default: as many as a host of the machine has cores."
)
machine = click.option(
    "--machine", default="here", show_default=True, metavar="NAME|FILE", type=PLACE,
    help="The machine: a file that 'ffmpi bench machine' wrote, one of those that come with ffmpi, or 'here', what was "
    "measured here or else the likeliest of these.",
)  # fmt: skip
checkpoint = click.argument("checkpoint", type=PLACE)


def check_numba() -> None:
    """See `numba_check.check`; for the commands that compute, which import the kernels."""
    from ..runtime.numba_check import check

    check()


#: The commands that `on_all_ranks` starts.
WITH_MPI = ("train", "resume", "evaluate", "predict")


def on_all_ranks(command: Callable[[Any], None]) -> None:
    """Start MPI and run a command on all ranks, if they are alike."""
    from ..runtime import agreement, mpi

    def main(comm: Any) -> None:
        agreement.check(comm, sys.argv[1:])
        command(comm)

    mpi.run(main)
