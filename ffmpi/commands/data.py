"""The command `data`: which data sets there are, what files hold, and downloads."""

from __future__ import annotations

import json

import msgspec

from .. import data as data_sets_module
from ..data.remarks import check, describe
from ..errors import UserError, warn


def data_sets(
    name: str | None, path: str | None, download: bool, url: str | None, as_json: bool,
    images: str = "images", labels: str = "labels", weights: str = "",
) -> None:  # fmt: skip
    """List the data sets, or check one of them, after downloading it if asked to."""
    if name is None:
        _list(as_json)
        return
    if download:
        if path is None:
            raise UserError("--download: expected a directory after the name, as in 'ffmpi data mnist data/mnist'")
        from ..data.download import download as fetch  # not by every command: a library for the net takes time to load

        for file in fetch(name, path, url):
            if not as_json:
                print(f"{file}: there, checksum good")
    elif url is not None:
        raise UserError("--url: only used together with --download")
    summary = data_sets_module.check(name, path, data_sets_module.Fields(images, labels, weights))
    found, where = summary.statistics, path or name
    told = check(found, where)
    for text in told:
        warn(text)
    if as_json:
        brief = {key: getattr(summary, key) for key in ("name", "dtype", "samples", "per_class", "files", "verified")}
        print(json.dumps(brief | msgspec.to_builtins(found) | {"warnings": told}))
        return
    verified = {True: "the published files", False: "not the published files", None: "no published checksum"}
    print(f"{name}: {len(found.names)} classes, {verified[summary.verified]}")
    for line in describe(found):
        print(line)


def _list(as_json: bool) -> None:
    known = data_sets_module.FORMATS.members()
    if as_json:
        print(json.dumps(msgspec.to_builtins(known)))
        return
    for name, entry in known.items():
        counts = f"{entry.train} training and {entry.test} test samples, " if entry.train else ""
        print(f"{name}: {entry.description}; {counts}path: {entry.path or 'none needed'}")
