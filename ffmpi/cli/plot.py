"""The commands that draw, one function each; no logic."""

from __future__ import annotations

import click

from .options import PLACE, once


@click.group(no_args_is_help=True)
def plot() -> None:
    """Draw what runs have left: pictures for a paper's column, PNG, SVG or PDF (pip install 'ffmpi[plot]')."""


out = click.option(
    "-o", "--out", required=True, metavar="FILE", type=PLACE, help="The picture: its name ends in .png, .svg or .pdf."
)
width = click.option(
    "--width", type=click.FloatRange(1.5, 20), default=3.4, show_default=True, metavar="INCHES",
    help="3.4 is a paper's column, 7 a page.",
)  # fmt: skip
runs = click.argument("runs", nargs=-1, required=True, type=PLACE)


@plot.command()
@runs
@out
@width
@once
def curves(runs: tuple[str, ...], out: str, width: float) -> None:
    """Draw loss, goodness and accuracy over epochs, by layer and whole, of the run directories RUNS.

    Runs that differ in the seed only are one line, with a band of a standard deviation to either side. A sweep's
    directory stands for all its runs.
    """
    from ..commands import plot as command

    command.curves(list(runs), out, width)
