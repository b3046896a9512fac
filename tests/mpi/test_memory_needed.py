"""What a rank needed of memory lies below what was announced before it started, and not far below."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import Run
from tests.helpers import DIGITS, records, sets

pytestmark = pytest.mark.mpi
MB = 2**20


def pictures(path: Path, samples: int, shape: tuple[int, ...]) -> None:
    """Write random pictures of ten classes, and a sixtieth as many to test with."""
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for split, count in (("train", samples), ("test", samples // 60)):
            file[f"{split}/images"] = random.integers(0, 256, (count, *shape), dtype=np.uint8)
            file[f"{split}/labels"] = np.arange(count) % 10


#: The command line with a limit of so many megabytes, as 'ulimit -d' sets it.
LIMITED = """
import resource, sys
from ffmpi.__main__ import main

limit = int(sys.argv.pop(1)) << 20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
main()
"""


def train(ffmpi: Run, directory: Path, ranks: int, *settings: str) -> tuple[str, list[dict[str, float]]]:
    """Return what was printed, and each rank's numbers."""
    recipe = directory / "run.toml"
    recipe.write_text(f"[data]\nname = 'hdf5'\npath = '{directory}/set.h5'\n")
    done = ffmpi(
        ranks, "train", recipe, "--run", directory / "run", *sets("train.epochs=1", *settings), seconds=200, fresh=True
    )
    return done.stdout, records(directory / "run")[-1]["ranks"]


def test_a_batch_of_all_samples(ffmpi: Run, tmp_path: Path) -> None:
    pictures(tmp_path / "set.h5", 60_000, (4, 4))
    output, (rank,) = train(ffmpi, tmp_path, 1, "train.batch_size=60000", "network.layers=[48,48]")
    assert 0.5 * rank["priced_bytes"] < rank["peak_bytes"] <= rank["priced_bytes"]
    # 180,000 rows of two layers, sums and scores beside them, take 79 MB, and about as much is for nonzeros.
    assert 280 * MB < rank["peak_bytes"] < 400 * MB
    assert f"memory up to {rank['priced_bytes'] / MB:.0f} MB" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "settings"),
    [
        (2, ["train.batch_size=60000", "network.layers=[64,64,64]"]),
        (1, ["train.batch_size=60000", "network.layers=[64,64,64]", "schedule.name=all-layers"]),
        (2, ["train.batch_size=60000", "network.layers=[64,64,64]", "rule.name=local-softmax"]),
        (2, ["network.layers=[200,200,200]", "schedule.name=single-layer", "train.epochs=4"]),
        (2, ["network.layers=[200,200,200]", "schedule.name=single-layer", "schedule.exchange=weights"]),
        (2, ["network.layers=[200,200,200]", "schedule.name=federated", "shards.count=2", "train.epochs=2"]),
        (1, ["network.layers=[3000,3000]", "train.batch_size=2000", "schedule.threads=2", "optimizer.name=adam"]),
    ],
)
def test_other_runs(ffmpi: Run, tmp_path: Path, ranks: int, settings: list[str]) -> None:
    pictures(tmp_path / "set.h5", 60_000, (8, 8))
    _, found = train(ffmpi, tmp_path, ranks, *settings)
    for rank in found:
        assert not rank["seconds"] or 0.5 * rank["priced_bytes"] < rank["peak_bytes"] <= rank["priced_bytes"]


def test_a_set_larger_than_memory_is_streamed(run: Run, tmp_path: Path) -> None:
    """One of 313 MB within 310 MB; what has not been written of it are zeros, which take no disk."""
    limit, random = 310, np.random.default_rng(0)
    with h5py.File(tmp_path / "set.h5", "w") as file:
        for split, count in (("train", 80_000), ("test", 400)):
            images = file.create_dataset(f"{split}/images", (count, 64, 64), "u1")
            images[:20] = images[-20:] = random.integers(0, 256, (20, 64, 64), dtype=np.uint8)
            file[f"{split}/labels"] = np.arange(count) % 10
            assert split == "test" or images.size > limit * MB
    own = ["data.name=hdf5", f"data.path={tmp_path}/set.h5", "network.layers=[16]", "train.epochs=1"]
    for window, passes in ((512, True), (0, False)):
        settings = sets(*own, f"data.window={window}", "train.batch_size=200")
        place = tmp_path / str(window)
        done = run(0, "-c", LIMITED, limit, "train", DIGITS, "--run", place, *settings, seconds=200, fresh=True)
        assert done.returncode == (0 if passes else 2), done.stderr
    assert "set.h5: too large for this machine's memory" in done.stderr
    (rank,) = records(tmp_path / "512")[-1]["ranks"]
    assert rank["peak_bytes"] <= rank["priced_bytes"] < limit * MB


def test_what_cannot_fit_is_refused_before_it_starts(run: Run, tmp_path: Path) -> None:
    settings = sets("network.layers=[150000,150000]")
    done = run(2, "-m", "ffmpi", "train", DIGITS, "--run", tmp_path / "run", *settings)
    assert done.returncode == 2 and not (tmp_path / "run" / "checkpoint.h5").exists()
    (output,) = [line for line in done.stderr.splitlines() if "warning" not in line]
    assert output.startswith("ffmpi: ") and "not enough memory: " in output and "need" in output
