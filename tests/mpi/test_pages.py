"""The pages in `docs/` do what they show: their commands and programs run, and print what stands below them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ffmpi.cli import app
from ffmpi.config import describe
from tests.conftest import Job
from tests.helpers import PACKAGE, ROOT

pytestmark = pytest.mark.mpi

PAGES = {page.name: page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))}
#: The page whose program is a specification: see `tests.helpers.scores_by_numpy`.
SPECIFICATION = "design.md"
#: A block in its language, and the remark before it that says why it is not run.
BLOCK = re.compile(r"(?:^<!-- not run: ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTINGS = {setting.key for setting in describe.settings()}
#: More ranks than cores, which Open MPI refuses unless it is told.
CROWDED = {"OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}


@dataclass
class Block:
    """A block of code or output."""

    language: str
    text: str
    why_not: str  # it is run, if anything

    @property
    def command(self) -> str:
        """What a shell runs for it; a program whose first line is the name of a file is written there."""
        if self.language == "bash":
            return self.text
        file = re.match(r"# (\S+\.py)\n", self.text)
        return f"{f'cat > {file[1]}' if file else 'python -'} <<'PYTHON'\n{self.text}PYTHON\n"


def blocks(page: str) -> list[Block]:
    return [Block(language, text, why_not) for why_not, language, text in BLOCK.findall(PAGES[page])]


RUN = [
    page
    for page in PAGES
    if page != SPECIFICATION and any(one.language in ("bash", "python") and not one.why_not for one in blocks(page))
]
NOT_RUN = [(page, one.text) for page in PAGES for one in blocks(page) if one.why_not]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with what pages need of the clone, the package to be changed, with the kernels as compiled."""
    package = tmp_path / "ffmpi"
    shutil.copytree(PACKAGE, package, ignore=lambda folder, names: {"kernels"} & {*names})
    (package / "kernels").symlink_to((PACKAGE / "kernels").resolve())
    (tmp_path / "runs").symlink_to(ROOT / "runs")
    return tmp_path


@pytest.fixture
def shell(clone: Path) -> Iterator[Job]:
    """Return a job that runs the script `page.sh` in the folder of the clone."""
    wide = {"COLUMNS": "160"}  # as wide as what the pages show
    paths = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(clone)}
    (clone / "page.sh").touch()
    os.mkfifo(clone / "begin")
    command = ["bash", "-c", "read -r < begin; exec bash -euo pipefail page.sh 2>&1"]
    job = Job(command, clone, 180, paths | wide | CROWDED)
    yield job
    assert not job.end()


def pattern_of(line: str) -> str:
    return ".*".join(map(re.escape, line.split("...")))


@pytest.mark.pages
@pytest.mark.parametrize("page", RUN)
def test_a_page_does_what_it_shows(page: str, clone: Path, shell: Job) -> None:
    found = blocks(page)
    ran = [one for one in found if one.language in ("bash", "python") and not one.why_not]
    (clone / "page.sh").write_text("".join(f"echo '=== {n}'\n{one.command}" for n, one in enumerate(ran)))
    (clone / "begin").write_text("\n")
    done = shell.wait()
    assert done.returncode == 0, done.stdout[-3000:]
    printed = dict(re.findall(r"^=== (\d+)\n(.*?)(?=^=== |\Z)", done.stdout, re.MULTILINE | re.DOTALL))
    assert len(printed) == len(ran)
    number = -1
    for one in found:
        number += one in ran
        if one.language == "text":
            lines = iter(printed[str(number)].splitlines())
            for line in filter("...".__ne__, one.text.splitlines()):
                expected = re.compile(pattern_of(line))
                assert any(expected.search(each) for each in lines), f"{line!r} is not in\n{printed[str(number)]}"


def test_what_is_not_run_says_why() -> None:
    """And what is run is there."""
    assert {*RUN} == {"cluster.md", "first-hour.md", "own-rule.md", "planning.md"} and NOT_RUN
    assert {one.language for page in PAGES for one in blocks(page)} == {"bash", "python", "text"}


def _calls(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each ffmpi in a script that is a command, and not an image of Docker's."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for place, word in enumerate(words):
            if word == "ffmpi" and words[place + 1 : place + 2] not in ([], ["."], ["mpiexec"]):
                yield words[place + 1 :]


@pytest.mark.parametrize(("page", "text"), NOT_RUN, ids=[f"{page} {n}" for n, (page, _) in enumerate(NOT_RUN)])
def test_what_is_not_run_could_be(page: str, text: str) -> None:
    """Its syntax is that of the shell, its files are there, and its commands, options and settings are ffmpi's."""
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""
    for file in re.findall(r"(?<![\w/$])runs/[\w./-]+", text):
        assert (ROOT / file).exists(), file
    for setting in re.findall(r"--set (\w[\w.]*)=", text):
        assert setting in SETTINGS, setting
    for name, *arguments in _calls(text):
        command = app.commands[name]
        command.make_context(name, arguments)


def test_links_lead_somewhere() -> None:
    for page, text in PAGES.items():
        for file, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
            source = file.partition("../ffmpi/")[2]  # of the package, which may be installed elsewhere
            target = PACKAGE / source if source else (ROOT / "docs" / (file or page)).resolve()
            assert target.exists(), f"{page}: {file}"
            if heading:
                titles = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE)
                assert heading in {re.sub(r"[^a-z\d -]", "", one.lower()).replace(" ", "-") for one in titles}, heading


def test_the_index_has_every_page() -> None:
    assert set(re.findall(r"\]\((\w[\w-]*\.md)\)", PAGES["README.md"])) == {*PAGES} - {"README.md"}
    assert "(docs/README.md)" in (ROOT / "README.md").read_text()
