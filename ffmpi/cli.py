"""The commands, one function each; no logic."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import click

from . import __version__
from .config.changes import CHANGEABLE, EVALUATION
from .errors import UserError
from .launcher import launched_rank
from .network.methods import METHOD_NAMES
from .runtime import stop


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
checkpoint = click.argument("checkpoint", type=PLACE)


def check_numba() -> None:
    """See `numba_check.check`; for the commands that compute, which import the kernels."""
    from .runtime.numba_check import check

    check()


#: The commands that `on_all_ranks` starts.
WITH_MPI = ("train", "resume", "evaluate", "predict")


def on_all_ranks(command: Callable[[Any], None]) -> None:
    """Start MPI and run a command on all ranks, if they are alike."""
    from .runtime import agreement, mpi

    def main(comm: Any) -> None:
        agreement.check(comm, sys.argv[1:])
        command(comm)

    mpi.run(main)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, prog_name="ffmpi")
def app() -> None:
    """Forward-Forward networks whose layers live on MPI ranks.

    Exit status: 0, done; 2, something to correct, said in one sentence; 75, stopped by SIGTERM or SIGUSR1, 'ffmpi
    resume' continues the run; 130, interrupted by Ctrl-C, of which a second one ends at once; 1, an unexpected error.
    """


@app.command()
@click.argument("config", type=PLACE)
@click.option(
    "--run",
    metavar="DIR",
    type=PLACE,
    help="The run directory to make; default results/NAME-DATE-TIME, in Slurm also -jobNUMBER.",
)
@click.option("--resume", is_flag=True, help="Continue the run in --run DIR where it has a checkpoint, else start it.")
@settings
@as_json
def train(config: str, run: str | None, resume: bool, settings: tuple[str, ...], as_json: bool) -> None:
    """Train a network after the TOML file CONFIG; start it with mpiexec for several ranks.

    'ffmpi info --settings' prints what can be set in CONFIG, and by --set.

    After SIGTERM, SIGUSR1 (exit status 75) or Ctrl-C (130) all ranks stop at the end of their step; what was learnt
    since the last checkpoint is lost.
    """
    if resume and not run:
        raise UserError("--resume: without --run every run is a new one; expected --run DIR beside it")
    stop.install()
    check_numba()
    from .commands import train as command

    on_all_ranks(lambda comm: command.train(comm, config, run, list(settings), as_json, resume))


@app.command()
@click.argument("run", type=PLACE)
@settings
@as_json
@explained(CHANGEABLE=CHANGEABLE)
def resume(run: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Go on with the interrupted run in directory RUN, on any number of ranks, to the same bits.

    Only settings on which the weights do not depend may be changed: {CHANGEABLE}; schedule.name only between
    schedules of the same algorithm.
    """
    stop.install()
    check_numba()
    from .commands import train as command

    on_all_ranks(lambda comm: command.resume(comm, run, list(settings), as_json))


@app.command()
@checkpoint
@settings
@click.option("--confusion", is_flag=True, help="Print which class is taken for which; --json always has it.")
@click.option(
    "--split",
    type=click.Choice(["test", "validation", "train"]),
    default="test",
    show_default=True,
    help="The samples: validation are those that data.validation took from those to learn from, train the others.",
)
@as_json
@explained(EVALUATION=EVALUATION)
def evaluate(checkpoint: str, settings: tuple[str, ...], confusion: bool, split: Any, as_json: bool) -> None:
    """Measure the accuracy of CHECKPOINT, a file or a run directory, and that of each class, on test samples.

    Started with mpiexec, ranks share the samples, and say the same.

    Only settings that leave the network as it is may be changed: {EVALUATION}.
    """
    stop.install()
    check_numba()
    from .commands import evaluate as command

    on_all_ranks(lambda comm: command.evaluate(comm, checkpoint, list(settings), as_json, confusion, split))


@app.command()
@checkpoint
@click.argument("images", type=PLACE)
@click.option(
    "--method",
    type=click.Choice(METHOD_NAMES),
    help="Default: the first method of the run.",
)
@click.option(
    "--images", "name", metavar="NAME", help="Of the array in an HDF5 or NumPy file; default: images, as trained."
)
@as_json
def predict(checkpoint: str, images: str, method: str | None, name: str | None, as_json: bool) -> None:
    """Classify IMAGES (an HDF5 or NumPy file, an image or a folder of them): class and scores of each.

    Lines come in the order of the images, as they are found. Started with mpiexec, ranks share the images.
    """
    stop.install()
    check_numba()
    from .commands import predict as command

    on_all_ranks(lambda comm: command.predict(comm, checkpoint, images, method, name, as_json))


@app.command()
@checkpoint
@click.argument("out", type=PLACE)
@click.option(
    "--method",
    type=click.Choice(METHOD_NAMES),
    help="How what is written classifies; default: the first method of the run.",
)
@click.option("--force", is_flag=True, help="Replace OUT where there is one.")
@as_json
@once
def export(checkpoint: str, out: str, method: str | None, force: bool, as_json: bool) -> None:
    """Write the network of CHECKPOINT, a file or a run directory, to OUT, which other programs read without ffmpi.

    The suffix of OUT says as what: .pt, a module of PyTorch; .onnx, a graph; .npz or .h5, arrays and what to do with
    them. All take images with the pixels that the network was trained on, and give the scores that 'ffmpi predict'
    prints. The first two need pip install 'ffmpi[export]'.
    """
    check_numba()
    from .commands import export as command

    command.export(checkpoint, out, method, force, as_json)


@app.command()
@click.argument("path", required=False, type=PLACE)
@click.option("--settings", "all_settings", is_flag=True, help="Print what can be set; with PATH only that table.")
@as_json
@once
def info(path: str | None, all_settings: bool, as_json: bool) -> None:
    """Describe the checkpoint or run directory PATH or, without it, this machine; MPI is not started.

    With --settings describe every setting of a run, or those of a table such as optimizer: its choices, default and
    unit.
    """
    if all_settings:
        from .commands import settings as description

        description.settings(path, as_json)
        return
    if path is None:
        check_numba()  # this machine's tile is one of the kernels'
    from .commands import info as command

    command.info(path, as_json)


@app.command()
@click.argument("config", type=PLACE)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- SBATCH OPTION...]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="TABLE.KEY=VALUE,VALUE...",
    help="Values to combine with those of others, or one for all; a comma in brackets or quotes is part of a value.",
)
@click.option("--seeds", metavar="NUMBER|LIST", help="How many, from 0 on, or which, such as 3,5,8.")
@click.option("-n", "ranks", type=click.IntRange(1), default=1, show_default=True, help="Ranks of each run.")
@click.option("--dir", "directory", metavar="DIR", type=PLACE, help="Where the runs lie; default results/sweep-NAME.")
@click.option("--slurm", is_flag=True, help="Write a job array DIR/sweep.sh instead; SBATCH OPTIONs go into it.")
@click.option("--submit", is_flag=True, help="With --slurm, submit it, too.")
@as_json
@once
def sweep(
    config: str, options: tuple[str, ...], settings: tuple[str, ...], seeds: str | None, ranks: int,
    directory: str | None, slurm: bool, submit: bool, as_json: bool,
) -> int:  # fmt: skip
    """Train CONFIG for every combination of settings and every seed, and sum up; run without mpiexec.

    All are checked before the first starts. The same command continues: what is finished is left alone, an interrupted
    run resumed. A run that fails does not keep the others from running.
    """
    from .commands import sweep as command

    return command.sweep(
        config, list(settings), seeds, ranks, directory, as_json, slurm=slurm, submit=submit, options=options
    )


@app.command()
@click.argument("runs", nargs=-1, required=True, type=PLACE)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a Markdown table.")
@as_json
@once
def table(runs: tuple[str, ...], as_markdown: bool, as_json: bool) -> None:
    """Sum up the finished runs in the directories RUNS, beside the results of the paper's tables where these have any.

    Each configuration has a row for each way to classify: mean and standard deviation over its seeds, and the settings
    that differ. A sweep's directory stands for all its runs. Which is best is said by the validation samples only.
    """
    from .commands import table as command

    command.table(list(runs), as_json, as_markdown)


class _OfDataSets(click.Command):
    """A command whose help ends with the names of the known data sets, and `convert` below it."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:  # fmt: skip
        if args[:1] == ["convert"]:
            return convert.make_context(f"{info_name} convert", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from .config.registries import FORMATS

        formatter.write_paragraph()
        formatter.write_text(f"Known are {', '.join(FORMATS)}.")


image_name = click.option(
    "--images", default="images", metavar="NAME", help="Of the images in an HDF5 or NumPy file, as data.images."
)
label_name = click.option(
    "--labels", default="labels", metavar="NAME", help="Of the labels in an HDF5, NumPy or CSV file, as data.labels."
)
weight_name = click.option(
    "--weights", default="", metavar="NAME", help="Of the weights of training samples in such a file, as data.weights."
)


@app.command(cls=_OfDataSets)
@click.argument("name", required=False)
@click.argument("path", required=False, type=PLACE)
@click.option("--download", is_flag=True, help="Fetch the public files into PATH first.")
@click.option("--url", help="Fetch from this address instead of the usual one.")
@image_name
@label_name
@weight_name
@as_json
@once
def data(
    name: str | None, path: str | None, download: bool, url: str | None, images: str, labels: str, weights: str,
    as_json: bool,
) -> None:  # fmt: skip
    """List the known data sets, check the one called NAME in PATH, or download it there.

    'ffmpi data convert NAME [PATH] OUT.h5' writes it as an HDF5 file instead; see 'ffmpi data convert --help'.
    """
    from .commands import data as command

    command.data_sets(name, path, download, url, as_json, images, labels, weights)


@click.command()
@click.argument("name")
@click.argument("places", nargs=-1, required=True, type=PLACE, metavar="[PATH] OUT.h5")
@click.option("--compress", is_flag=True, help="Write chunks compressed by gzip; reading them takes longer.")
@image_name
@label_name
@weight_name
@as_json
@once
def convert(
    name: str, places: tuple[str, ...], compress: bool, images: str, labels: str, weights: str, as_json: bool
) -> None:  # fmt: skip
    """Write the data set NAME in PATH to the new HDF5 file OUT.h5.

    From it images can be streamed (data.window) instead of being held in memory; training on it gives the same weights.
    """
    *path, target = places
    if len(path) > 1:
        raise UserError(f"data convert: found {len(places)} places after {name!r}; expected a path and the new file")
    from .commands import convert as command

    command.convert(name, path[0] if path else None, target, compress, as_json, images, labels, weights)


@app.group(no_args_is_help=True)
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
    from .commands.bench import kernels as command

    command.kernels(repeats, shapes, threads, as_json, plot)


@bench.command()
@click.option("--shape", default="1000x1000x256", show_default=True, metavar="INPUTSxUNITSxROWS")
@click.option("--repeats", type=click.IntRange(1), default=15, show_default=True, help="Counted runs of each.")
@as_json
def operations(shape: str, repeats: int, as_json: bool) -> None:
    """Time what is done beside a layer's products, and each optimiser, against the same in NumPy, in turn."""
    check_numba()
    from .commands.bench import operations as command

    command.operations(shape, repeats, as_json)


@bench.command()
@click.argument("config", type=PLACE)
@click.option("--chapters", type=click.IntRange(1), default=2, show_default=True, help="How many are trained.")
@settings
@as_json
def costs(config: str, chapters: int, settings: tuple[str, ...], as_json: bool) -> None:
    """Train CONFIG for some chapters on one rank, and time each kind of step against what placement expects of it."""
    check_numba()
    from .commands.bench import costs as command

    command.costs(config, list(settings), chapters, as_json)


@bench.command()
@click.option("--threads", "count", default=2, show_default=True, help="How many, against one.")
@click.option("--shape", default="2000x2000x256", show_default=True, metavar="INPUTSxUNITSxROWS")
@click.option("--repeats", type=click.IntRange(1), default=9, show_default=True, help="Bursts of each.")
@as_json
def threads(count: int, shape: str, repeats: int, as_json: bool) -> None:
    """Time a layer's step on several threads against one."""
    check_numba()
    from .commands.bench import threads as command

    command.threads(count, shape, repeats, as_json)
