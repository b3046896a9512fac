"""The command that plans a run; no logic."""

from __future__ import annotations

import click

from ..errors import UserError
from .options import PLACE, as_json, machine, once, ranks_per_host, settings


class _Shape(click.ParamType):
    name = "shape"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            shape = tuple(int(size) for size in value.lower().split("x"))
        except ValueError:
            shape = ()
        if not shape or min(shape) < 1:
            raise UserError(f"--shape {value}: expected the sizes of an image, such as 28x28 or 3x32x32")
        return shape


@click.command()
@click.argument("config", type=PLACE)
@click.option("-n", "ranks", type=click.IntRange(1), default=1, show_default=True, help="Ranks.")
@ranks_per_host
@machine
@click.option("--curve", is_flag=True, help="Print times for 1, 2, 4, ... up to 4096 ranks instead, or up to -n.")
@click.option(
    "--advice/--no-advice", default=None, help="Whether to plan other settings, too; by default for up to 64 ranks."
)
@click.option(
    "--goal", type=PLACE, metavar="FILE", help="Write all steps of all ranks for LogGOPSim, in its format GOAL."
)
@click.option("--trace", type=PLACE, metavar="FILE.h5", help="Write what each rank does when, as 'ffmpi train' does.")
@click.option("--samples", type=click.IntRange(1), help="To learn from, where the data set is not here.")
@click.option("--test", type=click.IntRange(0), help="Test samples.")
@click.option("--shape", type=_Shape(), metavar="SIZExSIZE", help="Of an image.")
@click.option("--classes", type=click.IntRange(2), help="How many there are.")
@settings
@as_json
@once
def plan(
    config: str, ranks: int, ranks_per_host: int | None, machine: str, curve: bool, advice: bool | None,
    goal: str | None, trace: str | None, samples: int | None, test: int | None, shape: tuple[int, ...] | None,
    classes: int | None, settings: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Say what the run of CONFIG on -n ranks would do and how long it would take, without starting it or MPI.

    The steps of all ranks are simulated on a machine. The data set's sizes are read where it is; those of published
    ones are known without.
    """
    from ..commands import plan as command
    from ..data.assumed import Given

    given = Given(samples or 0, test, shape or (), classes or 0)
    request = command.Request(config, list(settings), ranks, ranks_per_host or 0, machine, given, as_json)
    if curve:
        command.curve(request)
    else:
        command.plan(request, advice, goal, trace)
