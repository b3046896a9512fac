"""The commands that draw, one function each; no logic."""

from __future__ import annotations

from typing import Any

import click

from ..config.changes import EVALUATION
from ..errors import UserError
from .options import PLACE, check_numba, checkpoint, explained, machine, once, ranks_per_host, settings, split


@click.group(no_args_is_help=True)
def plot() -> None:
    """Draw what runs have left: pictures for a paper's column, PNG, SVG or PDF (pip install 'ffmpi[plot]')."""


out = click.option(
    "-o", "--out", required=True, metavar="FILE", type=PLACE, help="The picture: its name ends in .png, .svg or .pdf."
)
width = click.option(
    "--width", type=click.FloatRange(2.5, 20), default=3.4, show_default=True, metavar="INCHES",
    help="3.4 is a paper's column, 7 a page.",
)  # fmt: skip
runs = click.argument("runs", nargs=-1, required=True, type=PLACE)


@plot.command()
@runs
@out
@width
@once
def curves(runs: tuple[str, ...], out: str, width: float) -> None:
    """Draw loss, goodness and accuracy of RUNS over epochs.

    These are of the layers and of the whole network. RUNS are run directories. Runs that differ in the seed only are
    one line, with a band of a standard deviation to either side. A sweep's directory stands for all its runs.
    """
    from ..commands import plot as command

    command.curves(list(runs), out, width)


@plot.command()
@checkpoint
@out
@width
@split
@click.option("--samples", type=click.IntRange(1), default=2000, show_default=True, help="How many, at most.")
@click.option("--units", type=click.IntRange(1), default=40, show_default=True, help="Whose weights are drawn.")
@settings
@once
@explained(EVALUATION=EVALUATION)
def features(
    checkpoint: str, out: str, width: float, split: Any, samples: int, units: int, settings: tuple[str, ...]
) -> None:  # fmt: skip
    """Draw what the network of CHECKPOINT has learnt to see.

    That is the weights of units of the first layer, and histograms of each layer's goodness. CHECKPOINT is a file or a
    run directory. Samples are shown with their class and with a wrong one; where layers have a classifier its logits of
    these are drawn.

    Only settings that leave the network as it is may be changed: {EVALUATION}.
    """
    check_numba()
    from ..commands import plot as command

    command.features(checkpoint, out, width, split, samples, units, list(settings))


@plot.command()
@click.argument("runs", nargs=-1, type=PLACE)
@out
@width
@click.option(
    "--plan", "plans", multiple=True, metavar="CONFIG", type=PLACE,
    help="Plan the runs of this configuration, too, as 'ffmpi plan' does; may be repeated.",
)  # fmt: skip
@click.option("-n", "most", type=click.IntRange(2), help="Plan up to so many ranks; default: those of RUNS, or 64.")
@machine
@ranks_per_host
@settings
@once
def scaling(
    runs: tuple[str, ...], out: str, width: float, plans: tuple[str, ...], most: int | None, machine: str,
    ranks_per_host: int | None, settings: tuple[str, ...],
) -> None:  # fmt: skip
    """Draw the speed-up of RUNS over ranks.

    RUNS are run directories of one configuration on several numbers of ranks. The rate of a run is the median over its
    chapters. Beside it is drawn what the load balance would allow, and with --plan what was to be expected; --set
    changes the planned configurations. Runs of different configurations or schedules are lines of their own.
    """
    from ..commands import plot as command

    command.scaling(list(runs), out, width, list(plans), most, machine, ranks_per_host or 0, list(settings))


@plot.command()
@click.argument("results", type=PLACE)
@out
@width
@once
def roofline(results: str, out: str, width: float) -> None:
    """Draw the kernels' speed below a core's two ceilings.

    RESULTS is a file with what 'ffmpi bench kernels --json' has printed.

    'ffmpi bench kernels --plot FILE' measures and draws at once.
    """
    from ..commands import plot as command

    command.roofline(results, out, width)


class _Counted(click.ParamType):
    """Numbers in a row from 1 on, one or a range of them, as a range from 0 on."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> range:
        first, dash, last = str(value).partition("-")
        try:
            found = range(int(first) - 1, int(last if dash else first))
        except ValueError:
            found = range(0)
        if not found or found.start < 0:
            self.fail(f"{value!r}: expected a number from 1 on, or two such as 5-8", param, ctx)
        return found


@plot.command()
@click.argument("run", type=PLACE)
@out
@width
@click.option(
    "--plan", metavar="FILE", type=PLACE, help="Above it what was planned: what 'ffmpi plan --trace' has written."
)
@click.option("--from", "start", type=float, metavar="SECONDS", help="Where to begin, in seconds of the run.")
@click.option("--to", "stop", type=float, metavar="SECONDS", help="Where to end.")
@click.option("--epochs", type=_Counted(), metavar="N|N-M", help="Show the time in which ranks learn in these epochs.")
@click.option("--batches", type=_Counted(), metavar="N|N-M", help="Only from these batches of each, such as 5-8.")
@once
def timeline(
    run: str, out: str, width: float, plan: str | None, start: float | None, stop: float | None, epochs: range | None,
    batches: range | None,
) -> None:  # fmt: skip
    """Draw what each rank does when, a row each, of RUN: a directory that 'train --trace' has left, or a trace.

    Steps that are too narrow for boxes are drawn as shares of the time. A FILE that ends in .json gets the whole trace,
    for ui.perfetto.dev.
    """
    if (start is not None or stop is not None) and (epochs or batches):
        raise UserError("--from, --to: expected no --epochs and --batches beside them")
    from ..commands import plot as command

    command.timeline(run, out, width, plan, start, stop, epochs, batches)


@click.command()
@runs
@click.option("-o", "--out", default="report.html", show_default=True, metavar="FILE.html", type=PLACE)
@click.option(
    "--no-data", is_flag=True, help="Leave out what takes the network and samples: confusion, weights, layers."
)
@settings
@once
@explained(EVALUATION=EVALUATION)
def report(runs: tuple[str, ...], out: str, no_data: bool, settings: tuple[str, ...]) -> None:
    """Write a page on RUNS, side by side, that needs nothing else to open.

    It is one HTML file with results, curves, settings, what ranks did and when, the environment, warnings and, if the
    data are there, what is taken for what and what the layers have learnt (pip install 'ffmpi[plot]'). RUNS are run
    directories.

    Only settings that leave the networks as they are may be changed, such as data.path: {EVALUATION}.
    """
    check_numba()
    from ..commands import report as command

    command.report(list(runs), out, list(settings), not no_data)
