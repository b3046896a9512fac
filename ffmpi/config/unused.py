"""Settings without effect beside the others chosen: what the user gave, and why nobody will read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .convert import members_of
from .fields import Member
from .registries import FORMATS
from .schema import Config


def _no_head(config: Config) -> str:
    read = "head." in config.rule.reads or config.head_layers
    return "" if read else "'softmax' is not among classify.methods"


def _no_softmax(config: Config) -> str:
    only = set(config.methods) == {"goodness"}
    return "'softmax' is not among classify.methods" if only else ""


def _no_goodness(config: Config) -> str:
    return "" if "goodness" in config.methods else f"classify.methods = {list(config.methods)}"


def _goodness_unread(config: Config) -> str:
    negatives = config.negatives
    return "" if negatives.adaptive and negatives.scores == "goodness" else _no_goodness(config)


def _not_sharded(config: Config) -> str:
    return "" if config.schedule.sharded else f"schedule.name = {config.schedule.name!r}"


def _one_shard(config: Config) -> str:
    return _not_sharded(config) or ("shards.count = 1" if config.shards.count == 1 else "")


def _in_turn(config: Config) -> str:
    return "" if config.schedule.by_batch else f"schedule.name = {config.schedule.name!r}"


def _one_layer(config: Config) -> str:
    return "network.layers has one entry: it would be for those above" if len(config.network.layers) == 1 else ""


def _measured(config: Config) -> str:
    how = config.data.standardise
    return f"data.standardise = {how!r}" if how in ("set", "pixel") else ""


def _in_order(config: Config) -> str:
    if config.train.shuffle or FORMATS[config.data.name].streams:
        return ""
    return f"train.shuffle = false and data.name = {config.data.name!r}"


def _unread(reads: Callable[[Any], bool]) -> Callable[[Config], str]:
    """Return the reason of what a format only reads if ``reads(format)``."""
    return lambda c: "" if reads(FORMATS[c.data.name]) else f"data.name = {c.data.name!r}"


#: Settings, each a key or the prefix of some, and what answers for a configuration why they are not read, or nothing.
_ROWS: list[tuple[tuple[str, ...], Callable[[Config], str]]] = [
    (("head.",), _no_head),
    (("classify.softmax_every",), _no_softmax),
    (("classify.goodness_every",), _no_goodness),
    (("classify.goodness_layers",), _goodness_unread),
    (("shards.count",), _not_sharded),
    (("shards.by", "shards.sizes"), _one_shard),
    (("checkpoint.wait",), _in_turn),
    (("data.mean", "data.std"), _measured),
    (("data.window",), _in_order),
    (("network.transforms",), _one_layer),
    (("data.path",), _unread(lambda known: bool(known.path))),
    (("data.images",), _unread(lambda known: "images" in known.reads)),
    (("data.labels",), _unread(lambda known: "labels" in known.reads)),
]


def without_effect(config: Config, given: dict[str, Any]) -> list[str]:
    """Return a sentence for each reason why some of `given`, values by key such as ``train.epochs``, are not read."""
    members, reasons = members_of(config), dict[str, list[str]]()
    for key, value in given.items():
        rows = (why(config) for names, why in _ROWS if any(_covers(name, key) for name in names))
        reason = _by_members(members, key) or next(filter(None, rows), "")
        if reason:
            reasons.setdefault(reason, []).append(f"{key} = {value!r}")
    return [f"{', '.join(keys)}: no effect, since {reason}" for reason, keys in reasons.items()]


def _by_members(members: dict[str, Member], key: str) -> str:
    """Return the member beside which nobody reads `key`, by what it says, or because the key is another member's."""
    for table, member in members.items():
        if any(_covers(name, key) for name in member.unread):
            return f"{table}.name = {member.name!r}"
    table, _, name = key.rpartition(".")
    if table in members and name not in ("name", *members[table].__struct_fields__):
        return f"{table}.name = {members[table].name!r}"
    return ""


def _covers(name: str, key: str) -> bool:
    return key == name or (name.endswith(".") and key.startswith(name))
