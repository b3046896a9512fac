"""What else installs ffmpi does as setup.cfg says: a conda package, and containers by Docker's and Apptainer's way."""

from __future__ import annotations

import configparser
import re

from ffmpi import __version__
from tests.helpers import ROOT

PLACE = ROOT / "runs" / "containers"
DOCKER = (PLACE / "Dockerfile").read_text().replace("\\\n", " ")
APPTAINER = (PLACE / "Apptainer.def").read_text()


def _sections() -> dict[str, list[str]]:
    parts = re.split(r"^%(\w+)\n", APPTAINER, flags=re.MULTILINE)
    return {
        name: [line.strip() for line in text.splitlines()] for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_they_copy_the_same_files() -> None:
    docker = set()
    for line in re.findall(r"^COPY (.*)", DOCKER, re.MULTILINE):
        *sources, target = line.split()
        docker |= {(source, target + source if target.endswith("/") else target) for source in sources}
    assert docker == {tuple(line.split()) for line in _sections()["files"] if line}
    # What is installed; kernels is beside ffmpi in the clone, and within it in an sdist.
    needed = {"pyproject.toml", "setup.cfg", "README.md", "LICENSE", "ffmpi", "kernels", "runs"}
    assert {source for source, _ in docker} == needed


def test_they_run_the_same_commands() -> None:
    docker = [command.strip() for run in re.findall(r"^RUN (.*)", DOCKER, re.MULTILINE) for command in run.split("&&")]
    assert docker == [line for line in _sections()["post"] if line and not line.startswith("#")]
    assert "/opt/ffmpi/bin" in DOCKER.partition("ENV PATH=")[2] and "/opt/ffmpi/bin" in _sections()["environment"][0]


def test_the_conda_recipe_requires_the_same() -> None:
    recipe = (ROOT / "runs" / "conda" / "recipe.yaml").read_text()
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = re.findall(r"^    - (.*)", recipe.partition("  run:\n")[2].partition("\ntests:")[0], re.MULTILINE)
    assert required[:2] == ["python >=${{ python_min }}", "__linux"]
    assert [name.replace(" ", "") for name in required[2:]] == setup["options"]["install_requires"].split()
    assert f'python_min: "{setup["options"]["python_requires"].removeprefix(">=")}"' in recipe
    assert f"  version: {__version__}\n" in recipe
    assert setup["options.entry_points"]["console_scripts"].strip() in recipe
