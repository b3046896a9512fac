"""Powers from IEEE additions and multiplications alone.

A C library's differ in the last bit from one processor or release to another, and the bits of a run must not.
"""

from __future__ import annotations

import math

import numpy as np

from .compiled import compiled

_LOG2_E = 1 / math.log(2)
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # ends in zeros, so that its product with a binary exponent is exact
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_SERIES = tuple(1 / math.factorial(k) for k in range(13, 1, -1))


@compiled
def exp(x):  # type: ignore[no-untyped-def]
    """Return e to the power x <= 0, float64, within one unit in the last place; a NaN stays one."""
    if x < -746.0:
        return 0.0
    if math.isnan(x):
        return x
    exponent = math.floor(x * _LOG2_E + 0.5)
    r = (x - exponent * _LN2_HIGH) - exponent * _LN2_LOW
    series = 0.0
    for factor in _SERIES:
        series = series * r + factor
    return math.ldexp(1.0 + (r + r * r * series), int(exponent))


@compiled
def exponentials(x):  # type: ignore[no-untyped-def]
    """Return `exp` of every element of x (rows, columns) float64, each at most 0."""
    result = np.empty_like(x)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            result[row, column] = exp(x[row, column])
    return result


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
