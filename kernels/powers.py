"""Powers from IEEE additions and multiplications alone.

A C library's differ in the last bit from one processor or release to another, and the bits of a run must not
(docs/design.md, section 8).
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiled import compiled

_LOG2_E = 1 / math.log(2)
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # ends in zeros, so that its product with a binary exponent is exact
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_ROUND = 1.5 * 2.0**52  # a number to which it is added is rounded, and its integer part is in the last bits of the sum
_C = tuple(1 / math.factorial(k) for k in range(14))


@intrinsic
def _bits(typing_context: Any, x: Any) -> Any:
    """Return the bits of a float64 as int64."""
    return types.int64(types.float64), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.IntType(64)
    )


@intrinsic
def _float(typing_context: Any, bits: Any) -> Any:
    """Return the float64 that has these bits."""
    return types.float64(types.int64), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.DoubleType()
    )


@compiled
def exp(x):  # type: ignore[no-untyped-def]
    """Return e to the power x <= 0, float64, within a unit in the last place; 0 below -708, and a NaN stays one.

    There is no branch and no call: LLVM makes vectors of a loop around it.
    """
    shifted = x * _LOG2_E + _ROUND
    exponent = shifted - _ROUND
    r = (x - exponent * _LN2_HIGH) - exponent * _LN2_LOW
    r2 = r * r
    r4 = r2 * r2
    low = (_C[2] + _C[3] * r) + (_C[4] + _C[5] * r) * r2
    middle = (_C[6] + _C[7] * r) + (_C[8] + _C[9] * r) * r2
    high = (_C[10] + _C[11] * r) + (_C[12] + _C[13] * r) * r2
    power = _float((_bits(shifted) + 1023) << 52) * (1.0 + (r + r2 * (low + r4 * (middle + r4 * high))))
    return 0.0 if x < -708.0 else power


@compiled
def exponentials(x):  # type: ignore[no-untyped-def]
    """Replace every element of x (n,) float64, at most 0, by its `exp`."""
    for i in range(len(x)):
        x[i] = exp(x[i])


@compiled
def power(base, exponent):  # type: ignore[no-untyped-def]
    """Return base to the power exponent, float64 and a nonnegative integer, by repeated squaring."""
    result = 1.0
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
