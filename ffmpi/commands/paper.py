"""The paper's Tables 1 to 5 (arXiv 2404.08573v2): training seconds on four nodes and test accuracy in percent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from ..config.read import parse
from ..config.schema import Config


@dataclass(frozen=True)
class Row:
    """A result of the paper; seconds is None where it gives none."""

    data: str
    model: str
    implementation: str
    seconds: float | None
    accuracy: float


def _rows(data: str, model: str, *results: tuple[str, float | None, float]) -> list[Row]:
    return [Row(data, model, *result) for result in results]


ROWS = [
    # The paper does not say how it is read out.
    *_rows("mnist", "Hinton's MATLAB, softmax", ("Sequential", None, 98.53)),
    *_rows("mnist", "Hinton's MATLAB, goodness", ("Sequential", None, 98.53)),
    *_rows("mnist", "DFF", ("DFF", None, 93.15)),
    *_rows(
        "mnist", "AdaptiveNEG-Goodness",
        ("Sequential", 11190.72, 98.52), ("Single-Layer", 5254.87, 98.43), ("All-Layers", 2980.76, 98.51),
    ),
    *_rows(
        "mnist", "RandomNEG-Goodness",
        ("Sequential", 7178.71, 98.33), ("Single-Layer", 1974.10, 98.26), ("All-Layers", 2008.25, 98.17),
    ),
    *_rows(
        "mnist", "FixedNEG-Goodness",
        ("Sequential", 7143.28, 97.95), ("Single-Layer", 1920.80, 97.94), ("All-Layers", 1978.21, 97.89),
    ),
    *_rows(
        "mnist", "AdaptiveNEG-Softmax",
        ("Sequential", 8365.96, 98.38), ("Single-Layer", 2471.27, 98.31), ("All-Layers", 1886.42, 98.30),
    ),
    *_rows(
        "mnist", "RandomNEG-Softmax",
        ("Sequential", 8104.96, 98.48), ("Single-Layer", 1891.86, 98.31), ("All-Layers", 1786.30, 98.33),
    ),
    *_rows("mnist", "Performance-Optimized, last layer", ("Sequential", 4219.97, 98.30)),
    *_rows("mnist", "Performance-Optimized, all layers", ("Sequential", 4219.97, 98.38)),
    *_rows("cifar10", "Performance-Optimized, all layers", ("Sequential", 4920.97, 53.50)),
    *_rows("cifar10", "Performance-Optimized, last layer", ("Sequential", 4920.97, 53.11)),
    *_rows("cifar10", "FixedNEG-Softmax", ("Sequential", 8021.15, 50.89)),
    *_rows("cifar10", "RandomNEG-Softmax", ("Sequential", 7636.99, 52.18)),
    *_rows("cifar10", "AdaptiveNEG-Goodness", ("Sequential", 10148.23, 11.10)),
]  # fmt: skip

_IMPLEMENTATIONS = {
    "sequential": "Sequential", "single-layer": "Single-Layer", "all-layers": "All-Layers", "federated": "Federated",
    "pipeline": "Pipeline",
}  # fmt: skip
_LOCAL = {"last-layer": "last layer", "all-layers": "all layers"}


def implementation_of(config: Config) -> str:
    """Return the paper's word for the schedule."""
    return "DFF" if _is_dff(config) else _IMPLEMENTATIONS[config.schedule.name]


def _is_dff(config: Config) -> bool:
    """Whether layers learn one after another, each for all epochs, with the settings of DFF."""
    once = (config.chapters, config.rule.name, config.negatives.name) == (1, "goodness", "fixed")
    return config.preset == "dff" and once and (config.data.name, config.methods) == ("mnist", ("goodness",))


def model_of(config: Config, method: str) -> str | None:
    """Return the paper's word for a network that learns after `config` and is read out by `method`, if it has one.

    AdaptiveNEG-Softmax also chooses its negatives by softmax, AdaptiveNEG-Goodness by goodness; Hinton's code draws
    them by softmax for each batch.
    """
    preset, negatives, how = config.preset, config.negatives, method.capitalize()
    if not preset or not all(_may_vary(config, *place) for place in _different(config)):
        return None
    # The pipeline is another algorithm than the paper's, and so is learning from shards in turn.
    if (preset == "hinton") != config.schedule.by_batch or config.shards.count > 1:
        return None
    if preset == "hinton":
        by_goodness = config.rule.name in ("goodness", "peer-normalisation")
        his = by_goodness and negatives.adaptive and negatives.scores == "softmax"
        return f"Hinton's MATLAB, {method}" if his and negatives.resample == "batch" else None
    if preset == "dff":
        return "DFF" if _is_dff(config) else None
    if preset != "paper" or config.rule.name not in ("goodness", "local-softmax"):
        return None
    # In the paper every epoch is a chapter, with negatives of its own.
    adaptive = negatives.adaptive
    if config.chapters < config.train.epochs or negatives.resample == "batch":
        return None
    if config.rule.name == "local-softmax":
        return f"Performance-Optimized, {_LOCAL[method]}"
    if adaptive and negatives.lag >= config.chapters:
        return None
    model = f"{negatives.name.capitalize()}NEG"
    if adaptive and negatives.scores != method:
        return f"{model} by {negatives.scores}-{how}"
    return f"{model}-{how}"


#: What may differ from the preset: what the tables vary, the number of epochs, and what changes no weight.
_VARIED = {
    "": ("seed",),
    "data": ("name", "path", "mean", "std"),
    "rule": ("name",),
    "negatives": ("name", "scores", "lag", "resample"),
    "classify": ("methods", "softmax_every", "goodness_every"),
    "train": ("epochs", "chapters"),
    "schedule": ("name", "exchange", "depth", "threads", "timeout"),
    "checkpoint": ("every",),
}


def _different(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the tables and keys in which a configuration differs from its preset; the table "" has the others."""
    plain = msgspec.to_builtins(parse(f"preset = {config.preset!r}", "paper", []))
    for key, settled in (("label", "overlay"), ("label_value", 1.0)):  # for the paper's data sets
        if plain["data"][key] == "auto":
            plain["data"][key] = settled
    for table, found in msgspec.to_builtins(config).items():
        if not isinstance(found, dict):
            if found != plain[table]:
                yield "", table
            continue
        # What another member of a family has, such as another rule, the preset does not say.
        yield from ((table, key) for key in found if found[key] not in ("auto", plain[table].get(key, found[key])))


def _may_vary(config: Config, table: str, key: str) -> bool:
    return key in _VARIED.get(table, ())
