"""README.md and docs/design.md name what there is."""

from __future__ import annotations

import re
import typing
from itertools import pairwise

import pytest

from ffmpi.cli import app
from ffmpi.config import describe, registries
from ffmpi.config.presets import PRESETS
from ffmpi.config.registry import Registry
from ffmpi.schedule import steps
from tests.helpers import PACKAGE, ROOT

DESIGN = (ROOT / "docs" / "design.md").read_text()
README = (ROOT / "README.md").read_text()
CODE = (PACKAGE, PACKAGE / "kernels")  # a link in the clone, which rglob does not follow
#: Pages of which tables are the most.
TABLES = {"README.md": README} | {
    name: (ROOT / "docs" / name).read_text() for name in ("recipes.md", "results.md")
}  # fmt: skip
SETTINGS = {setting.key for setting in describe.settings()}
FAMILIES = {name: value for name, value in vars(registries).items() if isinstance(value, Registry)}


def test_cited_sections_exist() -> None:
    headings = dict(re.findall(r"^#{2,3} ([\d.]+?)\.? (.*)", DESIGN, re.MULTILINE))
    titles = {title.partition(" (")[0] for title in headings.values()}
    assert len(headings) > 10
    code = [file for folder in (*CODE, ROOT / "tests", ROOT / "runs") for file in folder.rglob("*.py")]
    cited = {
        (file.name, number or title)
        for file in code
        for number, title in re.findall(r'design\.md,\s+(?:section ([\d.]*\d)|"([^"]+)")', file.read_text())
    }
    assert len(cited) > 5
    assert {(name, section) for name, section in cited if section not in headings and section not in titles} == set()


def test_links_of_the_page_lead_to_its_headings() -> None:
    anchors = {
        re.sub(r"[^a-z\d -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)", DESIGN, re.MULTILINE)
    }
    linked = set(re.findall(r"\]\(#([^)]*)\)", DESIGN))
    assert linked and linked <= anchors


def test_every_step_is_explained() -> None:
    rows = re.findall(r"^\| (`[A-Z].*?) \|", DESIGN, re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert explained == {step.__name__ for step in typing.get_args(steps.Step)}


def test_every_stream_is_explained() -> None:
    explained = set(re.findall(r"`([a-z]+)`", DESIGN))
    assert set(typing.get_args(steps.Stream)) <= explained


def test_the_tree_of_the_readme_exists() -> None:
    tree = README.split("## Where things are")[1]
    there = {file.name for folder in CODE for file in folder.rglob("*.py")}
    named = set(re.findall(r"\w+\.py", tree))
    assert len(named) > 40 and named <= there, named - there
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert {f"{room}/" for room in rooms} <= set(re.findall(r"^ *(\w+/)", tree, re.MULTILINE))


@pytest.mark.parametrize("page", TABLES)
def test_what_tables_show_is_there(page: str) -> None:
    """Every command, setting, option's file and test file that a cell of a table names."""
    spans = [
        span for row in re.findall(r"^\|.*\|$", TABLES[page], re.MULTILINE) for span in re.findall(r"`([^`]+)`", row)
    ]
    commands = [words for span in spans for words in [span.split()] if len(words) > 1]
    assert len(commands) > 8
    for words in commands:
        for command in (after for word, after in pairwise(words) if word == "ffmpi" and after != "import"):
            assert command in app.commands, command
        for setting in (re.split("=", after)[0] for word, after in pairwise(words) if word == "--set"):
            assert setting in SETTINGS, setting
        for file in (word for word in words if re.match(r"(runs|tests)/[\w./-]+$", word)):
            assert (ROOT / file).exists(), file


def test_the_readme_names_every_preset() -> None:
    assert [name for name in PRESETS if f'"{name}"' not in README and name] == []


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"FORMATS"}))  # 'ffmpi data' tells of these
def test_the_design_tells_of_every_member(family: str) -> None:
    untold = [name for name in FAMILIES[family].names if not re.search(rf"(?<![\w-]){name}(?![\w-])", DESIGN)]
    assert untold == []
