"""The commands on runs and networks, one function each; no logic."""

from __future__ import annotations

from typing import Any

import click

from ..config.changes import CHANGEABLE, EVALUATION
from ..errors import UserError
from ..network.methods import METHOD_NAMES
from ..runtime import stop
from .options import PLACE, as_json, check_numba, checkpoint, explained, on_all_ranks, once, output, settings, split


@click.command()
@click.argument("config", type=PLACE)
@click.option(
    "--run",
    metavar="DIR",
    type=PLACE,
    help="The run directory to make; default results/NAME-DATE-TIME, in Slurm also -jobNUMBER.",
)
@click.option("--resume", is_flag=True, help="Continue the run in --run DIR where it has a checkpoint, else start it.")
@settings
@output
def train(config: str, run: str | None, resume: bool, settings: tuple[str, ...], **told: Any) -> None:
    """Train a network after the TOML file CONFIG; start it with mpiexec for several ranks.

    'ffmpi info --settings' prints what can be set in CONFIG, and by --set.

    After SIGTERM, SIGUSR1 (exit status 75) or Ctrl-C (130) all ranks stop at the end of their step; what was learnt
    since the last checkpoint is lost.
    """
    if resume and not run:
        raise UserError("--resume: without --run every run is a new one; expected --run DIR beside it")
    stop.install()
    check_numba()
    from ..commands import train as command
    from ..run.progress import Output

    on_all_ranks(lambda comm: command.train(comm, config, run, list(settings), Output(**told), resume))


@click.command()
@click.argument("run", type=PLACE)
@settings
@output
@explained(CHANGEABLE=CHANGEABLE)
def resume(run: str, settings: tuple[str, ...], **told: Any) -> None:
    """Go on with the interrupted run in directory RUN, on any number of ranks, to the same bits.

    Only settings on which the weights do not depend may be changed: {CHANGEABLE}; schedule.name only between
    schedules of the same algorithm.
    """
    stop.install()
    check_numba()
    from ..commands import train as command
    from ..run.progress import Output

    on_all_ranks(lambda comm: command.resume(comm, run, list(settings), Output(**told)))


@click.command()
@checkpoint
@settings
@click.option("--confusion", is_flag=True, help="Print which class is taken for which; --json always has it.")
@click.option("--by-layer", is_flag=True, help="Print what each layer alone says, and how many directions it spans.")
@split
@as_json
@explained(EVALUATION=EVALUATION)
def evaluate(
    checkpoint: str, settings: tuple[str, ...], confusion: bool, by_layer: bool, split: Any, as_json: bool
) -> None:  # fmt: skip
    """Measure the accuracy of CHECKPOINT, a file or a run directory, and that of each class, on test samples.

    Started with mpiexec, ranks share the samples, and say the same.

    With --by-layer each layer has a row: its accuracy by what it alone adds to each way to classify, the effective rank
    of its activations of all samples, each shown with its class (exp of the entropy of their singular values divided by
    their sum: how many directions they span), and the share of its units that none of these samples activates.

    Only settings that leave the network as it is may be changed: {EVALUATION}.
    """
    stop.install()
    check_numba()
    from ..commands import evaluate as command

    on_all_ranks(lambda comm: command.evaluate(comm, checkpoint, list(settings), as_json, confusion, split, by_layer))


@click.command()
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
    from ..commands import predict as command

    on_all_ranks(lambda comm: command.predict(comm, checkpoint, images, method, name, as_json))


@click.command()
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
    from ..commands import export as command

    command.export(checkpoint, out, method, force, as_json)


@click.command()
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
        from ..commands import settings as description

        description.settings(path, as_json)
        return
    if path is None:
        check_numba()  # this machine's tile is one of the kernels'
    from ..commands import info as command

    command.info(path, as_json)


@click.command()
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
    from ..commands import sweep as command

    return command.sweep(
        config, list(settings), seeds, ranks, directory, as_json, slurm=slurm, submit=submit, options=options
    )


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PLACE)
@click.option("--unfinished", is_flag=True, help="Also those that are still to be continued, as far as they are.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a Markdown table.")
@as_json
@once
def table(runs: tuple[str, ...], unfinished: bool, as_markdown: bool, as_json: bool) -> None:
    """Sum up the finished runs in the directories RUNS, beside the results of the paper's tables where these have any.

    Each configuration has a row for each way to classify: mean and standard deviation over its seeds, and the settings
    that differ. A sweep's directory stands for all its runs. Which is best is said by the validation samples only.
    """
    from ..commands import table as command

    command.table(list(runs), as_json, as_markdown, unfinished)
