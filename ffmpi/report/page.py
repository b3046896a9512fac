"""The page: what is on it, and how that becomes HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Literal

from .. import __version__
from ..errors import UserError
from ..plots import style

_KINDS = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Cell:
    """What stands in a table; `shade` from 0 to 1 is how dark it is.

    mark : whether it is to be noticed: a setting that is not the default, or a number that is `right`
    """

    text: str
    mark: Literal["", "set", "right"] = ""
    shade: float = 0.0


@dataclass(frozen=True)
class Row:
    """A line of a table; one that `differs` has not the same in all columns."""

    name: str
    cells: Sequence[Cell]
    differs: bool = False


@dataclass(frozen=True)
class Table:
    """A table: `columns` are the headings, the first of which stands over the rows' names."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    note: str = ""
    numbers: bool = False  # to the right


@dataclass(frozen=True)
class Picture:
    """A picture as an address that holds all of it.

    Attributes
    ----------
    alt : what is to be seen, in words
    width : in inches, as it was drawn
    narrow : another one for narrow screens, if there is one
    """

    address: str
    alt: str
    width: float
    narrow: str = ""
    caption: str = ""


def picture(draw: style.Draw, alt: str, width: float, *, kind: str = "svg", narrow: bool = False) -> Picture:
    """Return what `draw` draws, `width` inches wide, and with `narrow` as wide as a column for narrow screens, too."""
    return Picture(_address(draw, kind, width), alt, width, _address(draw, kind, style.COLUMN) if narrow else "")


def _address(draw: style.Draw, kind: str, width: float) -> str:
    return f"data:{_KINDS[kind]};base64,{base64.b64encode(style.rendered(draw, kind, width)).decode()}"


@dataclass(frozen=True)
class Section:
    """A run by itself.

    Attributes
    ----------
    label : what tells it from the others, in words; path : its directory
    warnings : what did not go well; missing : what could not be shown, and why
    """

    label: str
    path: str
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """All of the page: what all runs have in common, then each by itself.

    Attributes
    ----------
    results : tables of what the runs have reached
    settings : those that somebody has set or that differ; everything : all settings
    """

    title: str
    written: str
    results: Sequence[Table]
    pictures: Sequence[Picture]
    settings: Table
    everything: Table
    sections: Sequence[Section]


def expect() -> None:
    """Raise UserError unless pages can be written here."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise UserError("a report needs Jinja2: pip install 'ffmpi[plot]'") from None
    style.expect()


def html(page: Page) -> str:
    """Return the page as HTML."""
    import jinja2

    text = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    surroundings = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return surroundings.from_string(text).render(page=page, version=__version__)
