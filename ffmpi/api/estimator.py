"""A classifier after the rules of scikit-learn's estimators, for its pipelines and searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .fit import fit
from .settings import plain
from .trained import TrainedNetwork

#: Of a seed that is drawn from a random state.
_SEEDS = 2**31


class ForwardForwardClassifier(ClassifierMixin, BaseEstimator):
    """A Forward-Forward network on rows of features.

    layers : each layer's units
    rule, optimizer : names of a learning rule and an optimiser, or tables with their settings
    learning_rate : of the layers' optimiser; None: its default
    epochs, batch_size : as in table [train]
    method : how classes are told; None: the rule's first way
    config : further settings, a dict of tables as `ffmpi.Config` takes them
    random_state : seed, RandomState or None, as everywhere in scikit-learn
    verbose : whether to print what ``ffmpi train`` prints

    After `fit` there are `classes_`, `n_features_in_` and `network_`, the `ffmpi.TrainedNetwork`.
    """

    def __init__(
        self, layers: Sequence[int] = (200, 200), *, rule: Any = "goodness", optimizer: Any = "adam",
        learning_rate: float | None = None, epochs: int = 60, batch_size: int = 32, method: str | None = None,
        config: Mapping[str, Any] | None = None, random_state: Any = None, verbose: bool = False,
    ) -> None:  # fmt: skip
        self.layers = layers
        self.rule = rule
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.method = method
        self.config = config
        self.random_state = random_state
        self.verbose = verbose

    network_: TrainedNetwork
    classes_: np.ndarray

    def _configuration(self) -> dict[str, Any]:
        """Return the tables that the arguments stand for, those of `config` last."""
        state = self.random_state
        seed = state if isinstance(state, int | np.integer) else check_random_state(state).randint(_SEEDS)
        optimizer = plain(self.optimizer)
        optimizer = {"name": optimizer} if isinstance(optimizer, str) else dict(optimizer)
        if self.learning_rate is not None:
            optimizer["learning_rate"] = self.learning_rate
        tables: dict[str, Any] = {
            "seed": int(seed),
            "network": {"layers": plain(list(self.layers))},
            "rule": plain(self.rule),
            "optimizer": optimizer,
            "head": {"optimizer": optimizer},
            "train": {"epochs": self.epochs, "batch_size": self.batch_size},
        }
        for name, table in plain(self.config or {}).items():
            own = tables.get(name)
            tables[name] = {**own, **table} if isinstance(own, dict) and isinstance(table, dict) else table
        return tables

    def fit(self, X: Any, y: Any) -> ForwardForwardClassifier:
        """Train on rows X (samples, features) and their classes y (samples,), of any kind."""
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        encoder = LabelEncoder().fit(y)
        self.classes_ = encoder.classes_
        if len(self.classes_) < 2:
            raise ValueError(f"Classifier can't train when only one class is present: {self.classes_[0]!r}")
        names = [str(name) for name in self.classes_]
        names = names if len(set(names)) == len(names) else []
        self.network_ = fit(X, encoder.transform(y), self._configuration(), classes=names, verbose=self.verbose)
        self.network_.converts = False  # features are no pixels
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return (samples, classes); see `TrainedNetwork.predict_proba`."""
        rows = self._rows(X)
        return self.network_.predict_proba(rows, self.method)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each row."""
        rows = self._rows(X)
        found: np.ndarray = self.classes_[self.network_.predict(rows, self.method)]
        return found

    def _rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        rows: np.ndarray = validate_data(self, X, reset=False, dtype=np.float32)
        return rows
