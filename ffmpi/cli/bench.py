"""The commands that measure, one function each; no logic."""

from __future__ import annotations

import click

from .options import PLACE, as_json, check_numba, on_all_ranks, settings


@click.group(no_args_is_help=True)
def bench() -> None:
    """Measure ffmpi against other libraries and against this machine."""


@bench.command()
@click.option("--repeats", type=click.IntRange(1), default=15, help="Counted runs of each; the median is reported.")
@click.option(
    "--shapes", multiple=True, metavar="INPUTSxUNITSxROWS", help="Such as 2000x2000x128; may be repeated; default 12."
)
@click.option("--threads", type=click.IntRange(1), default=1, help="Of ffmpi's kernels; the others stay on one core.")
@click.option("--plot", metavar="FILE.png", type=PLACE, help="Draw a roofline: GFLOP/s over arithmetic intensity.")
@as_json
def kernels(repeats: int, shapes: tuple[str, ...], threads: int, plot: str | None, as_json: bool) -> None:
    """Time a layer's step against NumPy, PyTorch if it is there, and the peak of a core, in turn."""
    check_numba()
    from ..commands.bench import kernels as command

    command.kernels(repeats, shapes, threads, as_json, plot)


@bench.command()
@click.option("--shape", default="1000x1000x256", show_default=True, metavar="INPUTSxUNITSxROWS")
@click.option("--repeats", type=click.IntRange(1), default=15, show_default=True, help="Counted runs of each.")
@as_json
def operations(shape: str, repeats: int, as_json: bool) -> None:
    """Time what is done beside a layer's products, and each optimiser, against the same in NumPy, in turn."""
    check_numba()
    from ..commands.bench import operations as command

    command.operations(shape, repeats, as_json)


@bench.command()
@click.argument("config", type=PLACE)
@click.option("--chapters", type=click.IntRange(1), default=2, show_default=True, help="How many are trained.")
@click.option(
    "--machine",
    metavar="NAME|FILE.toml",
    type=PLACE,
    help="Expect what a plan for this machine expects, such as here, measured by 'bench machine'.",
)
@settings
@as_json
def costs(config: str, chapters: int, machine: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Train CONFIG for some chapters on one rank, and time each kind of step against what placement expects of it."""
    check_numba()
    from ..commands.bench import costs as command

    command.costs(config, list(settings), chapters, machine, as_json)


@bench.command()
@click.option("--threads", "count", default=2, show_default=True, help="How many, against one.")
@click.option("--shape", default="2000x2000x256", show_default=True, metavar="INPUTSxUNITSxROWS")
@click.option("--repeats", type=click.IntRange(1), default=9, show_default=True, help="Bursts of each.")
@as_json
def threads(count: int, shape: str, repeats: int, as_json: bool) -> None:
    """Time a layer's step on several threads against one."""
    check_numba()
    from ..commands.bench import threads as command

    command.threads(count, shape, repeats, as_json)


@bench.command()
@click.option("--shape", default="2000x2000x128", show_default=True, metavar="INPUTSxUNITSxSAMPLES")
@click.option("--rule", default="goodness", show_default=True, help="As in rule.name.")
@click.option("--repeats", type=click.IntRange(1), default=15, show_default=True, help="Counted steps of each.")
@as_json
def slices(shape: str, rule: str, repeats: int, as_json: bool) -> None:
    """Time a step of narrower and narrower pieces of a layer against their share of the whole layer's, without MPI."""
    check_numba()
    from ..commands.bench import slices as command

    command.slices(shape, rule, repeats, as_json)


@bench.command()
@click.option(
    "--network", "networks", multiple=True, metavar="LAYERSxUNITSxBATCH",
    help="Such as 4x2000x128; may be repeated; default 3.",
)  # fmt: skip
@click.option(
    "--ranks", "counts", multiple=True, type=click.IntRange(1), default=(4, 16, 64, 256, 1024, 4096), show_default=True
)
@settings
@as_json
def placement(networks: tuple[str, ...], counts: tuple[int, ...], settings: tuple[str, ...], as_json: bool) -> None:
    """Show how large networks are cut for many ranks, and what a rank sends for a batch. Starts no ranks."""
    from ..commands.bench import placement as command

    command.placement(networks, counts, list(settings), as_json)


@bench.command()
@click.option("-o", "output", metavar="FILE.toml", type=PLACE, help="Default: where plans look for this machine's.")
@click.option(
    "--seconds", type=click.FloatRange(1, 3600), default=45.0, show_default=True, help="About how long it may take."
)
@as_json
def machine(output: str | None, seconds: float, as_json: bool) -> None:
    """Measure this machine: kernels, messages, steps, checkpoints. Start it with mpiexec, a rank for each core.

    'ffmpi plan' then expects of it what was measured; where nothing was, it takes a typical machine. With ranks on
    several hosts messages between these are measured, too.
    """
    check_numba()
    from ..commands.bench import machine as command

    on_all_ranks(lambda comm: command.machine(comm, output, seconds, as_json))
