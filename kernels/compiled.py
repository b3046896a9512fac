"""Compiling: what all kernels have in common, and a cache on disk that notices a change in any of their files.

No fault of the cache is fatal: a kernel that cannot be loaded is compiled, one that cannot be saved is compiled again
in the next process. `cache_problem` says that it was so.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)

_FILES = sorted(Path(__file__).parent.glob("*.py"))
DIGEST = hashlib.sha256(b"".join(file.read_bytes() for file in _FILES)).hexdigest()

_problems: list[str] = []
_compilations: list[str] = []


def cache_problem() -> str:
    """Return why kernels were compiled that could have been loaded, or could not be saved; empty if nothing is wrong.

    That every kernel is compiled once in its life is no problem.
    """
    return _problems[0] if _problems else ""


def compiled_here() -> bool:
    """Whether this process has compiled a kernel, which takes memory, and has not only loaded them."""
    return bool(_compilations)


class _CacheFile(IndexDataCacheFile):
    """Numba's files of one function, with a checksum each: code that a bad disk has changed must not run."""

    def _save_index(self, overloads: Any) -> None:
        # Numba's version comes first: its types may not be read by another one.
        with self._open_for_write(self._index_path) as file:
            file.write(_sealed(pickle.dumps((self._version, self._dump((self._source_stamp, overloads))))))

    def _load_index(self) -> Any:
        try:
            version, inner = pickle.loads(_opened(Path(self._index_path)))
            stamp, overloads = pickle.loads(inner) if version == self._version else (None, {})
        except FileNotFoundError:
            return {}
        except Exception as error:
            _problems.append(f"{self._index_path}: {_reason(error)}")
            return {}
        return overloads if stamp == self._source_stamp else {}

    def _save_data(self, name: str, data: Any) -> None:
        with self._open_for_write(self._data_path(name)) as file:
            file.write(_sealed(self._dump(data)))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(_opened(Path(self._data_path(name))))


def _sealed(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() + data


def _opened(path: Path) -> bytes:
    content = path.read_bytes()
    digest, data = content[:32], content[32:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError("damaged, so it is written anew")
    return data


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


class _HomeLocator(UserWideCacheLocator):
    """The user's cache directory; nothing where there is no home: Numba would make a directory called ~ where it is."""

    def ensure_cache_path(self) -> None:
        if not os.path.isabs(self._cache_path):
            raise OSError("no home directory")
        super().ensure_cache_path()


class _Impl(CompileResultCacheImpl):
    _locator_classes = (UserProvidedCacheLocator, InTreeCacheLocator, _HomeLocator)


class _Cache(FunctionCache):
    """Numba's cache of one function, whose faults are noted and not raised."""

    _impl_class = _Impl

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        # The name tells these files from those without a checksum.
        self._cache_file = _CacheFile(self._cache_path, self._impl.filename_base + ".sealed", DIGEST)

    def load_overload(self, *args: Any) -> Any:
        try:
            return super().load_overload(*args)
        except Exception as error:
            _problems.append(f"{self._cache_path}: {_reason(error)}")
            return None

    def save_overload(self, *args: Any) -> None:
        _compilations.append(self._name)
        try:
            super().save_overload(*args)
        except Exception as error:
            _problems.append(f"{self._cache_path}: {_reason(error)}")


def compiled(function: Any = None, **options: Any) -> Any:
    """Compile a kernel when it is first called, or load it from the cache; a decorator, with Numba's `options` if any.

    Numba asks only whether a function's own file has changed, but its code holds that of other files, too.
    """
    if function is None:
        return lambda function: compiled(function, **options)
    dispatcher = njit(nogil=True, **options)(function)
    try:
        dispatcher._cache = _Cache(function)
    except (RuntimeError, OSError):  # no directory that can be written to
        _problems.append("neither the installation nor the home directory can be written to")
        _compilations.append(function.__name__)
    return dispatcher
