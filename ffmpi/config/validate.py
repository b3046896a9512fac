"""Which settings make sense together: what the type of no single field can refuse."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from ..errors import UserError
from .schema import RULE_METHODS, SHARD, Config

#: Positive float32 numbers that are not denormal.
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def check(config: Config, source: str) -> None:
    """Refuse what no single field's type can: combinations, and TOML's inf and nan."""
    for path, value in _numbers(config, ""):
        if not math.isfinite(value):
            raise UserError(f"{source}: {path} = {value}: expected a finite number")
        if value and not _SMALLEST <= abs(value) <= _LARGEST:
            raise UserError(
                f"{source}: {path} = {value}: expected 0 or between {_SMALLEST:g} and {_LARGEST:g} (float32)"
            )
    strings = {
        "data.path": config.data.path, "shards.held_out": config.shards.held_out,
        "data.images": config.data.images, "data.labels": config.data.labels,
    }  # fmt: skip
    for path, name in strings.items():
        if name.encode(errors="replace").decode() != name:
            raise UserError(f"{source}: {path} = {name!r}: expected text in UTF-8")
        if path in ("data.images", "data.labels") and (not name.strip("/") or "\0" in name):
            raise UserError(f"{source}: {path} = {name!r}: expected the name of a data set")
    epochs, chapters = config.train.epochs, config.train.chapters
    if chapters and epochs % chapters:
        raise UserError(f"{source}: train.chapters = {chapters}: expected a divisor of train.epochs = {epochs}")
    methods, known = config.classify.methods, RULE_METHODS[config.rule.name]
    if len(set(methods)) < len(methods) or not set(methods) <= set(known):
        raise UserError(
            f"{source}: classify.methods = {methods}: expected each method once, for rule.name = {config.rule.name!r} "
            f"of {', '.join(known)}"
        )
    layers, count = config.classify.goodness_layers, len(config.network.layers)
    if len(set(layers)) < len(layers) or max(layers, default=0) > count:
        raise UserError(
            f"{source}: classify.goodness_layers = {layers}: expected each layer once, of 1 to {count} as in "
            "network.layers"
        )
    if config.local and config.head.step == "epoch":
        raise UserError(
            f"{source}: head.step = 'epoch': with rule.name = 'local-softmax' classifiers learn together with their "
            "layers; expected 'batch'"
        )
    _check_negatives(config, source)
    _check_shards(config, source)


def _check_negatives(config: Config, source: str) -> None:
    negatives = config.negatives
    if negatives.kind != "adaptive":
        return
    if config.local:
        raise UserError(f"{source}: negatives.kind = 'adaptive': rule.name = 'local-softmax' has no negatives")
    if negatives.scores == "softmax" and not config.head_layers:
        raise UserError(
            f"{source}: negatives.scores = 'softmax': there is no head; expected 'goodness', or 'softmax' among "
            f"classify.methods = {config.classify.methods}"
        )
    if negatives.redraw == "batch" and (config.schedule.name, negatives.scores) != ("pipeline", "softmax"):
        raise UserError(
            f"{source}: negatives.redraw = 'batch' with negatives.kind = 'adaptive': expected schedule.name = "
            "'pipeline' and negatives.scores = 'softmax'"
        )
    if config.shards.count > 1:
        raise UserError(
            f"{source}: negatives.kind = 'adaptive' with shards.count = {config.shards.count}: the choices would "
            "have to leave their rank for the checkpoint; expected 'fixed' or 'random'"
        )


def _check_shards(config: Config, source: str) -> None:
    count, sizes = config.shards.count, config.shards.sizes
    if count > 1 and config.schedule.name != "federated":
        raise UserError(f"{source}: shards.count = {count}: expected schedule.name = 'federated'")
    if sizes and len(sizes) != count:
        raise UserError(f"{source}: shards.sizes = {sizes}: expected {count}, one for each of shards.count, or none")
    if count > config.chapters:
        raise UserError(
            f"{source}: shards.count = {count}: nobody would learn from some in {config.chapters} chapters; expected "
            "at most as many shards, or more train.chapters"
        )
    by_file = config.shards.by == "file"
    if by_file and (SHARD not in config.data.path or not config.shards.held_out or sizes):
        raise UserError(
            f"{source}: shards.by = 'file': expected {SHARD} in data.path = {config.data.path!r}, the path "
            "shards.held_out of samples to test with, and no shards.sizes"
        )
    if config.shards.held_out and not by_file:
        raise UserError(f"{source}: shards.held_out = {config.shards.held_out!r}: expected shards.by = 'file'")
    if by_file and config.schedule.name != "federated":
        raise UserError(f"{source}: shards.by = 'file': expected schedule.name = 'federated'")


def _numbers(table: Struct, prefix: str) -> Iterator[tuple[str, float]]:
    for name in table.__struct_fields__:
        value = getattr(table, name)
        if isinstance(value, Struct):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield prefix + name, value
        elif isinstance(value, list):
            yield from ((prefix + name, part) for part in value if isinstance(part, float))
