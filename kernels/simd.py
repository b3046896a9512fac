"""Explicit vectors for Numba: sixteen float32 lanes as one value.

LLVM splits a vector of sixteen lanes into what the machine has (one AVX-512 register, two AVX, four NEON or SSE), so
one source serves every target and, since no lane depends on another, gives the same bits on all of them.
Elements are addressed by a flat index from the start of a C-contiguous float32 array.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from .constants import LANES

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)


class VectorType(types.Type):
    """The Numba type of a vector of `LANES` float32."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """A vector is one LLVM value."""

    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _VECTOR)


vector = VectorType()


# -- LLVM builders, also used by tile.py ------------------------------------------------------------------------------
def element(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Return the address of the element at flat `index` of an array or `pointer`, with no test for negative ones."""
    if isinstance(array_type, types.CPointer):
        return builder.gep(array, [index])
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def build_load(builder: Any, pointer: Any) -> Any:
    """Load a vector that is aligned to a float32 only (arrays are allocated aligned, sub-arrays need not be)."""
    value = builder.load(builder.bitcast(pointer, _VECTOR.as_pointer()))
    value.align = 4
    return value


def build_store(builder: Any, value: Any, pointer: Any) -> None:
    """Store a vector."""
    builder.store(value, builder.bitcast(pointer, _VECTOR.as_pointer())).align = 4


def build_splat(builder: Any, scalar: Any) -> Any:
    """Copy one float32 into every lane."""
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


def build_call(builder: Any, name: str, *args: Any) -> Any:
    """Call an LLVM intrinsic on vectors (llvmlite's own ``builder.fma`` takes scalars only)."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), args)


def build_prefetch(builder: Any, pointer: Any, locality: int = 3) -> None:
    """Ask for the cache line at `pointer`: into the first-level cache, or with locality 2 into the second."""
    byte_pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte_pointer, _INT, _INT, _INT])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, near, data = (ir.Constant(_INT, value) for value in (0, locality, 1))
    builder.call(function, [builder.bitcast(pointer, byte_pointer), read, near, data])


# -- What kernels call ------------------------------------------------------------------------------------------------
@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """Return ``array.flat[index : index + LANES]`` as a vector."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return build_load(builder, element(context, builder, signature.args[0], *args))

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to ``array.flat[index : index + LANES]``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        build_store(builder, args[2], element(context, builder, signature.args[0], *args[:2]))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line at ``array.flat[index]``, which may lie beyond the array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        build_prefetch(builder, element(context, builder, signature.args[0], *args))
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


@intrinsic
def splat(typingctx: Any, scalar: Any) -> Any:
    """Return a vector with `scalar` in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return build_splat(builder, args[0])

    return vector(types.float32), codegen


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """Return the address of an array: unlike the array it is handed on without counting references."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def load_splat(typingctx: Any, array: Any, index: Any) -> Any:
    """Return a vector with ``array.flat[index]`` in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return build_splat(builder, builder.load(element(context, builder, signature.args[0], *args)))

    return vector(array, types.intp), codegen


def _elementwise(arguments: int, build: Any) -> Any:
    """Make an intrinsic of `arguments` vectors whose lanes do not meet."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return build(builder, *args)

    def one(typingctx: Any, x: Any) -> Any:
        return vector(vector), emit

    def two(typingctx: Any, x: Any, y: Any) -> Any:
        return vector(vector, vector), emit

    def three(typingctx: Any, x: Any, y: Any, z: Any) -> Any:
        return vector(vector, vector, vector), emit

    return intrinsic((one, two, three)[arguments - 1])


def _relu(builder: Any, x: Any) -> Any:
    # "x < 0 ? 0 : x" keeps a NaN, which a maximum would turn into zero.
    zero = ir.Constant(_VECTOR, [0.0] * LANES)
    return builder.select(builder.fcmp_ordered("<", x, zero), zero, x)


def _flush(builder: Any, x: Any) -> Any:
    smallest_normal = ir.Constant(_VECTOR, [2.0**-126] * LANES)
    denormal = builder.fcmp_ordered("<", build_call(builder, "fabs", x), smallest_normal)
    return builder.select(denormal, ir.Constant(_VECTOR, [0.0] * LANES), x)


def _where_positive(builder: Any, x: Any, y: Any) -> Any:
    zero = ir.Constant(_VECTOR, [0.0] * LANES)
    return builder.select(builder.fcmp_ordered("<=", x, zero), zero, y)


def _sign(builder: Any, x: Any) -> Any:
    # A zero, of either sign, and a NaN stay what they are.
    magnitude = build_call(builder, "copysign", ir.Constant(_VECTOR, [1.0] * LANES), x)
    return builder.select(builder.fcmp_ordered("!=", x, ir.Constant(_VECTOR, [0.0] * LANES)), magnitude, x)


add = _elementwise(2, lambda builder, x, y: builder.fadd(x, y))
sub = _elementwise(2, lambda builder, x, y: builder.fsub(x, y))
mul = _elementwise(2, lambda builder, x, y: builder.fmul(x, y))
div = _elementwise(2, lambda builder, x, y: builder.fdiv(x, y))
fma = _elementwise(3, lambda builder, x, y, z: build_call(builder, "fma", x, y, z))
sqrt = _elementwise(1, lambda builder, x: build_call(builder, "sqrt", x))
relu = _elementwise(1, _relu)
flush = _elementwise(1, _flush)
sign = _elementwise(1, _sign)
where_positive = _elementwise(2, _where_positive)  # y where x is positive or NaN, otherwise zero


@intrinsic
def nonzero_lanes(typingctx: Any, x: Any) -> Any:
    """Return an integer whose bit i says that lane i is not zero; a NaN is not."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        differs = builder.fcmp_unordered("!=", args[0], ir.Constant(_VECTOR, [0.0] * LANES))
        return builder.zext(builder.bitcast(differs, ir.IntType(LANES)), ir.IntType(64))

    return types.int64(vector), codegen


@intrinsic
def store_bytes(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write the eight bytes of a uint64, the lowest first, to ``array.flat[index : index + 8]`` of uint8."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = element(context, builder, signature.args[0], *args[:2])
        builder.store(args[2], builder.bitcast(place, ir.IntType(64).as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(array, types.intp, types.uint64), codegen


@intrinsic
def horizontal_sum(typingctx: Any, x: Any) -> Any:
    """Return the sum of the lanes, halves first (8 + 8, 4 + 4, ...): one order on every machine."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            low, high = (ir.Constant(ir.VectorType(_INT, width), list(range(s, s + width))) for s in (0, width))
            undefined = ir.Constant(value.type, ir.Undefined)
            value = builder.fadd(
                builder.shuffle_vector(value, undefined, low), builder.shuffle_vector(value, undefined, high)
            )
        return builder.extract_element(value, ir.Constant(_INT, 0))

    return types.float32(vector), codegen
