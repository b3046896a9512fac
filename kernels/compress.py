"""Writing down the numbers that are not zero, one after the other, without a branch for each.

Eight numbers at a time: a mask says which of them are not zero, a table how a permutation brings these to the front.
Eight are written, and as many are kept as count: the next ones begin where those end. Machines without such a
permutation (AVX2 has one) write number after number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .simd import element
from .tile import features

_PERMUTES = "+avx2" in features
#: How many are permuted at a time, and as many are written.
EIGHT = 8

_INT, _INDEX = ir.IntType(32), ir.IntType(64)
_FLOATS, _WHICH = ir.VectorType(ir.FloatType(), EIGHT), ir.VectorType(_INT, EIGHT)
_SHORTS = ir.VectorType(ir.IntType(16), EIGHT)

#: For each mask of eight bits the places of those that are set, filled up with zeros; the same in words of 2 bytes.
ORDER = np.array([(*(k for k in range(8) if m >> k & 1), *[0] * (8 - m.bit_count())) for m in range(256)], np.int32)
SHORT_ORDER = ORDER.astype(np.uint16)


def _vector_at(builder: Any, kind: Any, place: Any) -> Any:
    return builder.bitcast(place, kind.as_pointer())


def _load(builder: Any, kind: Any, place: Any, align: int) -> Any:
    value = builder.load(_vector_at(builder, kind, place))
    value.align = align
    return value


def _store(builder: Any, value: Any, place: Any, align: int) -> None:
    builder.store(value, _vector_at(builder, value.type, place)).align = align


def _row_of(builder: Any, table: Any, bits: Any) -> Any:
    return builder.gep(table, [builder.mul(bits, ir.Constant(_INDEX, EIGHT))])


def _to_front(builder: Any, numbers: Any, order: Any) -> Any:
    """Permute eight numbers by the places `order`, or where no instruction does it take them one by one."""
    if _PERMUTES:
        kind = ir.FunctionType(_FLOATS, [_FLOATS, _WHICH])
        permute = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.permps")
        return builder.call(permute, [numbers, order])
    chosen = ir.Constant(_FLOATS, ir.Undefined)
    for i in range(EIGHT):
        place = builder.extract_element(order, ir.Constant(_INT, i))
        chosen = builder.insert_element(chosen, builder.extract_element(numbers, place), ir.Constant(_INT, i))
    return chosen


@intrinsic
def store_chosen(typingctx: Any, out: Any, n: Any, numbers: Any, index: Any, order: Any, bits: Any) -> Any:
    """Write those of ``numbers.flat[index : index + 8]`` of which `bits` are set to ``out.flat[n : n + 8]``.

    out, numbers : float32; order : `ORDER`. What is beyond those that are chosen is overwritten by no matter what.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, n, numbers, index, order, bits = args
        kinds = signature.args
        zero = ir.Constant(_INDEX, 0)
        which = _row_of(builder, element(context, builder, kinds[4], order, zero), bits)
        eight = _load(builder, _FLOATS, element(context, builder, kinds[2], numbers, index), 4)
        chosen = _to_front(builder, eight, _load(builder, _WHICH, which, 4))
        _store(builder, chosen, element(context, builder, kinds[0], out, n), 4)
        return context.get_dummy_value()

    return types.void(out, types.intp, numbers, types.intp, order, types.int64), codegen


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the columns of eight vectors of eight: of pairs, then of fours, then of halves."""

    def both(x: Any, y: Any, low: list[int], step: int) -> list[Any]:
        kinds = low, [k + step for k in low]
        return [builder.shuffle_vector(x, y, ir.Constant(_WHICH, places)) for places in kinds]

    pairs = [both(rows[i], rows[i + 1], [0, 8, 1, 9, 4, 12, 5, 13], 2) for i in (0, 2, 4, 6)]
    low, high = (
        [
            four
            for x, y in zip(pairs[i], pairs[i + 1], strict=True)
            for four in both(x, y, [0, 1, 8, 9, 4, 5, 12, 13], 2)
        ]
        for i in (0, 2)
    )
    halves = [both(x, y, [0, 1, 2, 3, 8, 9, 10, 11], 4) for x, y in zip(low, high, strict=True)]
    return [low for low, _ in halves] + [high for _, high in halves]


@intrinsic
def list_columns(
    typingctx: Any, a: Any, index: Any, rows: Any, first: Any, valid: Any, values: Any, places: Any, counts: Any,
    column: Any, pitch: Any, orders: Any,
) -> Any:  # fmt: skip
    """Append what is not zero in eight rows of sixteen lanes to lists of the first eight lanes' columns.

    Row i is ``a.flat[index + 16 rows[first + i]:]``; bit i of `valid` says that it counts. Column c, from `column` on,
    has its values (float32) and places first + i (uint16) from c x pitch on; `counts` (int64) says how many there are;
    eight may be written at once. orders : (`ORDER`, `SHORT_ORDER`)
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, start, _, first, valid, _, _, _, column, pitch, orders = args

        def at(position: int, place: Any) -> Any:
            return element(context, builder, signature.args[position], args[position], place)

        def constant(value: int) -> Any:
            return ir.Constant(_INDEX, value)

        order, short = (
            element(context, builder, kind, builder.extract_value(orders, n), constant(0))
            for n, kind in enumerate(signature.args[10].types)
        )
        vectors = []
        for i in range(EIGHT):
            row = builder.load(at(2, builder.add(first, constant(i))))
            place = builder.add(start, builder.mul(row, constant(16)))
            vectors.append(_load(builder, _FLOATS, at(0, place), 4))
        undefined = ir.Constant(_SHORTS, ir.Undefined)
        one = builder.insert_element(undefined, builder.trunc(first, ir.IntType(16)), ir.Constant(_INT, 0))
        begin = builder.shuffle_vector(one, undefined, ir.Constant(_WHICH, [0] * EIGHT))
        for i, numbers in enumerate(_transposed(builder, vectors)):
            differs = builder.fcmp_unordered("!=", numbers, ir.Constant(_FLOATS, [0.0] * EIGHT))
            bits = builder.and_(builder.zext(builder.bitcast(differs, ir.IntType(EIGHT)), _INDEX), valid)
            here = builder.add(column, constant(i))
            count = at(7, here)
            so_far = builder.load(count)
            n = builder.add(builder.mul(here, pitch), so_far)
            which = _load(builder, _WHICH, _row_of(builder, order, bits), 4)
            _store(builder, _to_front(builder, numbers, which), at(5, n), 4)
            those = _load(builder, _SHORTS, _row_of(builder, short, bits), 2)
            _store(builder, builder.add(those, begin), at(6, n), 2)
            builder.store(builder.add(so_far, builder.ctpop(bits)), count)
        return context.get_dummy_value()

    index = types.intp
    kinds = (a, index, rows, index, types.int64, values, places, counts, index, index, orders)
    return types.void(*kinds), codegen
