"""What rank 0 reports during a run."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from ffmpi import config, errors
from ffmpi.data.info import DatasetInfo, resolved
from ffmpi.data.scaling import PixelScaling
from ffmpi.run import progress
from ffmpi.run.health import Finding
from ffmpi.run.ranks import Ranks
from ffmpi.runtime.sizes import spec_of
from ffmpi.schedule import schedule_of

SETTINGS = config.parse("", "test", ["train.epochs=9", "train.chapters=1", "schedule.name=sequential"])
DATASET = DatasetInfo((8, 8), ("a", "b"), 300, 100)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], "pixels less 0, divided by 1; the label, of value 1, covers the first 2 of 64 (3.1 %)"),
        (
            ["data.mean=0.5", "data.std=3", "data.label=append", "data.label_value=2.5"],
            "pixels less 0.5, divided by 3; the label, of value 2.5, stands beside them in 2 more",
        ),
        (["rule.name=local-softmax"], "pixels less 0, divided by 1; no label"),
        (
            ["data.standardise=pixel"],
            "pixels less 0.1 to 0.3, divided by 2, measured on the training samples for each pixel; "
            "the label, of value 4, covers the first 2 of 64 (3.1 %)",
        ),
    ],
)
def test_first_lines_say_what_the_inputs_are(settings: list[str], expected: str) -> None:
    scaling = PixelScaling(np.linspace(0.1, 0.3, 64), np.full(64, 2.0), np.array([320.0]))
    given = config.parse("", "test", settings)
    measured = scaling if given.data.standardise == "pixel" else None
    dataset = DatasetInfo((8, 8), ("a", "b"), 300, 100, scaling=measured)
    assert progress.inputs_text(resolved(given, dataset), dataset) == expected


def test_each_warning_comes_once_and_many_are_summed_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_warned", set())
    told = progress.Progress(
        SETTINGS,
        DATASET,
        schedule_of("sequential", spec_of(SETTINGS, DATASET, 1)),
        ["host"],
        progress.Output(as_json=True),
    )
    dead = [Finding("dead", f"layer {layer}", "zero", "less") for layer in range(1, 101)]
    for epoch, found in ((1, dead[:1]), (2, dead[:2]), (3, dead)):
        record = {"epoch": epoch, "seconds": 1.0, "ranks": []}
        told.chapter(record, found)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        f"ffmpi: warning: epoch {n}, layer {n}: zero; likely cure: less" for n in (1, 2)
    ]  # fmt: skip
    assert len(lines) == 2 + 8 + 1 and lines[-1] == "ffmpi: warning: epoch 3, 90 more warnings are in metrics.jsonl"


def many_ranks(count: int, hosts: list[str]) -> Ranks:
    """Return so many ranks of which each trains whole chapters of a network of two layers and a head."""
    chapters = ["train.epochs=99", "train.chapters=99", "schedule.name=federated", f"shards.count={count}"]
    settings = config.parse("", "test", chapters)
    dataset = dataclasses.replace(DATASET, shards=(10,) * count)
    return Ranks(settings, schedule_of("federated", spec_of(settings, dataset, count)), hosts)


def numbers(rank: int) -> dict[str, float]:
    """Return what a rank might have measured."""
    return {
        "seconds": 2.0, "computing": float(rank), "waiting": 1.0, "waiting_share": 0.5, "gflops": 10.0,
        "peak_bytes": 2.0**20 * rank, "priced_bytes": 2.0**21,
    }  # fmt: skip


def printed(ranks: Ranks, told: dict[int, dict[str, float]]) -> list[list[str]]:
    with (console := Console(width=120, file=io.StringIO())).capture() as captured:
        console.print(ranks.table(told))
    return [line.split() for line in captured.get().splitlines()]


def test_each_of_few_ranks_is_told_of() -> None:
    ranks = many_ranks(16, ["a", "b"] * 8)
    lines = ranks.lines([2.0**20 * rank for rank in range(16)])
    assert (
        len(lines) == 16 and lines[3] == "rank 3 on b: layers 1 to 3 + softmax head + shard 4 of 16; memory up to 3 MB"
    )
    assert ranks.lines([])[3] == "rank 3 on b: layers 1 to 3 + softmax head + shard 4 of 16"
    assert ranks.rates([numbers(rank) for rank in range(16)]).count("10") == 16
    assert ranks.rows([numbers(rank) for rank in range(16)]) == [numbers(rank) for rank in range(16)]
    title, head, *rows = printed(ranks, {rank: numbers(rank) for rank in range(16)})
    assert title == ["last", "chapter,", "by", "rank"] and head[:2] == ["rank", "host"] and len(rows) == 16
    assert rows[3][:2] == ["3", "b"] and rows[3][-4:] == ["3", "MB", "2", "MB"]


def test_of_many_ranks_their_hosts_are_told_of() -> None:
    count = 32
    ranks = many_ranks(count, ["a"] * 20 + ["b"] * 12)
    lines = ranks.lines([2.0**20] * count)
    assert lines == [
        "a, ranks 0 to 19: layers 1 to 3 + softmax head + shards 1 to 20 of 32; memory up to 20 MB",
        "b, ranks 20 to 31: layers 1 to 3 + softmax head + shards 21 to 32 of 32; memory up to 12 MB",
    ]
    rows = ranks.rows([numbers(rank) | {"elapsed": 3.0 + rank} for rank in range(count)])
    assert [(row["host"], row["ranks"], row["elapsed"]) for row in rows] == [("a", 20, 22.0), ("b", 12, 34.0)]
    assert (rows[0]["computing"], rows[0]["least_computing"], rows[0]["most_computing"]) == (9.5, 0.0, 19.0)
    assert (rows[1]["waiting_share"], rows[1]["gflops"], rows[1]["priced_bytes"]) == (0.5, 120.0, 12 * 2.0**21)
    some = [numbers(rank) | ({"seconds": 0.0} if rank > 0 else {}) for rank in range(count)]
    assert ranks.rates(some) == "GFLOP/s 10, waiting 50 %"
    title, head, first, second = printed(ranks, {rank: numbers(rank) for rank in range(count - 1)})
    assert title[:4] == ["last", "chapter,", "by", "host:"] and head[:2] == ["host", "ranks"]
    assert first[:4] == ["a", "0", "to", "19"]
    assert first[-9:] == ["9.50", "s", "1.00", "s", "200", "190", "MB", "40", "MB"]
    assert second[-9:] == ["25.00", "s", "1.00", "s", "110", "275", "MB", "22", "MB"]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, {(0,): "layers 1 to 3 + softmax head"}),
        (
            20,
            {
                (0, 1): "units 1 to 64 of layer 1",
                (4,): "units 129 to 150 of layer 1 + units 1 to 16 of layer 2 + part of the head",
                tuple(range(5)): "layer 1 + units 1 to 16 of layer 2 + part of the head",
                tuple(range(20)): "layers 1 to 3 + softmax head",
                (0, 2): "units 1 to 32, 65 to 96 of layer 1",
            },
        ),
    ],
)
def test_pieces_are_told_by_their_units(count: int, expected: dict[tuple[int, ...], str]) -> None:
    settings = config.parse("", "test", ["network.layers=[150,150,150]"])
    ranks = Ranks(settings, schedule_of("pipeline", spec_of(settings, DATASET, count)), ["host"] * count)
    pieces = [{0: range(2 * rank, 2 * rank + 2)} for rank in range(4)]
    pieces += [{0: range(8, 10), 1: range(1)}] + [{} for _ in range(14)] + [{1: range(1, 10), 2: range(10)}]
    if count > 1:
        ranks.schedule.pieces = pieces.__getitem__  # type: ignore[method-assign]
    assert {group: ranks.duties(group) for group in expected} == expected
