"""The notebook in `runs/` runs top to bottom, and holds no outputs."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import ROOT

NOTEBOOK = ROOT / "runs" / "digits.ipynb"


@pytest.mark.pages
def test_the_notebook(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(bool(line) for cell in code for line in cell.source.splitlines()) == 10
    assert not any(cell.outputs or cell.execution_count for cell in code)
    nbclient.NotebookClient(notebook, timeout=90, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [output.text for cell in code for output in cell.outputs]
    accuracies, measured = printed[0].splitlines()
    assert ast.literal_eval(accuracies)[-1] > 90 and min(ast.literal_eval(measured).values()) > 90
    taken, are = (part.split() for part in printed[1].strip("[]\n").split("] ["))
    assert len(taken) == 10 and sum(one == other for one, other in zip(taken, are, strict=True)) >= 8
    with np.load(tmp_path / "digits.npz") as exported:
        assert exported["layers/1/weights"].shape[1] == 256
