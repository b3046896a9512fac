"""The classifier keeps scikit-learn's rules, and works with what there is for its estimators."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import numpy as np
import pytest

import ffmpi

# To import it takes seconds, which only the worker that runs these tests is to spend.
pytestmark = pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed")


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def test_scikit_learns_checks_pass() -> None:
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samples that are made to be odd
        found = check_estimator(ffmpi.ForwardForwardClassifier(layers=(32, 32), epochs=5), on_skip=None)
    assert len(found) > 40
    assert {check["check_name"] for check in found if check["status"] == "failed"} == set()


def test_it_works_in_a_pipeline_with_validation_and_search(digits: tuple[np.ndarray, np.ndarray]) -> None:
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images, classes = digits
    names = np.array([f"digit {k}" for k in range(10)])[classes]
    pipeline = make_pipeline(
        StandardScaler(), ffmpi.ForwardForwardClassifier((60, 60), learning_rate=0.01, epochs=12, random_state=3)
    )
    assert cross_val_score(pipeline, images[:900], names[:900], cv=3).min() > 0.8
    search = GridSearchCV(pipeline, {"forwardforwardclassifier__epochs": [1, 12]}, cv=2)
    search.fit(images[:600], names[:600])
    assert search.best_params_ == {"forwardforwardclassifier__epochs": 12}
    assert search.score(images[900:], names[900:]) > 0.8
    network = search.best_estimator_[-1].network_
    assert network.classes == tuple(sorted(set(names)))


def test_settings_reach_the_configuration(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, classes = digits
    made = ffmpi.ForwardForwardClassifier(
        (20,), rule={"name": "goodness", "threshold": 0.5}, learning_rate=0.01, epochs=1, random_state=7,
        config={"train": {"batch_size": 16}, "learning_rate": "cosine", "network": {"init": "uniform"}},
    ).fit(images, classes)  # fmt: skip
    settled = made.network_.config
    assert (settled.seed, settled.rule.threshold, settled.train.batch_size) == (7, 0.5, 16)
    assert (settled.optimizer.name, settled.optimizer.learning_rate) == ("adam", 0.01)
    assert (settled.learning_rate.name, settled.network.init, settled.network.layers) == ("cosine", "uniform", [20])
    with pytest.raises(ffmpi.UserError, match=r"unknown key 'network\.width'"):
        ffmpi.ForwardForwardClassifier(config={"network": {"width": 3}}).fit(images, classes)
