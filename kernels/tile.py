"""The register tile: the inner loop of both matrix products.

A tile of rows x panels accumulators stays in registers while the product's common index runs; every step loads one
vector a panel, broadcasts one number a row and makes rows x panels fused multiply-adds. Each accumulator adds its
terms in the order of the common index, so the result does not depend on the tile's size.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from .simd import LANES, build_call, build_load, build_prefetch, build_splat, build_store, element

#: What Numba compiles for: this machine, or what NUMBA_CPU_FEATURES says instead.
features = str(config.CPU_FEATURES or llvm.get_host_cpu_features().flatten()).split(",")
#: Whether the machine has 32 registers of 16 lanes, instead of 16 of 8 or fewer lanes.
WIDE = "+avx512f" in features

#: Rows of activations in a forward tile, inputs in an update tile, panels in both, panels in sparse tiles of one row:
#: with 32 registers of 16 lanes (AVX-512) 24 accumulators hide the latency of the fused multiply-add; 16 registers of 8
#: lanes hold 8 or 12. The narrower sparse tiles are for what is left of a layer, or all there is of a narrow piece.
FORWARD_ROWS = 8 if WIDE else 4
UPDATE_INPUTS = 8 if WIDE else 4
PANELS = 3 if WIDE else 1
SPARSE_WIDTHS = (12, 6, 3, 2, 1) if WIDE else (6, 5, 4, 3, 2, 1)
SPARSE_PANELS = SPARSE_WIDTHS[0]

#: Rows that an update tile of many rows fetches ahead of the one it adds.
AHEAD = 32

_INDEX = ir.IntType(64)


def _constant(value: int) -> Any:
    return ir.Constant(_INDEX, value)


class _Accumulators:
    """rows x panels vectors in stack slots, which LLVM promotes to registers."""

    def __init__(self, builder: Any, rows: int, panels: int, start: Any = None) -> None:
        """Begin with the numbers from `start` on, as `write` leaves them, or with zeros."""
        zero = ir.Constant(ir.VectorType(ir.FloatType(), LANES), [0.0] * LANES)
        self.builder = builder
        self.slots = [[cgutils.alloca_once_value(builder, zero) for _ in range(panels)] for _ in range(rows)]
        for i, slot in enumerate(slot for row in self.slots for slot in row):
            value = zero if start is None else build_load(builder, builder.gep(start, [_constant(i * LANES)]))
            builder.store(value, slot)

    def step(self, a: Any, a_stride: int, vectors: list[Any]) -> None:
        """Add the outer product of the numbers a[0], a[a_stride], ... and the vectors."""
        builder = self.builder
        for i, row in enumerate(self.slots):
            number = build_splat(builder, builder.load(builder.gep(a, [_constant(i * a_stride)])))
            for slot, value in zip(row, vectors, strict=True):
                builder.store(build_call(builder, "fma", number, value, builder.load(slot)), slot)

    def clear(self) -> None:
        """Begin with zeros once more."""
        for slot in (slot for row in self.slots for slot in row):
            self.builder.store(ir.Constant(ir.VectorType(ir.FloatType(), LANES), [0.0] * LANES), slot)

    def add(self, numbers: Any) -> None:
        """Add to the numbers from there on, as `write` leaves them, what has been added up."""
        for i, slot in enumerate(slot for row in self.slots for slot in row):
            left = build_load(self.builder, self.builder.gep(numbers, [_constant(i * LANES)]))
            self.builder.store(self.builder.fadd(left, self.builder.load(slot)), slot)

    def write(self, out: Any) -> None:
        """Store all accumulators, row after row, from `out` on."""
        flat = [slot for row in self.slots for slot in row]
        for i, slot in enumerate(flat):
            build_store(self.builder, self.builder.load(slot), self.builder.gep(out, [_constant(i * LANES)]))


@intrinsic
def forward_tile(
    typingctx: Any, panels: Any, a: Any, a_index: Any, a_panel: Any, w: Any, w_index: Any, w_panel: Any, inputs: Any,
    out: Any, out_index: Any, ahead: Any, low: Any, high: Any,
) -> Any:  # fmt: skip
    """Compute out[i, j, :] += sum over k of a[i, k] * w[k, j, :]; `out` begins at its flat index `out_index`.

    FORWARD_ROWS rows i, `panels` panels j of w (at most PANELS) and 16 x `inputs` values k. `a_panel` and `w_panel` are
    the distances, in floats, between panels of a and of w. Meanwhile lines [low, high) of each 16 of the w block at
    flat index `ahead` are fetched into the second-level cache: the row tiles share that work, so it costs nothing.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width, _, a_start, a_step, _, w_start, w_step, groups, _, out_start, next_start, low, high = args
        a_base = element(context, builder, signature.args[1], args[1], a_start)
        w_base = element(context, builder, signature.args[4], args[4], w_start)
        out_base = element(context, builder, signature.args[8], args[8], out_start)
        w_next = element(context, builder, signature.args[4], args[4], next_start)
        for panels in range(1, PANELS + 1):
            with builder.if_then(builder.icmp_signed("==", width, _constant(panels))):
                accumulators = _Accumulators(builder, FORWARD_ROWS, panels, out_base)
                jumps = [builder.mul(w_step, _constant(j)) for j in range(panels)]
                with cgutils.for_range(builder, groups) as group:
                    a_group = builder.gep(a_base, [builder.mul(group.index, a_step)])
                    with cgutils.for_range(builder, high, low) as far:
                        place = builder.mul(group.index, _constant(LANES * LANES))
                        place = builder.add(place, builder.mul(far.index, _constant(LANES)))
                        for jump in jumps:
                            build_prefetch(builder, builder.gep(w_next, [builder.add(place, jump)]), locality=2)
                    for row in range(FORWARD_ROWS):
                        near = builder.add(a_step, _constant(row * LANES))
                        build_prefetch(builder, builder.gep(a_group, [near]))
                    w_group = builder.gep(w_base, [builder.mul(group.index, _constant(LANES * LANES))])
                    with cgutils.for_range(builder, _constant(LANES)) as lane:
                        w_line = builder.gep(w_group, [builder.mul(lane.index, _constant(LANES))])
                        vectors = [build_load(builder, builder.gep(w_line, [jump])) for jump in jumps]
                        for jump in jumps:
                            soon = builder.add(jump, _constant(LANES * LANES))
                            build_prefetch(builder, builder.gep(w_line, [soon]))
                        accumulators.step(builder.gep(a_group, [lane.index]), LANES, vectors)
                accumulators.write(out_base)
        return context.get_dummy_value()

    index = types.intp
    return (
        types.void(index, a, index, index, w, index, index, index, out, index, index, index, index),
        codegen,
    )


def _update_tile(many: bool) -> Any:
    """Return an intrinsic; `many` rows come in several goes and from memory, few in one and from a cache."""

    def tile(
        typingctx: Any, panels: Any, a: Any, a_index: Any, rows: Any, first: Any, last: Any, g: Any, g_panel: Any,
        out: Any, out_index: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            width, _, a_start, _, first, last, _, g_step, _, out_start = args

            def at(position: int, index: Any) -> Any:
                return element(context, builder, signature.args[position], args[position], index)

            a_base, g_base, out_base = at(1, a_start), at(6, _constant(0)), at(8, out_start)
            for panels in range(1, PANELS + 1):
                with builder.if_then(builder.icmp_signed("==", width, _constant(panels))):
                    accumulators = _Accumulators(builder, UPDATE_INPUTS, panels, out_base if many else None)
                    jumps = [builder.mul(g_step, _constant(j)) for j in range(panels)]
                    with cgutils.for_range(builder, last, first) as step:
                        row = builder.load(at(3, step.index))
                        if many:
                            soon = builder.load(at(3, builder.add(step.index, _constant(AHEAD))))
                            build_prefetch(builder, builder.gep(a_base, [builder.mul(soon, _constant(LANES))]))
                        line = builder.gep(g_base, [builder.mul(step.index, _constant(LANES))])
                        vectors = [build_load(builder, builder.gep(line, [jump])) for jump in jumps]
                        accumulators.step(builder.gep(a_base, [builder.mul(row, _constant(LANES))]), 1, vectors)
                    accumulators.write(out_base)
            return context.get_dummy_value()

        index = types.intp
        return types.void(index, a, index, rows, index, index, g, index, out, index), codegen

    return intrinsic(tile)


#: Compute out[i, j, :] = sum over r of a[rows[r], i] * g[r, j, :]: UPDATE_INPUTS inputs i of one panel of a, `panels`
#: panels j of g (at most PANELS), `g_panel` floats apart, and the entries r of `rows` (int64) from `first` to `last`.
#: `out` begins at its flat index `out_index`. The second one adds to what is there, and reads AHEAD more of `rows`.
update_tile, update_tile_of_many = _update_tile(many=False), _update_tile(many=True)


@intrinsic
def sparse_tile(
    typingctx: Any, panels: Any, values: Any, places: Any, first: Any, last: Any, w: Any, w_index: Any, w_panel: Any,
    out: Any, out_index: Any,
) -> Any:  # fmt: skip
    """Compute out[j, :] += sum over n of values[n] * w[places[n], j, :] for n from `first` to `last`.

    One row, `panels` panels j of w, one of SPARSE_WIDTHS; places, unsigned, count from flat index `w_index`.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width, _, _, low, high, _, w_start, w_step, _, out_start = args

        def at(position: int, index: Any) -> Any:
            return element(context, builder, signature.args[position], args[position], index)

        numbers, place, w_base, out_base = at(1, _constant(0)), at(2, _constant(0)), at(5, w_start), at(8, out_start)
        for panels in reversed(SPARSE_WIDTHS):
            with builder.if_then(builder.icmp_signed("==", width, _constant(panels))):
                accumulators = _Accumulators(builder, 1, panels, out_base)
                jumps = [builder.mul(w_step, _constant(j)) for j in range(panels)]
                with cgutils.for_range(builder, high, low) as step:
                    k = builder.zext(builder.load(builder.gep(place, [step.index])), _INDEX)
                    line = builder.gep(w_base, [builder.mul(k, _constant(LANES))])
                    vectors = [build_load(builder, builder.gep(line, [jump])) for jump in jumps]
                    accumulators.step(builder.gep(numbers, [step.index]), 0, vectors)
                accumulators.write(out_base)
        return context.get_dummy_value()

    index = types.intp
    return types.void(index, values, places, index, index, w, index, index, out, index), codegen


@intrinsic
def tree_tile(
    typingctx: Any, panels: Any, a: Any, a_index: Any, a_panel: Any, w: Any, w_index: Any, w_panel: Any, first: Any,
    last: Any, adds: Any, stack: Any, stack_index: Any, top: Any,
) -> Any:  # fmt: skip
    """Push the products sum over k of a[i, 16 p + k] * w[16 p + k, j, :] for the panels p from `first` to `last`.

    FORWARD_ROWS rows i and `panels` panels j of w (at most PANELS). After each push `adds` (int64), from its entry p
    on, says how often the two products on top of the stack are replaced by their sum. The stack begins at flat index
    `stack_index` and has `top` entries; returns how many it has then.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width, _, a_start, a_step, _, w_start, w_step, first, last, _, _, stack_start, top = args
        a_base = element(context, builder, signature.args[1], args[1], a_start)
        w_base = element(context, builder, signature.args[4], args[4], w_start)
        adds_base = element(context, builder, signature.args[9], args[9], _constant(0))
        stack_base = element(context, builder, signature.args[10], args[10], stack_start)
        size = FORWARD_ROWS * PANELS * LANES
        height = cgutils.alloca_once_value(builder, top)
        for panels in range(1, PANELS + 1):
            with builder.if_then(builder.icmp_signed("==", width, _constant(panels))):
                jumps = [builder.mul(w_step, _constant(j)) for j in range(panels)]
                with cgutils.for_range_slice(builder, first, last, _constant(1), inc=True) as (group, _):
                    a_group = builder.gep(a_base, [builder.mul(group, a_step)])
                    for row in range(FORWARD_ROWS):
                        near = builder.add(a_step, _constant(row * LANES))
                        build_prefetch(builder, builder.gep(a_group, [near]))
                    w_group = builder.gep(w_base, [builder.mul(group, _constant(LANES * LANES))])
                    sums = _Accumulators(builder, FORWARD_ROWS, panels)
                    sums.clear()
                    with cgutils.for_range(builder, _constant(LANES)) as lane:
                        w_line = builder.gep(w_group, [builder.mul(lane.index, _constant(LANES))])
                        vectors = [build_load(builder, builder.gep(w_line, [jump])) for jump in jumps]
                        sums.step(builder.gep(a_group, [lane.index]), LANES, vectors)
                    with cgutils.for_range(builder, builder.load(builder.gep(adds_base, [group]))):
                        below = builder.sub(builder.load(height), _constant(1))
                        builder.store(below, height)
                        sums.add(builder.gep(stack_base, [builder.mul(below, _constant(size))]))
                    here = builder.load(height)
                    sums.write(builder.gep(stack_base, [builder.mul(here, _constant(size))]))
                    builder.store(builder.add(here, _constant(1)), height)
        return builder.load(height)

    index = types.intp
    return (
        types.intp(index, a, index, index, w, index, index, index, index, adds, stack, index, index),
        codegen,
    )
