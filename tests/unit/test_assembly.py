"""What LLVM makes of the inner loops: vector arithmetic in registers, nothing else."""

from __future__ import annotations

import importlib
import platform
import re

import numba
import pytest

from ffmpi import kernels
from ffmpi.kernels import tile

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86 assembly")


def assembly_of(module: str, function: str) -> str:
    """Return what a kernel has been compiled to."""
    kernels.compile_all()
    cached = getattr(importlib.import_module(f"ffmpi.kernels.{module}"), function)
    # What comes from the cache has no assembly to show: compile it anew.
    fresh = numba.jit(**cached.targetoptions)(cached.py_func)
    fresh.compile(cached.signatures[0])
    (assembly,) = fresh.inspect_asm().values()
    return str(assembly)


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


@pytest.mark.parametrize(
    ("module", "function", "rows", "panels"),
    [
        ("forward", "_columns", tile.FORWARD_ROWS, tile.PANELS),
        ("update", "_columns", tile.UPDATE_INPUTS, tile.PANELS),
        ("forward", "_sparse_columns", 1, tile.SPARSE_PANELS),
        ("update", "_sparse_columns", 1, tile.SPARSE_PANELS // 2),
    ],
)
def test_inner_loops_stay_in_registers(module: str, function: str, rows: int, panels: int) -> None:
    if "+fma" not in tile._features().split(","):
        pytest.skip("this machine has no fused multiply-add: the kernels are right here, but not fast")
    loops = inner_loops(module, function)
    registers = 1 if tile._WIDE else 2
    register = "zmm" if tile._WIDE else "ymm"
    widest = max(loops, key=lambda loop: sum("vfmadd" in line for line in loop))
    arithmetic = [line for line in widest if "vfmadd" in line]
    assert len(arithmetic) % (rows * panels * registers) == 0  # LLVM may unroll
    assert all(f"%{register}" in line and "ps\t" in line for line in arithmetic)
    assert not [line for line in widest if f"%{register}" in line and "%rsp" in line], "a vector is spilt"
    assert not [line for line in widest if line.startswith("call")]


@pytest.mark.parametrize(
    ("module", "function"),
    [("judge", "judge"), ("softmax", "softmax"), ("update", "adam_constants"), ("powers", "exponentials")],
)
def test_no_weight_depends_on_a_c_library(module: str, function: str) -> None:
    """Its exp and pow differ in the last bit by processor; log is for the loss, which moves no weight."""
    called = set(re.findall(r"\b(?:exp2?|pow|expm1|log|log1p|sin|cos|tanh)f?\b", assembly_of(module, function)))
    assert called == {"judge": {"log1p"}, "softmax": {"log"}}.get(module, set())
