"""Numba's own environment variables: those with which no kernel can be compiled are one sentence."""

from __future__ import annotations

import os
import tempfile
import warnings

from ..errors import UserError


def check() -> None:
    """Import Numba; UserError if its variables do not let it compile or start its threads.

    For commands that compute, before they import the kernels: every rank finds the same fault before MPI starts.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            import numba
        except Exception as error:
            raise UserError(f"Numba cannot start ({_line(error)}); {_named()}") from None
    for warning in caught:
        if str(warning.message).startswith("Environment variable"):  # the value is ignored, and why fills a page
            raise UserError(f"{_line(warning.message)}; {_named()}")
    if numba.config.DISABLE_JIT:
        raise UserError("NUMBA_DISABLE_JIT is set: expected it unset, since ffmpi's kernels have to be compiled")
    _check_processor()
    try:
        numba.get_num_threads()  # starts the threading layer
    except Exception as error:
        raise UserError(f"Numba cannot start ({_line(error)}); {_named()}") from None


def _line(error: object) -> str:
    """Return the first line of a message, without its full stop."""
    return (str(error).strip().splitlines() or [""])[0].rstrip(".")


def _named() -> str:
    """Name Numba's variables that are set: one of them is the reason."""
    found = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("NUMBA_")]
    return f"expected another value, or none, for {', '.join(found)}" if found else "expected a working installation"


def _check_processor() -> None:
    """Refuse a target that LLVM does not know or this machine cannot run: LLVM would end the process, or its code."""
    from llvmlite import binding
    from numba.core import config

    known = binding.get_host_cpu_features()
    for feature in filter(None, (config.CPU_FEATURES or "").split(",")):
        name = feature[1:]
        if feature[0] not in "+-" or name not in known or (feature[0] == "+" and not known[name]):
            raise UserError(
                f"NUMBA_CPU_FEATURES: {feature!r} is no feature of this processor; expected a list such as "
                "+avx2,-avx512f"
            )
    if config.CPU_NAME not in (None, "", "host", "generic") and not _knows(config.CPU_NAME):
        raise UserError(
            f"NUMBA_CPU_NAME={config.CPU_NAME}: LLVM knows no such processor; expected 'host', 'generic', or a name "
            f"such as {binding.get_host_cpu_name()!r}, this machine's"
        )


def _knows(processor: str) -> bool:
    """Whether LLVM knows `processor`: of another one it says so on file descriptor 2, and continues."""
    from llvmlite import binding

    binding.initialize_native_target()
    with tempfile.TemporaryFile() as output:
        kept = os.dup(2)
        os.dup2(output.fileno(), 2)
        try:
            binding.Target.from_default_triple().create_target_machine(cpu=processor)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        output.seek(0)
        return b"not a recognized processor" not in output.read()
