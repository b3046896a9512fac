"""Which settings go together: what the type of no single field can refuse."""

from __future__ import annotations

from ..errors import UserError
from .convert import members_of
from .registries import SCHEDULES
from .schema import SHARD, Config


def check(config: Config, source: str) -> None:
    """Refuse combinations, and text that is none. Raises UserError that begins with `source`."""
    strings = {
        "data.path": config.data.path, "shards.test_path": config.shards.test_path,
        "data.images": config.data.images, "data.labels": config.data.labels, "data.weights": config.data.weights,
    }  # fmt: skip
    for path, name in strings.items():
        if name.encode(errors="replace").decode() != name:
            raise UserError(f"{source}: {path} = {name!r}: expected text in UTF-8")
        named = name or path != "data.weights"
        if path.startswith("data.") and path != "data.path" and named and (not name.strip("/") or "\0" in name):
            raise UserError(f"{source}: {path} = {name!r}: expected the name of a data set")
    epochs, chapters = config.train.epochs, config.train.chapters
    if chapters and epochs % chapters:
        raise UserError(f"{source}: train.chapters = {chapters}: expected a divisor of train.epochs = {epochs}")
    layers, count = config.classify.goodness_layers, len(config.network.layers)
    if len(set(layers)) < len(layers) or max(layers, default=0) > count:
        raise UserError(
            f"{source}: classify.goodness_layers = {layers}: expected each layer once, of 1 to {count} as in "
            "network.layers"
        )
    for member in members_of(config).values():
        if conflict := member.conflict(config):
            raise UserError(f"{source}: {conflict}")
    _check_shards(config, source)


def _check_shards(config: Config, source: str) -> None:
    count, sizes = config.shards.count, config.shards.sizes
    sharded = " or ".join(repr(name) for name, one in SCHEDULES.members().items() if one.sharded)
    if count > 1 and not config.schedule.sharded:
        raise UserError(f"{source}: shards.count = {count}: expected schedule.name = {sharded}")
    if sizes and len(sizes) != count:
        raise UserError(f"{source}: shards.sizes = {sizes}: expected {count}, one for each of shards.count, or none")
    if count > config.chapters:
        raise UserError(
            f"{source}: shards.count = {count}: nobody would learn from some in {config.chapters} chapters; expected "
            "at most as many shards, or more train.chapters"
        )
    by_file = config.shards.by == "file"
    if by_file and (SHARD not in config.data.path or not config.shards.test_path or sizes):
        raise UserError(
            f"{source}: shards.by = 'file': expected {SHARD} in data.path = {config.data.path!r}, the path "
            "shards.test_path of samples to test with, and no shards.sizes"
        )
    if config.data.validation and by_file:
        raise UserError(
            f"{source}: data.validation = {config.data.validation} with shards.by = 'file': the samples would have to "
            "leave their rank; expected 0, or another shards.by"
        )
    if config.checkpoint.best and not config.data.validation:
        raise UserError(f"{source}: checkpoint.best = true: expected data.validation, by which the best is chosen")
    if config.shards.test_path and not by_file:
        raise UserError(f"{source}: shards.test_path = {config.shards.test_path!r}: expected shards.by = 'file'")
    if by_file and not config.schedule.sharded:
        raise UserError(f"{source}: shards.by = 'file': expected schedule.name = {sharded}")
