"""What LLVM makes of the inner loops: vector arithmetic in registers, nothing else."""

from __future__ import annotations

import importlib
import platform
import re
from pathlib import Path
from typing import Any

import numba
import pytest

from ffmpi import kernels
from ffmpi.kernels import tile
from tests.conftest import Run
from tests.helpers import ROOT

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86 assembly")


def assembly_of(module: str, function: str) -> str:
    """Return what a kernel has been compiled to."""
    kernels.compile_all()
    found = importlib.import_module(f"ffmpi.kernels.{module}")
    part = getattr(found, function)
    for caller in [module, "compute"] if module == "forward" else [module]:
        if not part.signatures:  # of a kernel that comes from the cache as a whole
            _compile(getattr(found, caller))
    (assembly,) = _compile(part).inspect_asm().values()
    return str(assembly)


def _compile(cached: Any) -> Any:
    """Compile a kernel anew: what comes from the cache has no assembly to show."""
    fresh = numba.jit(**cached.targetoptions)(cached.py_func)
    fresh.compile(cached.signatures[0])
    return fresh


def inner_loops(module: str, function: str) -> list[list[str]]:
    """Return the instructions of each innermost loop that has fused multiply-adds."""
    assembly = assembly_of(module, function)
    loops = []
    for name, body in re.findall(r"^(\.LBB\w+):\n(.*?)(?=^\.LBB|\Z)", assembly, re.MULTILINE | re.DOTALL):
        lines = [line.strip() for line in body.splitlines()]
        jumps = [i for i, line in enumerate(lines) if re.match(rf"j\w+\s+{re.escape(name)}$", line)]
        if jumps and any("vfmadd" in line for line in lines[: jumps[0]]):
            loops.append(lines[: jumps[0]])
    return loops


def multiplies(loop: list[str], sparse: bool) -> bool:
    """Whether a loop is a tile's: a sparse one alone reads places of 8 or 16 bits; no tile's loop stores."""
    stores = any(re.match(r"vmov\w+\s+%[xyz]mm\d+, .*\(", line) for line in loop)
    return not stores and any(line.startswith(("movzb", "movzw")) for line in loop) == sparse


def accumulators(loop: list[str]) -> set[str]:
    """Return the registers that a loop adds to."""
    return {line.rsplit("%", 1)[1] for line in loop if "vfmadd" in line}


@pytest.mark.perf
@pytest.mark.parametrize(
    ("module", "function", "rows", "panels"),
    [
        ("forward", "_columns", tile.FORWARD_ROWS, tile.PANELS),
        ("update", "_columns", tile.UPDATE_INPUTS, tile.PANELS),
        ("forward", "_sparse_columns", 1, tile.SPARSE_PANELS),
        ("update", "_sparse_columns", 1, 6),
        ("logits", "tree_products", tile.FORWARD_ROWS, tile.PANELS),
    ],
)
def test_inner_loops_stay_in_registers(module: str, function: str, rows: int, panels: int) -> None:
    """The full tile's loop has an accumulator in a register for each row and vector, and touches no stack."""
    if "+fma" not in tile.features:
        pytest.skip("this machine has no fused multiply-add: the kernels are right here, but not fast")
    registers, register = (1, "zmm") if tile.WIDE else (2, "ymm")
    tiles = [loop for loop in inner_loops(module, function) if multiplies(loop, "sparse" in function)]
    count = rows * panels * registers
    full = [loop for loop in tiles if len(accumulators(loop)) == count]
    assert full, f"no loop has {count} accumulators, but {sorted(len(accumulators(loop)) for loop in tiles)}"
    for loop in full:
        arithmetic = [line for line in loop if "vfmadd" in line]
        assert len(arithmetic) % count == 0  # LLVM may unroll
        assert all(f"%{register}" in line and "ps\t" in line for line in arithmetic)
        assert not [line for line in loop if f"%{register}" in line and "%rsp" in line], "a vector is spilt"
        assert not [line for line in loop if line.startswith("call")]


@pytest.mark.perf
def test_inner_loops_of_a_processor_with_half_as_wide_registers(run: Run, tmp_path: Path) -> None:
    """The same for AVX2 without AVX-512, which Numba compiles for if it is told to."""
    features = [name for name in tile.features if not name.startswith("+avx512")]
    if "+avx2" not in features or not tile.WIDE:
        pytest.skip("this machine has no AVX-512 to leave out")
    avx2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ",".join(features), "NUMBA_CACHE_DIR": str(tmp_path)}
    peak = ROOT / "tests/unit/test_bench.py::test_the_peak_kernel_is_vector_arithmetic_on_registers"
    chosen = [f"{__file__}::test_inner_loops_stay_in_registers", peak, "-m", "perf", "-c", ROOT / "setup.cfg"]
    done = run(0, "-m", "pytest", "-q", "-n", "0", *chosen, seconds=600, **avx2)
    assert done.returncode == 0 and "6 passed" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("goodness_loss", "goodness_loss"),
        ("softmax", "softmax"),
        ("update", "adam_constants"),
        ("powers", "exponentials"),
    ],
)
def test_no_weight_depends_on_a_c_library(module: str, function: str) -> None:
    """Its exp and pow differ in the last bit by processor; log is for the loss, which moves no weight."""
    called = set(re.findall(r"\b(?:exp2?|pow|expm1|log|log1p|sin|cos|tanh)f?\b", assembly_of(module, function)))
    assert called == {"goodness_loss": {"log1p"}, "softmax": {"log"}}.get(module, set())
