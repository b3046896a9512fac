"""Numba kernels of ffmpi, one operation a file, each specified by `reference`; they import nothing from ffmpi.

A name is imported from its file when it is first used, so that Numba is loaded only where something is computed.
"""

from __future__ import annotations

from importlib import import_module
from sys import modules
from types import ModuleType
from typing import TYPE_CHECKING, Any

# ruff: noqa: F401
if TYPE_CHECKING:
    from .augment import compose_moved
    from .backward import backward
    from .batch_norm import batch_norm, batch_norm_backward, batch_statistics
    from .compiled import DIGEST, cache_problem, compiled_here
    from .compose import compose, pairs
    from .constants import ADAM, LANES, LION, NESTEROV, NEUTRAL, SGD
    from .dropout import dropout
    from .forward import forward, forward_parallel
    from .goodness_loss import goodness_loss, ranked
    from .groups import group_backward, group_means
    from .labels import forward_labelled, forward_labelled_parallel
    from .logits import complete_logits, logits
    from .panels import padded_rows, panels_of, to_panels, zeros
    from .peers import peer_gradient, peer_means
    from .powers import exponentials
    from .precompile import compile_all, compile_each
    from .rows import copy_rows, from_panels
    from .scale import row_scale, row_scale_labelled
    from .similarity import gram, similarity_backward, similarity_loss
    from .softmax import softmax
    from .sparse import DENSE, Memory, Nonzeros
    from .threads import available_threads, use_threads
    from .tree import add_nodes, add_panels
    from .update import (
        ACCUMULATE,
        NO_LABELS,
        LabelArguments,
        adam_constants,
        lion_constants,
        sgd_constants,
        step_along,
        step_vector,
        update,
        update_parallel,
    )

#: What each file has for others.
_FILES = {
    "augment": ["compose_moved"],
    "backward": ["backward"],
    "batch_norm": ["batch_norm", "batch_norm_backward", "batch_statistics"],
    "compiled": ["DIGEST", "cache_problem", "compiled_here"],
    "compose": ["compose", "pairs"],
    "constants": ["ADAM", "LANES", "LION", "NESTEROV", "NEUTRAL", "SGD"],
    "dropout": ["dropout"],
    "forward": ["forward", "forward_parallel"],
    "goodness_loss": ["goodness_loss", "ranked"],
    "groups": ["group_backward", "group_means"],
    "labels": ["forward_labelled", "forward_labelled_parallel"],
    "logits": ["complete_logits", "logits"],
    "panels": ["padded_rows", "panels_of", "to_panels", "zeros"],
    "peers": ["peer_gradient", "peer_means"],
    "powers": ["exponentials"],
    "precompile": ["compile_all", "compile_each"],
    "rows": ["copy_rows", "from_panels"],
    "scale": ["row_scale", "row_scale_labelled"],
    "similarity": ["gram", "similarity_backward", "similarity_loss"],
    "softmax": ["softmax"],
    "sparse": ["DENSE", "Memory", "Nonzeros"],
    "threads": ["available_threads", "use_threads"],
    "tree": ["add_nodes", "add_panels"],
    "update": [
        "ACCUMULATE",
        "NO_LABELS",
        "LabelArguments",
        "adam_constants",
        "lion_constants",
        "sgd_constants",
        "step_along",
        "step_vector",
        "update",
        "update_parallel",
    ],
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}

__all__ = sorted(_FILE_OF)


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_FILE_OF[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILE_OF})


class _Package(ModuleType):
    """Importing a file makes it an attribute of the package: it must not hide the function of the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in _FILE_OF):
            super().__setattr__(name, value)


modules[__name__].__class__ = _Package
