"""Prices of memory: what is refused, what is warned of, and that a price has all parts."""

from __future__ import annotations

import pytest

from ffmpi import config, errors
from ffmpi.config.schema import Config
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.errors import UserError
from ffmpi.runtime import memory
from ffmpi.runtime.limits import Limit
from ffmpi.runtime.memory import MB, Need, Price
from ffmpi.runtime.sizes import spec_of
from ffmpi.schedule import Schedule, schedule_of

MNIST = DatasetInfo((28, 28), tuple("0123456789"), 60_000, 10_000)


def planned(ranks: int, *settings: str, dataset: DatasetInfo = MNIST) -> tuple[Config, DatasetInfo, Schedule]:
    """Return what is known of a run before it begins."""
    settled = resolved(config.parse("", "test", list(settings)), dataset)
    return settled, dataset, schedule_of(settled.schedule.name, spec_of(settled, dataset, ranks))


def price(rank: int, ranks: int, *settings: str, dataset: DatasetInfo = MNIST) -> Price:
    return memory.price(*planned(ranks, *settings, dataset=dataset), rank, 0.0)


def test_weights_activations_and_data_by_hand() -> None:
    found = price(0, 1, "network.layers=[1600]", "train.batch_size=800", "classify.methods=['goodness']")
    assert found.weights == pytest.approx(2 * 4 * 784 * 1600, rel=0.01)  # SGD has one moment
    adam = price(0, 1, "network.layers=[1600]", "optimizer.name=adam")
    assert adam.weights > 2.9 / 2 * found.weights
    # Images once, 1600 rows of the layer, as many of its input's nonzeros, its products with the images.
    rows = 4 * (800 * 784 + 1600 * 1600 + 800 * 1600) + 6 * 1600 * 784
    assert rows < found.activations < 1.1 * rows
    assert 70_000 * 784 < found.data < 70_000 * (784 + 100) and found.links == found.stash == 0


def test_large_batches_count() -> None:
    small, large = (price(0, 1, "network.layers=[64,64]", f"train.batch_size={batch}") for batch in (100, 60_000))
    assert large.activations >= 490 * small.activations and large.activations > 250 * MB


def test_batches_of_a_chapter_and_snapshots() -> None:
    chapter = ["schedule.name=all-layers", "train.epochs=4", "network.layers=[1000,500]", "train.batch_size=100"]
    found = price(0, 1, *chapter)
    assert 600 * 200 * 1000 * 4 < found.stash < 1.1 * 600 * 200 * 1000 * 4
    fewer = price(0, 1, *chapter, dataset=DatasetInfo((28, 28), tuple("0123456789"), 6_000, 10_000))
    assert found.stash / fewer.stash == pytest.approx(10)
    single = ["schedule.name=single-layer", *chapter[1:], "network.layers=[1000,500,500,500]"]
    weights = price(0, 4, *single).weights
    assert weights > 2 * (2 * 4 * 784 * 1000)  # the first layer's, and as they were some chapters ago


def test_parts_of_a_save_are_bounded() -> None:
    """Rank 0 has room for some parts of others, whatever the network; a small one fits into less."""
    layers = [["network.layers=[400,400]"], ["network.layers=[4000,4000]"], ["network.layers=[4000,4000,4000,4000]"]]
    small, large, larger = ([price(rank, 2, *sizes).saving / MB for rank in (0, 1)] for sizes in layers)
    assert 1 < small[1] < 2 and small[0] < 5
    assert large[1] == larger[1] == 8 and larger[0] == 4 + 8 * 4 == large[0]


def test_links_and_ranks_without_data() -> None:
    """What is read lies whole in as many buffers as a link has, and so does the part of a layer that is sent."""
    settings = "network.layers=[512,512]", "classify.methods=['goodness']"
    first, last = (price(rank, 2, *settings) for rank in (0, 1))
    schedule = planned(2, *settings)[2]
    assert list(schedule.pieces(0)) == [0] and schedule.pieces(1)[1] == range(32)
    rows = first.links / (3 * 4 * 16 * len(schedule.pieces(0)[0]))
    assert rows >= 200 and last.links == pytest.approx(3 * 4 * rows * 512)
    assert last.data < 0.2 * first.data
    deep = price(0, 2, *settings, "schedule.depth=12")
    assert deep.links == pytest.approx(4 * first.links)


def test_a_rank_pays_for_its_pieces_only() -> None:
    """Beside them for a copy where it saves while it learns on."""
    settings = "network.layers=[1600,1600,1600]", "train.epochs=2", "head.optimizer.name=adam"
    whole = price(0, 1, *settings, "checkpoint.every=2").weights
    for ranks in (3, 16):
        parts, saving = (
            [price(rank, ranks, *settings, f"checkpoint.every={every}").weights for rank in range(ranks)]
            for every in (2, 1)
        )
        assert sum(parts) == pytest.approx(whole, rel=0.01) and max(parts) < 2 * whole / ranks
        assert saving == pytest.approx([2 * part for part in parts], rel=0.01)


def test_a_quarter_of_a_network_takes_little_more_than_a_quarter_of_its_memory() -> None:
    """Where the pipeline waits for saves; what a piece costs decides how much a quarter is."""
    settings = "network.layers=[8192,8192,8192,8192]", "optimizer.name=adam", "train.epochs=2"
    alone = price(0, 1, *settings)
    most = 0.3 * (alone.weights + alone.activations) + 200 * MB
    for waits in ("true", "false"):
        parts = [price(rank, 4, *settings, f"checkpoint.wait={waits}") for rank in range(4)]
        assert (max(part.weights + part.activations + part.links for part in parts) < most) == (waits == "true")


def test_more_than_an_address_space() -> None:
    with pytest.raises(UserError, match="not enough memory: the layers of rank 0 alone need more than"):
        price(0, 1, "network.layers=[1048576,1048576,1048576]", "train.batch_size=1048576")


def need(total: float, host: str = "h", limit: float = 0.0, free: float | None = None) -> Need:
    limits = (Limit(f"the memory of {host}", host, int(limit)),) if limit else ()
    priced = Price(0, total, 0, 0, 0, 0, 0)
    return Need(host, priced, 0.0, limits, None if free is None else int(free))


def test_what_cannot_fit_is_refused() -> None:
    memory.check([need(600 * MB, limit=1000 * MB), need(600 * MB, "i", limit=1000 * MB)])
    with pytest.raises(UserError) as caught:
        memory.check([need(600 * MB, limit=1000 * MB), need(500 * MB, limit=1000 * MB)])
    assert str(caught.value) == (
        "not enough memory: ranks 0, 1 together need 1100 MB, more than the 1000 MB of the memory of h; most is for a "
        "batch's activations; expected a smaller train.batch_size"
    )
    with pytest.raises(UserError, match=r"rank 1 needs 29.3 GB, more than the 3 MB of the memory of i"):
        memory.check([need(1 * MB), need(30_000 * MB, "i", limit=3 * MB)])


def test_what_may_not_fit_is_a_warning(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    memory.check([need(600 * MB, free=1000 * MB)] * 1)
    assert capsys.readouterr().err == ""
    memory.check([need(600 * MB, free=1000 * MB)] * 2)
    assert "ranks 0, 1 together need up to 1200 MB more, but only 1000 MB is free now" in capsys.readouterr().err


def test_the_most_at_any_time() -> None:
    assert Price(1, 20, 3, 4, 5, 6, 2).total == 6 + 5 + 1 + 27
    assert Price(1, 20, 3, 4, 5, 6, 200).total == 6 + 5 + 1 + 200
