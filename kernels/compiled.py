"""Compiling: what all kernels have in common, and a cache on disk that notices a change in any of their files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from numba import njit

_FILES = sorted(Path(__file__).parent.glob("*.py"))
_DIGEST = hashlib.sha256(b"".join(file.read_bytes() for file in _FILES)).hexdigest()


def compiled(function: Any = None, **options: Any) -> Any:
    """Compile a kernel when it is first called, or load it from the cache; a decorator, with Numba's `options` if any.

    Numba asks only whether a function's own file has changed, but its code holds that of other files, too.
    """
    if function is None:
        return lambda function: compiled(function, **options)
    dispatcher = njit(nogil=True, cache=True, **options)(function)
    dispatcher._cache._cache_file._source_stamp = _DIGEST
    return dispatcher
