"""ffmpi: Forward-Forward networks whose layers live on MPI ranks.

`fit` trains on arrays, `load` reads what a run has left; both return a `TrainedNetwork`. A configuration is a `Config`
of the tables beside it. The import starts no MPI and compiles nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api.estimator import ForwardForwardClassifier as ForwardForwardClassifier
    from .api.fit import fit as fit
    from .api.settings import Checkpoint as Checkpoint
    from .api.settings import Classify as Classify
    from .api.settings import Config as Config
    from .api.settings import Data as Data
    from .api.settings import Head as Head
    from .api.settings import LearningRate as LearningRate
    from .api.settings import Negatives as Negatives
    from .api.settings import Network as Network
    from .api.settings import Optimizer as Optimizer
    from .api.settings import Rule as Rule
    from .api.settings import Schedule as Schedule
    from .api.settings import Shards as Shards
    from .api.settings import Train as Train
    from .api.settings import read_config as read_config
    from .api.trained import TrainedNetwork as TrainedNetwork
    from .api.trained import load as load
    from .api.warning import FfmpiWarning as FfmpiWarning
    from .errors import UserError as UserError

_PLACES = {
    ".errors": ["UserError"],
    ".api.warning": ["FfmpiWarning"],
    ".api.fit": ["fit"],
    ".api.trained": ["TrainedNetwork", "load"],
    ".api.estimator": ["ForwardForwardClassifier"],
    ".api.settings": [
        "Checkpoint", "Classify", "Config", "Data", "Head", "LearningRate", "Negatives", "Network", "Optimizer", "Rule",
        "Schedule", "Shards", "Train", "read_config",
    ],
}  # fmt: skip
_PLACE_OF = {name: module for module, names in _PLACES.items() for name in names}
__all__ = ["__version__", *sorted(_PLACE_OF)]


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _PLACE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_PLACE_OF[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return __all__
