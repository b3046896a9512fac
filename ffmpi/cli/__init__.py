"""The command line, of all commands."""

from __future__ import annotations

import click

from .. import __version__
from . import bench, data, plan, plot, runs
from .options import WITH_MPI as WITH_MPI


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, prog_name="ffmpi")
def app() -> None:
    """Forward-Forward networks whose layers live on MPI ranks.

    Exit status: 0, done; 2, something to correct, said in one sentence; 75, stopped by SIGTERM or SIGUSR1, 'ffmpi
    resume' continues the run; 130, interrupted by Ctrl-C, of which a second one ends at once; 1, an unexpected error.
    """


for command in (
    runs.train, runs.resume, runs.evaluate, runs.predict, runs.export, runs.info, runs.sweep, runs.table, plan.plan,
    data.data, plot.plot, plot.report, bench.bench,
):  # fmt: skip
    app.add_command(command)
