"""Settings without effect beside the others chosen: what the user gave, and why nobody will read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..data import FORMATS, Format
from .schema import Config

_ADAM, _SGD = ("beta1", "beta2", "eps"), ("momentum",)


def _kinds(prefix: str, name: Callable[[Config], str]) -> list[tuple[tuple[str, ...], Callable[[Config], str]]]:
    """Return the rows of an optimiser's table: what only Adam, and what only SGD has."""
    return [
        (tuple(prefix + key for key in _ADAM), lambda c: f"{prefix}name = 'sgd'" if name(c) == "sgd" else ""),
        (tuple(prefix + key for key in _SGD), lambda c: f"{prefix}name = 'adam'" if name(c) == "adam" else ""),
    ]


def _local(config: Config) -> str:
    return "rule.name = 'local-softmax'" if config.local else ""


def _no_softmax(config: Config) -> str:
    return "" if config.local or config.head_layers else "'softmax' is not among classify.methods"


def _no_goodness(config: Config) -> str:
    return "" if "goodness" in config.methods else f"classify.methods = {list(config.methods)}"


def _goodness_unread(config: Config) -> str:
    chosen_by = (config.negatives.kind, config.negatives.scores) == ("adaptive", "goodness")
    return "" if chosen_by else _no_goodness(config)


def _not_adaptive(config: Config) -> str:
    kind = config.negatives.kind
    return _local(config) or (f"negatives.kind = {kind!r}" if kind != "adaptive" else "")


def _schedule(*names: str) -> Callable[[Config], str]:
    """Return the reason of what only the schedules `names` read."""
    return lambda c: "" if c.schedule.name in names else f"schedule.name = {c.schedule.name!r}"


def _one_shard(config: Config) -> str:
    return _schedule("federated")(config) or ("shards.count = 1" if config.shards.count == 1 else "")


def _measured(config: Config) -> str:
    how = config.data.standardise
    return f"data.standardise = {how!r}" if how in ("set", "pixel") else ""


def _unread(reads: Callable[[Format], bool]) -> Callable[[Config], str]:
    """Return the reason of what a format only reads if ``reads(format)``."""
    return lambda c: "" if c.data.name not in FORMATS or reads(FORMATS[c.data.name]) else f"data.name = {c.data.name!r}"


#: Settings, each a key or the prefix of some, and what answers for a configuration why they are not read, or nothing.
_ROWS: list[tuple[tuple[str, ...], Callable[[Config], str]]] = [
    (("negatives.kind", "rule.goodness", "rule.threshold", "data.label", "data.label_value", "head.step"), _local),
    (("negatives.scores", "negatives.lag"), _not_adaptive),
    (("head.", "classify.softmax_every"), _no_softmax),
    (("classify.goodness_every",), _no_goodness),
    (("classify.goodness_layers",), _goodness_unread),
    (("schedule.exchange",), _schedule("single-layer")),
    (("schedule.depth", "schedule.timeout"), _schedule("pipeline", "single-layer", "all-layers", "federated")),
    (("shards.count",), _schedule("federated")),
    (("shards.by", "shards.sizes"), _one_shard),
    (("data.mean", "data.std"), _measured),
    (("data.path",), _unread(lambda known: bool(known.path))),
    (("data.images",), _unread(lambda known: "images" in known.reads)),
    (("data.labels",), _unread(lambda known: "labels" in known.reads)),
    *_kinds("optimizer.", lambda c: c.optimizer.name),
    *_kinds("head.optimizer.", lambda c: c.head.optimizer.name),
]


def without_effect(config: Config, given: dict[str, Any]) -> list[str]:
    """Return a sentence for each reason why some of `given`, values by key such as ``train.epochs``, are not read."""
    reasons: dict[str, list[str]] = {}
    for key, value in given.items():
        rows = (why for names, why in _ROWS if any(_covers(name, key) for name in names))
        reason = next(filter(None, (why(config) for why in rows)), "")
        if reason:
            reasons.setdefault(reason, []).append(f"{key} = {value!r}")
    return [f"{', '.join(keys)}: no effect, since {reason}" for reason, keys in reasons.items()]


def _covers(name: str, key: str) -> bool:
    return key == name or (name.endswith(".") and key.startswith(name))
