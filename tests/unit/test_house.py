"""The house: imports go down only, one door to MPI, and nobody outside a family's own files asks which member it is."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers import PACKAGE, ROOT

#: Floors from the bottom; a package or module imports from its own floor and from those below.
FLOORS = [
    {"errors", "output", "launcher"},
    {"config"},
    {"schedule", "rules", "network", "data"},
    {"run", "runtime", "export", "plots", "report", "plan"},
    {"cli", "__main__", "commands", "api"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

#: What a room does not import though it is no higher.
CLOSED = {
    "data": {"network", "rules", "schedule"},  # what the samples are, whatever learns from them
    "network": {"rules", "schedule"},
    "schedule": {"data", "network", "rules", "kernels", "numpy"},  # who does what when, of nothing but numbers
    "config": {"kernels"},
    "run": {"runtime", "kernels"},  # facts are handed in
    "export": {"runtime", "schedule", "kernels"},  # networks, wherever they are from
    "plots": {"runtime", "kernels"},  # of what is on the disk, or handed in
    "report": {"runtime", "kernels"},
    "kernels": {*FLOOR},
}

#: Families found by name, and where alone it may matter which member one is; beside that only in `NAMED`.
FAMILIES = {
    "rule": "rules", "schedule": "schedule", "optimizer": "network", "negatives": "network", "normalise": "network",
    "learning_rate": "network",
}  # fmt: skip

#: Files that may ask which member of a family they have, each with the reason.
NAMED: dict[tuple[str, str], str] = {
    ("ffmpi.commands.paper", "rule"): "rows of the paper's tables are told by the names of what they compare",
    ("ffmpi.commands.paper", "schedule"): "the same",
    ("ffmpi.commands.paper", "negatives"): "the same",
}


def _room(module: str) -> str:
    """Return the part of a module's name that says on which floor it lives."""
    return module.split(".")[1] if module.startswith("ffmpi.") else module.split(".")[0]


@cache
def _modules() -> dict[str, Path]:
    found = {}
    links = [path for path in PACKAGE.iterdir() if path.is_symlink()]
    for file in sorted(file for top in [PACKAGE, *links] for file in top.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    assert len(found) > 60
    return found


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_modules()[module].read_text())


def imports_of(module: str) -> Iterator[str]:
    """Yield every module that `module` imports: within functions and for type checkers, too."""
    package = module if _modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parent, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield whole if whole in _modules() or _is_package(whole) else source


def _is_package(module: str) -> bool:
    return any(name.startswith(module + ".") for name in _modules())


def _is_wrong(importer: str, imported: str) -> bool:
    here, there = _room(importer), _room(imported)
    if here == "ffmpi" or here == there:  # the package's own __init__
        return False
    if there == "mpi4py":
        return here != "runtime"
    return there in CLOSED.get(here, ()) or FLOOR.get(there, -1) > FLOOR.get(here, -1)


def _is_family(node: ast.AST, family: str) -> bool:
    """Whether an expression is the name of a family's member: ``config.rule.name``, ``negatives.name``, ..."""
    if not isinstance(node, ast.Attribute) or node.attr not in ("name", "kind"):
        return False
    owner = node.value
    return family == (owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", ""))


def names_of(module: str, family: str) -> Iterator[int]:
    """Yield the lines where `module` asks which member of `family` it has."""
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            parts = [part for side in sides for part in (side.elts if isinstance(side, ast.Tuple) else [side])]
            if any(_is_family(part, family) for part in parts):
                yield node.lineno
        elif isinstance(node, ast.Match | ast.Subscript):
            key = node.subject if isinstance(node, ast.Match) else node.slice
            if _is_family(key, family):
                yield node.lineno
        elif family == "rule" and isinstance(node, ast.Attribute) and node.attr == "local":
            yield node.lineno


def test_imports_go_down_only() -> None:
    found = {(module, name) for module in _modules() for name in imports_of(module) if _is_wrong(module, name)}
    assert sorted(found) == [], "imports that go up, or where they should not"


def test_every_room_has_its_floor_and_is_installed() -> None:
    rooms = {_room(module) for module in _modules()} - {"ffmpi", "kernels"}
    assert rooms == FLOOR.keys()
    folders = {file.parent for file in _modules().values()}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == [], "only packages are installed"


@pytest.mark.parametrize("family", FAMILIES)
def test_only_a_family_asks_which_member_it_is(family: str) -> None:
    lines = {module: list(names_of(module, family)) for module in _modules() if _room(module) != FAMILIES[family]}
    found = {(module, family): where for module, where in lines.items() if where}
    known = {key for key in NAMED if key[1] == family}
    assert {key: where for key, where in found.items() if key not in NAMED} == {}, "these lines ask which it is"
    assert sorted(known - found.keys()) == [], "they no longer do: take them out of NAMED"


def test_nobody_but_its_registry_imports_a_rule() -> None:
    """Others import the interface, `ffmpi.rules`."""
    found = {
        (module, name)
        for module in _modules()
        for name in imports_of(module)
        if name.startswith("ffmpi.rules.") and _room(module) != "rules"
    }
    assert sorted(found) == []


def test_no_two_files_of_tests_have_one_name() -> None:
    """Since pytest imports them by it: with two, nothing is collected."""
    names = Counter(file.name for file in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
