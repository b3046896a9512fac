"""The commands on data sets, one function each; no logic."""

from __future__ import annotations

from typing import Any

import click

from ..errors import UserError
from .options import PLACE, as_json, once


class _OfDataSets(click.Command):
    """A command whose help ends with the names of the known data sets, and `convert` below it."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:  # fmt: skip
        if args[:1] == ["convert"]:
            return convert.make_context(f"{info_name} convert", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from ..config.registries import FORMATS

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


@click.command(cls=_OfDataSets)
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
    from ..commands import data as command

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
    from ..commands import convert as command

    command.convert(name, path[0] if path else None, target, compress, as_json, images, labels, weights)
