"""The commands as a user starts them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from ffmpi import data
from ffmpi.run import trained
from tests.conftest import Run
from tests.helpers import DIGITS, records, scores_by_numpy, sets

pytestmark = pytest.mark.mpi


@pytest.fixture
def finished(train_once) -> Path:
    """Return the one run that these tests look at."""
    return train_once("run", 2, "--set", "train.epochs=5")


def test_digits_reach_their_accuracy(ffmpi: Run, tmp_path: Path) -> None:
    done = ffmpi(2, "train", DIGITS, "--run", tmp_path / "run", "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["epoch"] for record in told] == list(range(1, 61))
    assert told == records(tmp_path / "run")
    assert told[-1]["accuracy"]["softmax"] >= 98 and told[-1]["accuracy"]["goodness"] >= 97
    for rank in told[-1]["ranks"]:
        assert 0.5 * rank["priced_bytes"] <= rank["peak_bytes"] <= rank["priced_bytes"]
        assert rank["gflops"] > 0 and 0 <= rank["waiting_share"] < 1


def test_train_tells_what_each_rank_does(finished: Path, ffmpi: Run, tmp_path: Path) -> None:
    done = ffmpi(3, "train", DIGITS, "--run", tmp_path / "run", "--set", "train.epochs=2")
    for rank in range(3):
        assert f"rank {rank} on " in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    assert "left" in lines[0] and "samples/s" in lines[0] and "waiting" in lines[0] and "GFLOP/s" in lines[0]
    assert {path.name for path in (tmp_path / "run").iterdir()} - {"plan.json"} == {
        "checkpoint.h5", "config.toml", "environment.json", "lock", "metrics.jsonl",
    }  # fmt: skip
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["ranks"] == 3


def test_default_run_directory_is_named_for_the_recipe(ffmpi: Run, tmp_path: Path) -> None:
    ffmpi(1, "train", DIGITS, "--set", "train.epochs=1")
    assert [path.name.split("-")[0] for path in (tmp_path / "results").iterdir()] == ["digits"]


def test_evaluate_measures_what_training_measured(finished: Path, ffmpi: Run) -> None:
    last = records(finished)[-1]
    alone, together = (ffmpi(ranks, "evaluate", finished, "--json").stdout for ranks in (0, 4))
    assert alone == together
    measured = json.loads(together)
    assert measured["accuracy"] == last["accuracy"]
    assert measured["samples"] == 360
    test = np.bincount(data.load("digits", None, "test").classes)
    for method, accuracy in measured["accuracy"].items():
        table, of_classes = np.array(measured["confusion"][method]), measured["class_accuracy"][method]
        np.testing.assert_array_equal(table.sum(axis=1), test)
        np.testing.assert_allclose(100 * table.diagonal() / test, of_classes)
        assert 100 * table.trace() / 360 == pytest.approx(accuracy) and table.trace() < 360


def test_evaluate_prints_each_class(finished: Path, ffmpi: Run) -> None:
    lines = ffmpi(2, "evaluate", finished, "--confusion").stdout.splitlines()
    assert lines[1].split() == ["class", "samples", "softmax", "goodness"] and lines[12] == ""
    assert lines[14] == "true \\ predicted" + "".join(f"{digit:4}" for digit in range(10))
    for column, (method, first) in enumerate((("softmax", 13), ("goodness", 26))):
        assert lines[first] == f"{method}:"
        table = np.array([line.split()[1:] for line in lines[first + 2 : first + 12]], np.int64)
        assert 100 * table.trace() / 360 == pytest.approx(records(finished)[-1]["accuracy"][method])
        for digit, line in enumerate(lines[2:12]):
            assert line.split()[:2] == [str(digit), str(table[digit].sum())]
            assert float(line.split()[2 + 2 * column]) == pytest.approx(
                100 * table[digit, digit] / table[digit].sum(), abs=0.005
            )


SWAPPED = """
import shutil, sys
from ffmpi.runtime import setup
from ffmpi.__main__ import main
other, prepare = sys.argv.pop(), setup.prepare_kernels
def swap(*args):
    shutil.copy(other, sys.argv[2])
    prepare(*args)
setup.prepare_kernels = swap
main()
"""


def test_a_checkpoint_replaced_while_it_is_read_is_refused(
    finished: Path, train_once, run: Run, tmp_path: Path
) -> None:
    shutil.copy(finished / "checkpoint.h5", tmp_path / "now.h5")
    other = train_once("shorter", 1, "--set", "train.epochs=1") / "checkpoint.h5"
    done = run(0, "-c", SWAPPED, "evaluate", "now.h5", other)
    assert done.returncode == 2 and "now.h5: was replaced" in done.stderr and done.stdout == ""


def test_evaluate_by_the_goodness_of_chosen_layers(finished: Path, ffmpi: Run) -> None:
    results = [
        json.loads(ffmpi(0, "evaluate", finished, "--json", *sets(f"classify.goodness_layers={layers}")).stdout)
        for layers in ("[2,3]", "[3]")
    ]
    last = records(finished)[-1]["accuracy"]
    assert results[0]["accuracy"] == last and results[1]["accuracy"]["softmax"] == last["softmax"]
    assert results[1]["accuracy"]["goodness"] != last["goodness"] > 50


def test_evaluate_layer_by_layer(finished: Path, ffmpi: Run) -> None:
    """The same on any number of ranks, and by goodness as with `classify.goodness_layers`."""
    alone, together = (ffmpi(ranks, "evaluate", finished, "--by-layer", "--json").stdout for ranks in (0, 2))
    assert alone == together
    found = json.loads(alone)
    assert found["accuracy"] == records(finished)[-1]["accuracy"] and len(found["layers"]) == 3
    third = ffmpi(0, "evaluate", finished, "--json", *sets("classify.goodness_layers=[3]")).stdout
    assert json.loads(third)["accuracy"]["goodness"] == found["layers"][2]["accuracy"]["goodness"]
    network, test = trained.load(str(finished))[1], data.load("digits", None, "test")
    for index, layer in enumerate(found["layers"]):
        assert layer["accuracy"].keys() == ({"goodness", "softmax"} if index else {"goodness"})
        h = network.activations(test.images, index, test.classes.astype(np.int64))
        p = np.linalg.svd(h.astype(float), compute_uv=False)
        p = p[p > 0] / p.sum()
        assert layer["effective_rank"] == pytest.approx(np.exp(-np.sum(p * np.log(p))), rel=1e-4)
        assert layer["dead_units"] == (h <= 0).all(axis=0).mean()
    lines = ffmpi(0, "evaluate", finished, "--by-layer").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["layer", "1", "2", "3"]


def predicted(ffmpi: Run, ranks: int, run: Path, method: str) -> tuple[str, float]:
    """Return what `predict` says of the test digits, and how many percent it classifies rightly."""
    test, images = data.load("digits", None, "test"), run.parent / "images.h5"
    assert test.images is not None
    with h5py.File(images, "w") as file:
        file["images"] = test.images.reshape(-1, 8, 8)
    done = ffmpi(ranks, "predict", run, images, "--method", method, "--json")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results[0]["scores"]) == 10
    return done.stdout, float(100 * np.mean([one["class"] for one in results] == test.classes))


def test_predict_says_on_any_number_of_ranks_what_training_measured(finished: Path, ffmpi: Run) -> None:
    each = [predicted(ffmpi, ranks, finished, method) for method, ranks in (("softmax", 3), ("goodness", 2))]
    for (_, accuracy), method in zip(each, ("softmax", "goodness"), strict=True):
        assert accuracy == pytest.approx(records(finished)[-1]["accuracy"][method])
    assert predicted(ffmpi, 0, finished, "goodness") == each[1]


#: Classifies the images in several files after each other, and prints the most memory it has had after each, in MB.
MEMORY = """
import resource, sys
from ffmpi.commands import predict
from ffmpi.runtime import mpi

def main(comm):
    for file in sys.argv[2:]:
        predict.predict(comm, sys.argv[1], file, None, None, False)
        if comm.rank == 0:
            print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

mpi.run(main)
"""


def test_images_are_read_as_they_are_answered(ffmpi: Run, run: Run, tmp_path: Path) -> None:
    """Of images of 128 MB no rank has more than a few blocks in memory."""
    shape = (256, 256)
    with h5py.File(tmp_path / "own.h5", "w") as file:
        for split in ("train", "test"):
            file[f"{split}/images"], file[f"{split}/labels"] = (
                (255 * np.eye(256, dtype=np.uint8))[None].repeat(8, 0),
                np.arange(8),
            )
    small = sets("data.name=hdf5", f"data.path={tmp_path / 'own.h5'}", "train.epochs=1", "network.layers=[16,16]")
    ffmpi(0, "train", DIGITS, "--run", "run", *small, *sets("train.batch_size=4", "data.standardise=fixed"))
    packed = {"compression": "gzip", "compression_opts": 1}
    for name, count in (("few", 8), ("many", 2000)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("images", (count, *shape), np.uint8, chunks=(8, *shape), **packed)
            for first in range(0, count, 32):
                file["images"][first : first + 32] = np.full((min(32, count - first), *shape), first % 251, np.uint8)
    done = run(2, "-c", MEMORY, "run", "few.h5", "many.h5")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    few, many = (float(line.split()[1]) for line in lines if line.startswith("peak"))
    assert len(lines) == 8 + 2000 + 2 and lines[-2].startswith("1999\t")
    assert many - few < 60


#: The command line, but directories are read as if they were large.
LARGE = "from ffmpi.data import images; images._MANY = 0; from ffmpi.__main__ import main; main()"


def test_a_rank_that_cannot_read_its_images_ends_the_job(finished: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for index in range(10, 50):
        Image.fromarray(np.full((8, 8), 5 * index, np.uint8)).save(tmp_path / "pictures" / f"{index}.png")
    well = run(2, "-c", LARGE, "predict", finished, "pictures")
    assert well.returncode == 0 and well.stdout.count("\n") == 40
    assert well.stdout == run(0, "-m", "ffmpi", "predict", finished, "pictures").stdout
    last = tmp_path / "pictures" / "35.png"  # not among those that all ranks look at
    last.write_bytes(last.read_bytes()[:-8])
    done = run(2, "-c", LARGE, "predict", finished, "pictures")
    assert done.returncode == 2 and "35.png: is truncated" in done.stderr
    assert done.stderr.startswith("ffmpi: rank 1 on ") and well.stdout.startswith(done.stdout)


def test_an_exported_network_scores_as_predict_does(finished: Path, ffmpi: Run, run: Run, tmp_path: Path) -> None:
    told = json.loads(ffmpi(0, "export", finished, "out.npz", "--method", "goodness", "--json").stdout)
    assert told == {
        "file": "out.npz", "method": "goodness", "classes": list("0123456789"), "shape": [8, 8],
        "pixels": {"dtype": "uint8", "least": 0, "greatest": 255},
    }  # fmt: skip
    shown = data.load("digits", None, "test").images
    assert shown is not None
    np.save(tmp_path / "images.npy", shown.reshape(-1, 8, 8))
    done = ffmpi(0, "predict", finished, "images.npy", "--method", "goodness", "--json")
    expected = np.array([json.loads(line)["scores"] for line in done.stdout.splitlines()])
    scores = scores_by_numpy(tmp_path / "out.npz", shown)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-6 * expected.max())
    np.testing.assert_array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
    done = run(0, "-m", "ffmpi", "export", finished, "out.npz")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ffmpi: out.npz: is there already; expected another name, or --force to replace it\n"
    done = ffmpi(0, "export", finished, "out.npz", "--force")
    assert done.stdout == (
        "out.npz: 3 layers, which classify by softmax in 10 classes; images (n, 8, 8), uint8 from 0 to 255\n"
    )


def test_a_reader_that_has_enough_costs_no_traceback(finished: Path, run: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file["images"] = np.zeros((5000, 8, 8), np.uint8)
    command = 'python=$0; "$python" -m ffmpi predict "$@" | head -1'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, finished, tmp_path / "many.h5"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == "" and done.stdout.count("\n") == 1


def test_predict_a_png(finished: Path, ffmpi: Run, tmp_path: Path) -> None:
    test = data.load("digits", None, "test")
    assert test.images is not None
    for index in range(3):
        Image.fromarray(test.images[index].reshape(8, 8)).save(tmp_path / f"digit{index}.png")
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["images"] = test.images[:3].reshape(-1, 8, 8)
    from_png = ffmpi(0, "predict", finished, tmp_path / "digit1.png").stdout
    from_hdf5 = ffmpi(0, "predict", finished, tmp_path / "images.h5").stdout.splitlines()
    assert from_png.startswith("digit1.png\t")
    assert from_png.strip().split("\t")[1:] == from_hdf5[1].split("\t")[1:]


def test_info_starts_no_mpi(finished: Path, run: Run) -> None:
    program = (
        "import sys; from ffmpi.commands.data import data_sets; from ffmpi.commands.info import info\n"
        "info(None, True); info(sys.argv[1], True); data_sets(None, None, False, None, True)\n"
        "data_sets('digits', None, False, None, True)\n"
        "from mpi4py import MPI; assert not MPI.Is_initialized()"
    )
    done = run(0, "-c", program, finished)
    assert done.returncode == 0, done.stderr
    machine, checkpoint, sets, digits = map(json.loads, done.stdout.splitlines())
    assert machine["cores"] >= 1 and "MPI" in machine["mpi"]
    assert checkpoint["epochs_done"] == 5 and checkpoint["config"]["data"]["name"] == "digits"
    assert checkpoint["images"] == [8, 8] and checkpoint["classes"] == list("0123456789")
    assert checkpoint["test_accuracy"] == records(finished)[-1]["accuracy"]
    assert checkpoint["ranks"] == 2 and checkpoint["machine"] == f"{machine['processor']}, {machine['cores']} cores"
    assert checkpoint["changed_settings"]["network.layers"] == [256, 256, 256]
    assert machine["forward_tile"]["units"] % 16 == 0 and "digits" in machine["data_sets"]
    assert not [key for description in (machine, checkpoint) for key in description if not key.isidentifier()]
    assert {"digits", "mnist", "fashion-mnist", "cifar10", "hdf5"} <= sets.keys()
    assert digits["samples"] == {"train": 1437, "test": 360}


def test_what_may_be_wrong_with_samples_is_told(ffmpi: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = (rng.random((120, 5, 4)) * 0.3).astype(np.float32)
    images[np.arange(120), labels] += 0.7
    with h5py.File(tmp_path / "own.h5", "w") as file:
        for split, part in (("train", slice(0, 90)), ("test", slice(90, 120))):
            file[f"{split}/images"], file[f"{split}/labels"] = images[part], labels[part]
        file["test/images"][0] = images[3]
        file.attrs["classes"] = 4
    (tmp_path / "own.toml").write_text(
        f"""
        data = {{ name = "hdf5", path = "{tmp_path / "own.h5"}", label = "append" }}
        network = {{ layers = [20, 20] }}
        train = {{ epochs = 20, batch = 10 }}
        """
    )
    done = ffmpi(0, "train", "own.toml", "--run", "run")
    about = json.loads((tmp_path / "run" / "environment.json").read_text())["data"]
    assert about["splits"]["train"]["per_class"] == [30, 30, 30, 0] and about["shared"] == 1
    assert done.stderr.splitlines() == [f"ffmpi: warning: {text}" for text in about["warnings"]]
    assert len(about["warnings"]) == 2 and "own.h5: class 3 has no training samples" in done.stderr
    assert "training samples of each class: 0 30, 1 30, 2 30, 3 0" in done.stdout
    accuracy = json.loads(ffmpi(0, "evaluate", "run", "--json").stdout)["accuracy"]
    assert min(accuracy.values()) > 90


def test_one_class_is_refused(run: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "own.h5", "w") as file:
        for split in ("train", "test"):
            file[f"{split}/images"], file[f"{split}/labels"] = np.eye(8, dtype=np.uint8), np.ones(8, np.int64)
    for ranks, *command in (
        (2, "train", DIGITS, *sets("data.name=hdf5", f"data.path={tmp_path / 'own.h5'}")),
        (0, "data", "hdf5", tmp_path / "own.h5"),
    ):
        done = run(ranks, "-m", "ffmpi", *command)
        expected = (
            f"ffmpi: {tmp_path / 'own.h5'}: all 8 training samples are of class 1; expected samples of at least two"
        )
        assert (done.returncode, done.stdout) == (2, "") and done.stderr == f"{expected} classes\n"


#: Trains, and prints the kernels of which more was compiled than `compile_all` had.
COMPILED = """
import importlib, pkgutil, sys
from numba.core.dispatcher import Dispatcher
from ffmpi import config, kernels
from ffmpi.runtime import mpi, setup

modules = [importlib.import_module(f"ffmpi.kernels.{found.name}") for found in pkgutil.iter_modules(kernels.__path__)]

def compiled():
    named = [item for module in modules for item in vars(module).items()]
    return {name: len(value.signatures) for name, value in named if isinstance(value, Dispatcher)}

worker = setup.training_worker(mpi.start(), config.read(sys.argv[1], ["train.epochs=2", *sys.argv[2:]]))
worker.on_save, before = lambda chapter: None, compiled()
assert len(before) > 20
worker.execute(worker.schedule.steps(0))
print([name for name, count in compiled().items() if count != before[name]])
"""


@pytest.mark.parametrize(
    "settings",
    [
        ["schedule.name=sequential", "negatives.name=adaptive", "negatives.scores=goodness", "rule.goodness=mean"],
        ["optimizer.name=adam", "negatives.name=adaptive", "negatives.resample=batch"],
        ["rule.name=local-softmax", "optimizer.name=adam", "augment=['shift']"],
    ],
)
def test_training_compiles_nothing_more(settings: list[str], run: Run) -> None:
    done = run(0, "-c", COMPILED, DIGITS, *settings)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_layers_that_die_end_nothing(ffmpi: Run, tmp_path: Path) -> None:
    """A rate far too high leaves layers without activations: the run continues and says so, once and at its end."""
    dead = ["train.epochs=4", "network.layers=[1,1,1]", "optimizer.learning_rate=0.3", "learning_rate.constant=1.0"]
    done = ffmpi(2, "train", DIGITS, "--run", "run", *sets(*dead))
    every = records(tmp_path / "run")
    last = every[-1]
    assert last["epoch"] == 4 and min(layer["positive_goodness"] for layer in last["layers"]) == 0
    zero = "layer 2: all its activations are zero, so it does not learn; likely cure: "
    assert every[0]["warnings"][0] == zero + "lower optimizer.learning_rate = 0.3"
    assert all(any(warning.startswith(zero) for warning in record["warnings"]) for record in every)
    assert done.stderr.count(f"ffmpi: warning: epoch 1, {zero}") == done.stderr.count(zero) == 1
    assert f"\nwarning: {zero}" in done.stdout and "\nwarning: goodness: test accuracy 10.00 %" in done.stdout
    assert json.loads(ffmpi(0, "info", "run", "--json").stdout)["warnings"] == last["warnings"]
    assert f"warning: {zero}" in ffmpi(0, "info", "run").stdout


def test_a_network_of_classifiers_is_read_out_as_it_was_trained(ffmpi: Run, tmp_path: Path) -> None:
    ffmpi(2, "train", DIGITS, "--run", "run", *sets("rule.name=local-softmax", "train.epochs=3"))
    last = records(tmp_path / "run")[-1]["accuracy"]
    assert last["last-layer"] != last["all-layers"] and min(last.values()) > 90
    assert json.loads(ffmpi(3, "evaluate", "run", "--json").stdout)["accuracy"] == last
    for (method, accuracy), ranks in zip(last.items(), (2, 0), strict=True):
        assert predicted(ffmpi, ranks, tmp_path / "run", method)[1] == pytest.approx(accuracy)


def test_a_finished_run_stays_as_it_is(finished: Path, ffmpi: Run, run: Run) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    assert "nothing left to do" in ffmpi(1, "resume", finished, "--set", "schedule.depth=1").stdout
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before
    done = run(0, "-m", "ffmpi", "resume", finished, "--set", "schedule.name=sequential")
    assert done.returncode == 2 and "'pipeline' is another algorithm" in done.stderr


def test_more_shards_than_layers(ffmpi: Run, tmp_path: Path) -> None:
    small = ["schedule.name=federated", "shards.count=4", "network.layers=[8,8]", "train.epochs=4"]
    ffmpi(4, "train", DIGITS, "--run", "run", *sets(*small))
    done = ffmpi(0, "table", "run", "--json")
    assert json.loads(done.stdout)[0]["implementation"] == "Federated"


def test_a_great_lag(ffmpi: Run, tmp_path: Path) -> None:
    """Negatives that are never chosen need no room."""
    each = ["negatives.name=adaptive", "negatives.resample=batch", "negatives.lag=2000000000", "train.epochs=1"]
    ffmpi(2, "train", DIGITS, "--run", "run", *sets(*each))
