"""ffmpi from Python, in one process: training, asking, saving, and what is refused."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ffmpi
from ffmpi.data import load
from ffmpi.run.checkpoint import reading
from ffmpi.run.trace import Trace
from tests.helpers import arrays

CONFIG = ffmpi.Config(
    network=ffmpi.Network(layers=[40, 30]),
    optimizer=ffmpi.Optimizer("adam", learning_rate=0.01),
    train=ffmpi.Train(epochs=8, batch_size=20),
)


def samples(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures (count, 6, 6) uint8 of 3 classes, each with a bright corner of its own."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    images = random.integers(0, 120, (count, 6, 6), dtype=np.uint8)
    for k, (row, column) in enumerate([(0, 0), (0, 3), (3, 0)]):
        images[labels == k, row : row + 3, column : column + 3] += 100
    return images, labels


IMAGES, LABELS = samples(300)
TEST = samples(60, seed=2)


@pytest.fixture(scope="module")
def network() -> ffmpi.TrainedNetwork:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ffmpi.fit(IMAGES, LABELS, CONFIG, test=TEST)


def test_the_import_starts_and_compiles_nothing() -> None:
    code = (
        "import sys, ffmpi; ffmpi.UserError; assert 'fit' in dir(ffmpi); "
        "print([m for m in ('mpi4py', 'numba', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in ffmpi.__all__:
        assert getattr(ffmpi, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fits'"):
        ffmpi.fits  # noqa: B018


def test_it_learns_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    network = ffmpi.fit(IMAGES, LABELS, CONFIG)
    assert capfd.readouterr() == ("", "")
    assert min(network.evaluate(*TEST).values()) > 90


def test_what_it_printed_if_it_was_asked(capfd: pytest.CaptureFixture[str]) -> None:
    ffmpi.fit(IMAGES, LABELS, CONFIG, verbose=True)
    told = capfd.readouterr().out
    assert "memory: 300 training and 0 test samples, 36 pixels, 3 classes" in told
    assert "epoch 8/8" in told


def test_the_history_has_a_record_a_chapter(network: ffmpi.TrainedNetwork) -> None:
    assert [record["epoch"] for record in network.history] == list(range(1, 9))
    last = network.history[-1]
    assert last["accuracy"]["softmax"] == network.evaluate(*TEST)["softmax"]
    assert len(last["layers"]) == 2 and last["layers"][1]["loss"] < network.history[0]["layers"][1]["loss"]


def test_the_frame_has_a_column_for_each_number(network: ffmpi.TrainedNetwork) -> None:
    pandas = pytest.importorskip("pandas")
    frame = network.frame()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 8
    assert frame["layers.2.loss"].iloc[-1] == network.history[-1]["layers"][1]["loss"]


def test_without_pandas_a_frame_is_refused(network: ffmpi.TrainedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ffmpi.UserError, match="pip install pandas"):
        network.frame()


def test_answers_agree_with_one_another(network: ffmpi.TrainedNetwork) -> None:
    images, labels = TEST
    for method in network.methods:
        scores = network.scores(images, method)
        assert scores.shape == (60, 3) and scores.dtype == np.float32
        np.testing.assert_array_equal(network.predict(images, method), scores.argmax(axis=1))
        share = network.predict_proba(images, method)
        np.testing.assert_allclose(share.sum(axis=1), 1)
        np.testing.assert_array_equal(share.argmax(axis=1), scores.argmax(axis=1))
        accuracy = 100 * np.mean(scores.argmax(axis=1) == labels)
        assert network.evaluate(images, labels)[method] == pytest.approx(accuracy)
    # Goodness tells classes by all layers but the first, here the second.
    goodness = np.stack([network.goodness(images, np.full(60, k))[:, 1] for k in range(3)], axis=1)
    np.testing.assert_array_equal(goodness, network.scores(images, "goodness"))
    shown = network.activations(images, 2, labels)
    np.testing.assert_allclose(np.square(shown).sum(axis=1), network.goodness(images, labels)[:, 1], rtol=1e-5)
    assert network.activations(images, 1).shape == (60, 40)
    assert network.predict(images[:0]).shape == (0,)


def test_a_checkpoint_is_written_read_copied_and_pickled(network: ffmpi.TrainedNetwork, tmp_path: Path) -> None:
    network.save(tmp_path / "one.h5")
    loaded = ffmpi.load(tmp_path / "one.h5")
    loaded.save(tmp_path / "two.h5")
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    with reading(tmp_path / "one.h5") as reader:
        reader.check()
        assert reader.header.chapter == 8 and reader.header.names == ("0", "1", "2")
    expected = network.scores(TEST[0])
    for other in (loaded, pickle.loads(pickle.dumps(network)), pickle.loads(pickle.dumps(loaded))):
        np.testing.assert_array_equal(other.scores(TEST[0]), expected)
        assert other.parameters.keys() == network.parameters.keys()
        assert other.classes == network.classes and other.config == network.config
    network.save(tmp_path / "one.h5")  # over the old one
    np.testing.assert_array_equal(ffmpi.load(str(tmp_path / "one.h5")).scores(TEST[0]), expected)
    with pytest.raises(ffmpi.UserError, match="expected a copy of that file"):
        pickle.loads(pickle.dumps(loaded)).save(tmp_path / "three.h5")


def test_a_run_directory_is_that_of_a_run(tmp_path: Path) -> None:
    network = ffmpi.fit(IMAGES, LABELS, CONFIG, test=TEST, run=tmp_path / "run", classes=["a", "b", "c"], trace=True)
    loaded = ffmpi.load(tmp_path / "run")
    assert loaded.history == network.history and loaded.classes == ("a", "b", "c")
    for name, value in network.parameters.items():
        np.testing.assert_array_equal(arrays(tmp_path / "run")[name], value, err_msg=name)
    with pytest.raises(ffmpi.UserError, match="holds a run already"):
        ffmpi.fit(IMAGES, LABELS, CONFIG, run=tmp_path / "run")
    with pytest.raises(ffmpi.UserError, match="arrays of a Python program, which are gone"):
        load("memory", None, "train")
    assert Trace.read(tmp_path / "run").complete
    with pytest.raises(ffmpi.UserError, match="trace = True: is written into the run directory; expected run = DIR"):
        ffmpi.fit(IMAGES, LABELS, CONFIG, trace=True)


def test_a_callback_ends_the_training_after_its_chapter() -> None:
    heard: list[int] = []

    def enough(record: dict[str, Any]) -> bool:
        heard.append(record["epoch"])
        return record["epoch"] == 3

    network = ffmpi.fit(IMAGES, LABELS, CONFIG, callbacks=[enough, lambda record: None])
    assert heard == [1, 2, 3] == [record["epoch"] for record in network.history]
    # The learning rate has been constant so far, in this run and in a longer one.
    longer = {"network": CONFIG.network, "optimizer": CONFIG.optimizer, "train": CONFIG.train | {"epochs": 80}}
    whole = ffmpi.fit(IMAGES, LABELS, longer, callbacks=lambda record: record["epoch"] == 3)
    for name, value in network.parameters.items():
        np.testing.assert_array_equal(whole.parameters[name], value, err_msg=name)


def test_an_error_of_a_callback_comes_out_and_nothing_is_left_behind() -> None:
    def fail(record: dict[str, Any]) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        ffmpi.fit(IMAGES, LABELS, CONFIG, callbacks=fail)
    assert ffmpi.fit(IMAGES, LABELS, CONFIG, callbacks=lambda record: True).history


def test_a_ctrl_c_is_a_keyboard_interrupt() -> None:
    import os
    import signal

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        ffmpi.fit(IMAGES, LABELS, CONFIG, callbacks=lambda record: os.kill(os.getpid(), signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is before
    assert len(ffmpi.fit(IMAGES, LABELS, CONFIG).history) == 8


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((IMAGES, LABELS[:-1]), "has 300 images and 299 labels in train"),
        ((IMAGES, LABELS + 0.5), "has the value [012].5, expected whole numbers"),
        ((IMAGES, LABELS - 1), "has label -1, expected labels from 0"),
        ((IMAGES, np.zeros(300, int)), "expected 2 to|are of class|expected at least 2"),
        ((IMAGES[:0], LABELS[:0]), "is empty, expected at least one sample"),
        ((IMAGES.astype(object), LABELS), "Python objects"),
        ((np.full((300, 36), np.nan), LABELS), "NaN or infinite pixel"),
        ((IMAGES, LABELS, {"train": {"epoch": 3}}), r"unknown key 'train.epoch'; did you mean 'epochs'\?"),
        ((IMAGES, LABELS, {"train": {"epochs": 0}}), "train.epochs = 0: expected a whole number at least 1"),
        ((IMAGES, LABELS, {"rule": "godness"}), "expected one of 'goodness'"),
        ((IMAGES, LABELS, 3), "config: is int; expected ffmpi.Config, a dict, or the path"),
        ((IMAGES, LABELS, "nowhere.toml"), "nowhere.toml: cannot be read"),
        ((IMAGES, LABELS, {"checkpoint": {"best": True}, "data": {"validation": 30}}), "expected run = DIR beside it"),
    ],
)
def test_bad_input_is_a_user_error(arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(ffmpi.UserError, match=sentence):
        ffmpi.fit(*arguments)


def test_settings_are_checked_when_they_are_written() -> None:
    with pytest.raises(ffmpi.UserError, match="Network: unknown key 'layer'; did you mean 'layers'"):
        ffmpi.Network(layer=[3])
    with pytest.raises(ffmpi.UserError, match=r"Optimizer: unknown key 'learningrate'"):
        ffmpi.Optimizer("adam", learningrate=1)
    assert ffmpi.Train(epochs=3).epochs == 3 and ffmpi.Train(epochs=np.int64(3)) == ffmpi.Train(epochs=3)
    assert repr(CONFIG.train) == "{'epochs': 8, 'batch_size': 20}"
    with pytest.raises(AttributeError, match="was not given 'chapters'"):
        ffmpi.Train(epochs=3).chapters  # noqa: B018


def test_a_network_refuses_what_is_not_its_own(network: ffmpi.TrainedNetwork) -> None:
    for ask, sentence in (
        (lambda: network.predict(IMAGES[0]), r"of one image; expected \(n, ...\)"),
        (lambda: network.predict(IMAGES[:, :5]), r"expected \(6, 6\), as the network was trained on"),
        (lambda: network.scores(IMAGES, "all-layers"), "not this network's; expected 'softmax' or 'goodness'"),
        (lambda: network.activations(IMAGES, 3), "layer = 3: expected 1 to 2"),
        (lambda: network.goodness(IMAGES, LABELS + 1), "go from 1 to 3; expected 0 to 2"),
        (lambda: network.evaluate(IMAGES, LABELS[:4]), "are 4 for 300 images"),
        (lambda: ffmpi.load("nowhere"), "nowhere"),
    ):
        with pytest.raises(ffmpi.UserError, match=sentence):
            ask()  # type: ignore[no-untyped-call]


def test_warnings_are_pythons() -> None:
    unbalanced = np.r_[IMAGES, np.repeat(IMAGES[:1], 4000, 0)], np.r_[LABELS, np.repeat(LABELS[:1], 4000)]
    with pytest.warns(ffmpi.FfmpiWarning, match="always to say") as told:
        ffmpi.fit(*unbalanced, CONFIG, callbacks=lambda record: True)
    assert told[0].filename == __file__


def test_other_pixels_are_converted_with_a_warning(
    network: ffmpi.TrainedNetwork, capfd: pytest.CaptureFixture[str]
) -> None:
    images = TEST[0]
    with pytest.warns(ffmpi.FfmpiWarning, match="converted to uint8") as told:
        found = network.scores(images / 255)
    np.testing.assert_array_equal(found, network.scores(images))
    assert told[0].filename == __file__
    assert capfd.readouterr() == ("", "")


def test_a_network_is_exported(network: ffmpi.TrainedNetwork, tmp_path: Path) -> None:
    network.export(tmp_path / "out.npz", "goodness")
    assert "layers/1/weights" in np.load(tmp_path / "out.npz")
    with pytest.raises(ffmpi.UserError, match="is there already"):
        network.export(tmp_path / "out.npz")


def test_weights_are_repetitions_and_absences() -> None:
    """Of whole batches in order; and a wrong one is named."""
    whole = ffmpi.Config(
        network=ffmpi.Network(layers=[12]), rule=ffmpi.Rule("local-softmax"), data=ffmpi.Data(standardise="fixed"),
        train=ffmpi.Train(epochs=3, batch_size=300, shuffle=False),
    )  # fmt: skip
    weights = np.arange(len(LABELS)) % 3
    found, plain, expected = (
        ffmpi.fit(IMAGES[at], LABELS[at], whole, weights=each).parameters
        for at, each in ((slice(None), weights), (slice(None), None), (np.flatnonzero(weights == 1), None))
    )
    zeros = ffmpi.fit(IMAGES, LABELS, whole, weights=np.where(weights == 1, 0.5, 0)).parameters
    for name, array in expected.items():
        np.testing.assert_allclose(zeros[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
    assert any(np.abs(found[name] - array).max() > 1e-3 for name, array in plain.items())
    with pytest.raises(ffmpi.UserError, match="'train/weights': sample 4 has the weight -1"):
        ffmpi.fit(IMAGES, LABELS, whole, weights=np.where(np.arange(len(LABELS)) == 4, -1, 1))
    paired = {"rule": {"name": "local-error", "similarity": 0.5}}
    with pytest.raises(ffmpi.UserError, match=r"rule.similarity = 0.5: the similarity loss is of pairs of samples"):
        ffmpi.fit(IMAGES, LABELS, paired, weights=weights)
