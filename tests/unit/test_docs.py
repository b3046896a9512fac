"""docs/design.md names what there is."""

from __future__ import annotations

import re
import typing

from ffmpi.schedule import steps
from tests.helpers import ROOT

DESIGN = (ROOT / "docs" / "design.md").read_text()


def test_cited_sections_exist() -> None:
    headings = set(re.findall(r"^#{2,3} ([\d.]+?)\.? ", DESIGN, re.MULTILINE))
    assert len(headings) > 10
    code = [file for directory in ("ffmpi", "kernels", "tests", "runs") for file in (ROOT / directory).rglob("*.py")]
    cited = {
        (file.name, number)
        for file in code
        for number in re.findall(r"design\.md, section ([\d.]*\d)", file.read_text())
    }
    assert cited, "no docstring cites it"
    assert {(name, number) for name, number in cited if number not in headings} == set()


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
