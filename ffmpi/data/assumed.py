"""The sizes of data sets whose files are not here, for who plans a run on another machine."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..config.schema import Config
from ..errors import UserError
from . import FORMATS
from .info import DatasetInfo
from .split import divide, partition


@dataclasses.dataclass(frozen=True)
class Given:
    """What is said of a data set in place of its files; 0, None or empty: nothing."""

    samples: int = 0
    test: int | None = None
    shape: tuple[int, ...] = ()
    classes: int = 0

    def __bool__(self) -> bool:
        """Whether anything is said."""
        return self != Given()


def assumed(config: Config, given: Given) -> DatasetInfo:
    """Return the sizes of the configured data set: those that are `given`, or else known of a published one.

    Raises UserError where neither says how many samples, pixels and classes there are.
    """
    known = FORMATS[config.data.name]
    train, shape, classes = given.samples or known.train, given.shape or known.shape, given.classes or known.classes
    test = known.test if given.test is None else given.test
    if missing := [
        option for option, value in (("--samples", train), ("--shape", shape), ("--classes", classes)) if not value
    ]:
        raise UserError(
            f"data.name = {config.data.name!r}: the files say how large it is, and are not at data.path = "
            f"{config.data.path!r}; expected them there, or {', '.join(missing)}"
        )
    names = known.names if classes == known.classes else tuple(map(str, range(classes)))
    kept, taken = (len(part) for part in partition(config, np.zeros(train)))
    if not config.data.validation:
        kept, taken = train, 0
    shards = tuple(len(part) for part in divide(config, np.zeros(kept), np.zeros(kept)))
    return DatasetInfo(
        shape, names, kept, test, shards=shards, validation=taken, nonzero=known.nonzero,
        weighted=bool(config.data.weights),
    )  # fmt: skip
