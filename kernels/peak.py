"""What one core can do at best: fused multiply-adds a second and bytes a second, the ceilings of `ffmpi bench`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled import compiled
from .simd import LANES, build_call, build_load, build_store, element
from .tile import WIDE

#: Independent chains of vectors: 24 registers with AVX-512 (of 32), 12 with AVX (of 16), 24 with NEON (of 32); two
#: pipes times a latency of four or five ask for ten.
CHAINS = 24 if WIDE else 6
#: Steps of a burst, some 1 to 4 ms: longer than the clock's resolution by far, shorter than its drift.
_STEPS = 200_000_000 // (2 * LANES * CHAINS)
#: Floating-point operations of one burst.
BURST_FLOP = 2 * LANES * CHAINS * _STEPS


@intrinsic
def _multiply_add(typingctx: Any, steps: Any, numbers: Any, chains: Any) -> Any:
    """Put chains[i] = chains[i] * numbers[0] + numbers[1] `steps` times, all vectors in registers meanwhile."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def at(argument: int, vector: int) -> Any:
            offset = ir.Constant(ir.IntType(64), vector * LANES)
            return element(context, builder, signature.args[argument], args[argument], offset)

        factor, term = build_load(builder, at(1, 0)), build_load(builder, at(1, 1))
        # The starts come from memory and the ends go there: LLVM can neither merge the chains nor drop them.
        slots = []
        for i in range(CHAINS):
            slots.append(cgutils.alloca_once(builder, factor.type))
            builder.store(build_load(builder, at(2, i)), slots[-1])
        with cgutils.for_range(builder, args[0]):
            for slot in slots:
                builder.store(build_call(builder, "fma", builder.load(slot), factor, term), slot)
        for i, slot in enumerate(slots):
            build_store(builder, builder.load(slot), at(2, i))
        return context.get_dummy_value()

    return types.void(types.intp, numbers, chains), codegen


@compiled
def multiply_add(steps, numbers, chains):  # type: ignore[no-untyped-def]
    """Make 2 * 16 * CHAINS * steps operations; numbers : (2, 16), chains : (CHAINS, 16) float32, updated."""
    _multiply_add(steps, numbers, chains)


class Burst:
    """Calling it makes BURST_FLOP operations on registers and nothing else."""

    def __init__(self) -> None:
        self.numbers = np.full((2, LANES), 0.5, np.float32)  # x / 2 + 1 / 2 stays an ordinary number for ever
        self.chains = np.linspace(0.5, 2, CHAINS * LANES, dtype=np.float32).reshape(CHAINS, LANES)

    def __call__(self) -> None:
        """Run once."""
        multiply_add(_STEPS, self.numbers, self.chains)


def copy_bytes() -> int:
    """Return the size of an array that no cache can hold: twice the largest, but 1/8 of the memory at most."""
    sizes = [64 << 20]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text(encoding="ascii").strip()
        sizes.append(int(text.rstrip("KM")) << (20 if text.endswith("M") else 10))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(2 * max(sizes), memory // 8)


def memory_rate(size: int, repeats: int = 3) -> float:
    """Return the bytes a second, read and written counted, of NumPy's copyto on arrays of `size` bytes, best of all."""
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)  # written once: every page is there
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - began)
    return 2 * size / min(seconds)
