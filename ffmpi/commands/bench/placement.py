"""The command `bench placement`: how large networks lie on many ranks, and what these tell each other."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Hashable
from typing import Any

from rich.console import Console
from rich.table import Table

from ... import config
from ...config.schema import Config
from ...data.info import DatasetInfo, resolved
from ...errors import UserError
from ...runtime.sizes import expected_balance, message_sizes, spec_of
from ...schedule import Pipeline
from ...schedule import steps as s
from ...schedule.messages import MessageSizes

#: Layers, units, samples of a batch.
NETWORKS = ("4x2000x128", "8x8192x1024", "32x16384x4096")
#: From so many layers on networks learn from larger images.
_DEEP = 8
_NAMES = tuple("0123456789")
_MNIST, _CIFAR10 = (
    DatasetInfo((28, 28), _NAMES, 60_000, 10_000, nonzero=0.19), DatasetInfo((32, 32, 3), _NAMES, 50_000, 10_000)
)  # fmt: skip


def placement(networks: tuple[str, ...], ranks: tuple[int, ...], settings: list[str], as_json: bool) -> None:
    """Print, or as JSON, of each network on each number of ranks how it is shared out and what is sent."""
    found = []
    for network in networks or NETWORKS:
        settled, dataset = _settled(network, settings)
        for count in ranks:
            found.append({"network": network, "ranks": count} | _measured(settled, dataset, count))
    if as_json:
        print(json.dumps({"placements": found}))
    else:
        _show(found)


def _settled(network: str, settings: list[str]) -> tuple[Config, DatasetInfo]:
    """Return the configuration of LAYERSxUNITSxBATCH, and the data that it is for."""
    try:
        layers, units, batch = map(int, network.split("x"))
        if min(layers, units, batch) < 1:
            raise ValueError
    except ValueError:
        raise UserError(f"--network: {network}; expected LAYERSxUNITSxBATCH, such as {NETWORKS[0]}") from None
    own = [f"network.layers={[units] * layers}", f"train.batch_size={batch}", "train.epochs=2"]
    dataset = _MNIST if layers < _DEEP else _CIFAR10
    settled = resolved(config.parse("", "bench placement", [*own, *settings]), dataset)
    if not settled.schedule.by_batch:
        raise UserError("bench placement: expected schedule.name = 'pipeline', which cuts layers")
    return settled, dataset


def _measured(settled: Config, dataset: DatasetInfo, ranks: int) -> dict[str, Any]:
    spec = spec_of(settled, dataset, ranks)
    if ranks > sum(spec.panels):
        return {"most": sum(spec.panels)}
    began = time.perf_counter()
    plan = settled.schedule.plan(spec)
    took = time.perf_counter() - began
    assert isinstance(plan, Pipeline)
    balance = expected_balance(settled, dataset, plan)
    messages, bytes_sent = _sent(plan, message_sizes(settled, dataset, spec))
    return {
        "seconds": took,
        "dearest": max(balance.each) * ranks / sum(balance.each),
        "ideal": balance.ideal,
        "messages": sum(messages) / ranks,
        "most_messages": max(messages),
        "bytes": sum(bytes_sent) / ranks,
        "most_bytes": max(bytes_sent),
    }


def _sent(plan: Pipeline, sizes: MessageSizes) -> tuple[list[int], list[int]]:
    """Return how many messages, and bytes, each rank sends of a batch that is learnt from: those of its steps."""
    one = dataclasses.replace(
        plan.spec, epochs=1, chapters=1, batches=(1,), candidate_batches=(1,), test_batches={}, validation_batches={}
    )
    first = Pipeline(one)
    known: dict[Hashable, tuple[int, int]] = {}
    found = []
    for rank in range(one.ranks):
        pieces = first.pieces(rank)
        kind = first.kind_of(rank), tuple(first.nodes(rank, layer) for layer in pieces)
        if kind not in known:
            sent = [sizes.of(first, step.link, step.item) for step in first.steps(rank) if isinstance(step, s.Send)]
            known[kind] = len(sent), sum(sent)
        found.append(known[kind])
    return [count for count, _ in found], [total for _, total in found]


def _show(found: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("layers x units x batch")
    for name in ("ranks", "placed in", "dearest", "speed-up", "messages", "at most", "sent", "at most"):
        table.add_column(name, justify="right")
    network = ""
    for each in found:
        name = "" if each["network"] == network else each["network"].replace("x", " x ")
        network = each["network"]
        if "most" in each:
            table.add_row(name, str(each["ranks"]), f"only {each['most']} panels of 16 units")
            continue
        table.add_row(
            name, str(each["ranks"]), f"{each['seconds']:.2f} s", f"{each['dearest']:.3f}", f"{each['ideal']:.1f}",
            f"{each['messages']:.0f}", f"{each['most_messages']}", _size(each["bytes"]), _size(each["most_bytes"]),
        )  # fmt: skip
    console = Console(width=120, highlight=False)
    console.print(table)
    console.print(
        "dearest: what the rank with most to compute has over the mean. speed-up: if no rank ever waited. messages, "
        "sent: of a rank for a batch that is learnt from, in the mean and at most."
    )


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
