"""The run's configuration: typed tables, read from TOML; an error names the key and what is allowed.

Values come from four places, the later ones winning: the defaults below, the preset, the file, ``--set`` on the
command line. What comes out is complete: it is written into the run directory and into every checkpoint.
"""

from __future__ import annotations

import math
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w
from msgspec import Meta, Struct

from .errors import UserError, nearest

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]


class Table(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the configuration."""


class Data(Table, frozen=True):
    """Which samples, and how a pixel becomes an input: (pixel / 255 - mean) / std."""

    name: str = "digits"
    path: str = ""  # directory or file of the set; digits need none
    mean: float = 0.0
    std: Positive = 1.0
    label: Literal["overlay", "append"] = "overlay"  # over the first pixels, or beside them


class Network(Table, frozen=True):
    """The layers' units and what happens between two layers."""

    layers: Annotated[list[Count], Meta(min_length=1)] = msgspec.field(default_factory=lambda: [1000, 1000, 1000])
    normalise: Literal["rms", "l2"] = "rms"
    eps: NotNegative = 1e-8
    init: Literal["normal", "uniform"] = "normal"


class Rule(Table, frozen=True):
    """How a layer learns: by its goodness, or by a softmax classifier of its own (the paper's Performance-Optimized).

    Goodness is the sum or mean of the squared activities, compared with threshold x units.
    """

    name: Literal["goodness", "local-softmax"] = "goodness"
    goodness: Literal["sum", "mean"] = "sum"
    threshold: Positive = 1.0


class Negatives(Table, frozen=True):
    """Wrong classes, one a sample: drawn once for the run, drawn anew, or chosen by what the network says.

    Adaptive ones are the class of the greatest goodness, or drawn by the head's softmax; random ones until there are
    scores. They are for the chapter, or the batch, that is `lag` after the one for which the network gave the scores.
    """

    kind: Literal["fixed", "random", "adaptive"] = "random"
    redraw: Literal["chapter", "batch"] = "chapter"  # for each chapter, or whenever a batch is learnt
    scores: Literal["softmax", "goodness"] = "softmax"
    lag: Count = 1


class Optimizer(Table, frozen=True):
    """Adam (with decoupled decay), or SGD along the running mean of the gradient."""

    name: Literal["adam", "sgd"] = "sgd"
    rate: Positive = 0.01
    decay: NotNegative = 0.001
    momentum: Fraction = 0.9
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Positive = 1e-8


class Head(Table, frozen=True):
    """The softmax classifier on the activities of all layers but the first; with local-softmax, those on each layer."""

    init: Literal["zero", "uniform"] = "zero"
    bias: bool = True
    normalise: bool = True
    optimizer: Optimizer = Optimizer(rate=0.1, decay=0.003)


class Classify(Table, frozen=True):
    """How classes are read out, and after how many chapters each is measured (0: after the last one only).

    No methods: all that the rule has, softmax and goodness, or the last layer's classifier and that of all layers.
    """

    methods: list[Literal["softmax", "goodness", "last-layer", "all-layers"]] = msgspec.field(default_factory=list)
    softmax_every: Annotated[int, Meta(ge=0)] = 1  # also for the layers' classifiers
    goodness_every: Annotated[int, Meta(ge=0)] = 0


class Train(Table, frozen=True):
    """How long and in what portions; the rate falls linearly to 0 after `constant` of the epochs."""

    epochs: Count = 100
    chapters: Annotated[int, Meta(ge=0)] = 0  # 0: as many as epochs
    batch: Count = 100
    shuffle: bool = True
    constant: Annotated[float, Meta(ge=0, le=1)] = 0.5


class Schedule(Table, frozen=True):
    """Who does what when; `depth` is the number of buffers at each end of a link."""

    name: Literal["sequential", "pipeline", "single-layer", "all-layers", "federated"] = "pipeline"
    exchange: Literal["activations", "weights"] = "activations"  # between the ranks of single-layer
    depth: Count = 3
    threads: Count = 1  # Numba threads of each rank
    timeout: Positive = 3600.0  # seconds without a message after which a waiting rank ends the job


#: What stands in data.path for the number of a shard.
SHARD = "{shard}"


class Shards(Table, frozen=True):
    """How schedule `federated` divides the training samples; chapter c learns from shard c modulo `count`.

    By a seeded shuffle or in the order of the classes; then `sizes` are the shards' shares, equal ones if empty. Or by
    file: data.path has {shard} for the shard's number, from 1, and `held_out` is the path of the samples to test with.
    """

    count: Count = 1
    by: Literal["shuffle", "class", "file"] = "shuffle"
    sizes: list[Positive] = msgspec.field(default_factory=list)
    held_out: str = ""


class Checkpoint(Table, frozen=True):
    """How often the state is saved, in chapters; it is always saved after the last one."""

    every: Count = 1


class Config(Table, frozen=True):
    """Everything a run's weights depend on, and how it is carried out."""

    preset: Literal["", "hinton", "paper"] = ""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    data: Data = Data()
    network: Network = Network()
    rule: Rule = Rule()
    negatives: Negatives = Negatives()
    optimizer: Optimizer = Optimizer()
    head: Head = Head()
    classify: Classify = Classify()
    train: Train = Train()
    schedule: Schedule = Schedule()
    shards: Shards = Shards()
    checkpoint: Checkpoint = Checkpoint()

    @property
    def chapters(self) -> int:
        """The number of chapters S; each is epochs / S epochs for every layer."""
        return self.train.chapters or self.train.epochs

    @property
    def local(self) -> bool:
        """Whether each layer learns by a classifier of its own."""
        return self.rule.name == "local-softmax"

    @property
    def methods(self) -> tuple[str, ...]:
        """How classes are read out."""
        return tuple(self.classify.methods) or RULE_METHODS[self.rule.name]

    @property
    def head_layers(self) -> tuple[int, ...]:
        """The layers the head reads, by index from 0: all but the first; none without a head."""
        count = len(self.network.layers)
        return tuple(range(min(1, count - 1), count)) if "softmax" in self.methods else ()


#: The ways to read out classes that each learning rule has.
RULE_METHODS = {"goodness": ("softmax", "goodness"), "local-softmax": ("last-layer", "all-layers")}

#: Section 4 of the design: Hinton's published code, and the paper with its first author's code.
PRESETS: dict[str, dict[str, Any]] = {
    "": {},
    "hinton": {},  # the defaults
    "paper": {
        "data": {"mean": 0.1307, "std": 0.3081},
        "network": {"layers": [2000, 2000, 2000, 2000], "normalise": "l2", "eps": 1e-4, "init": "uniform"},
        "rule": {"goodness": "mean", "threshold": 0.01},
        "optimizer": {"name": "adam", "rate": 0.01, "decay": 0.0},
        "head": {
            "init": "uniform",
            "bias": False,
            "normalise": False,
            "optimizer": {"name": "adam", "rate": 1e-4, "decay": 0.0},
        },
        "train": {"epochs": 100, "chapters": 100, "batch": 64, "shuffle": False},
    },
}


def read(path: str, settings: list[str] | None = None) -> Config:
    """Return the configuration in the TOML file `path`, changed by `settings` such as ``train.epochs=3``.

    Raises UserError for a file that cannot be read, an unknown key, a wrong type or an impossible value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a configuration ({error}); expected a TOML file") from None
    return parse(text, path, settings or [])


def parse(text: str, source: str, settings: list[str]) -> Config:
    """Return the configuration in `text`, which came from `source`; see `read`."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source}: not valid TOML: {error}") from None
    except RecursionError:
        raise UserError(f"{source}: not valid TOML: nested too deeply") from None
    _check_names(Config, given, source, "")
    for setting in settings:
        given = _merge(given, _parse_setting(setting))
    preset = given.get("preset", "")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise UserError(_describe(source, "preset", preset))
    # Merging into the complete defaults keeps what a nested table of the file leaves out.
    values = _merge(_merge(msgspec.to_builtins(Config()), PRESETS[preset]), given)
    try:
        config = msgspec.convert(values, Config)
    except msgspec.ValidationError as error:
        raise UserError(_describe_validation(source, settings, values, error)) from None
    _check_sense(config, source)
    return config


def change(config: Config, source: str, settings: list[str]) -> Config:
    """Return `config`, which came from `source`, with `settings` in it; see `read`."""
    return parse(dump(config), source, settings)


def dump(config: Config) -> str:
    """Return `config` as TOML text that `parse` reads back to an equal configuration."""
    return tomli_w.dumps(msgspec.to_builtins(config))


def _merge(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `other` in it, table by table; neither is changed."""
    merged = dict(base)
    for key, value in other.items():
        table = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if table else value
    return merged


def _parse_setting(setting: str) -> dict[str, Any]:
    """Return ``a.b=1`` as {"a": {"b": 1}}; a value that is not TOML is taken as a string."""
    key, equals, text = setting.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise UserError(f"--set {setting}: expected table.key=value, for example train.epochs=10")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        parsed = {}
    value = parsed["value"] if len(parsed) == 1 else text
    nested: dict[str, Any] = {parts[-1]: value}
    for part in reversed(parts[:-1]):
        nested = {part: nested}
    _check_names(Config, nested, f"--set {setting}", "")
    return nested


def _table_fields(table: type[Struct]) -> dict[str, Any]:
    return typing.get_type_hints(table, include_extras=True)


def _check_names(table: type[Struct], values: dict[str, Any], source: str, prefix: str) -> None:
    fields = _table_fields(table)
    for key, value in values.items():
        if key not in fields:
            where = f"table [{prefix[:-1]}]" if prefix else "the configuration"
            raise UserError(
                f"{source}: unknown key {prefix + key!r}{nearest(key, fields)}; {where} has {', '.join(fields)}"
            )
        kind = fields[key]
        if isinstance(kind, type) and issubclass(kind, Struct):
            if not isinstance(value, dict):
                raise UserError(f"{source}: {prefix}{key} = {value!r}: expected a table [{prefix}{key}]")
            _check_names(kind, value, source, f"{prefix}{key}.")


def _expected(kind: Any) -> str:
    """Say in words what a field's type allows."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        meta: Meta = arguments[1]
        signs = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))
        limits = [f"{words} {getattr(meta, name)}" for name, words in signs if getattr(meta, name) is not None]
        if meta.min_length is not None:
            return f"a list of at least {meta.min_length} entry, each {_expected(typing.get_args(arguments[0])[0])}"
        return " ".join([_expected(arguments[0]), " and ".join(limits)])
    if origin is list:
        return f"a list, each entry {_expected(arguments[0])}"
    if origin is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}.get(kind, str(kind))


def _describe(source: str, path: str, value: Any) -> str:
    kind: Any = Config
    for part in path.split("."):
        kind = _table_fields(kind)[part]
    inner = typing.get_args(kind)[0] if typing.get_origin(kind) in (Annotated,) else kind
    inner = typing.get_args(inner)[0] if typing.get_origin(inner) is list else inner
    allowed = typing.get_args(inner) if typing.get_origin(inner) is Literal else ()
    wrong = next((v for v in value if v not in allowed), value) if isinstance(value, list) else value
    hint = nearest(wrong, [name for name in allowed if name]) if isinstance(wrong, str) else ""
    return f"{source}: {path} = {value!r}: expected {_expected(kind)}{hint}"


def _describe_validation(
    source: str, settings: list[str], values: dict[str, Any], error: msgspec.ValidationError
) -> str:
    _, _, path = str(error).partition(" - at `$.")
    path = path.rstrip("`").partition("[")[0]
    value: Any = values
    for part in path.split("."):
        value = value[part]
    from_command_line = any(setting.partition("=")[0].strip() == path for setting in settings)
    return _describe("--set" if from_command_line else source, path, value)


def _check_sense(config: Config, source: str) -> None:
    """Refuse what no single field's type can: combinations, and TOML's inf and nan."""
    for path, value in _numbers(config, ""):
        if not math.isfinite(value):
            raise UserError(f"{source}: {path} = {value}: expected a finite number")
    if not config.data.path.isascii() and config.data.path.encode(errors="replace").decode() != config.data.path:
        raise UserError(f"{source}: data.path = {config.data.path!r}: expected a path in UTF-8")
    epochs, chapters = config.train.epochs, config.train.chapters
    if chapters and epochs % chapters:
        raise UserError(f"{source}: train.chapters = {chapters}: expected a divisor of train.epochs = {epochs}")
    methods, known = config.classify.methods, RULE_METHODS[config.rule.name]
    if len(set(methods)) < len(methods) or not set(methods) <= set(known):
        raise UserError(
            f"{source}: classify.methods = {methods}: expected each method once, for rule.name = {config.rule.name!r} "
            f"of {', '.join(known)}"
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
            "have to leave their rank; expected 'fixed' or 'random'"
        )


def _check_shards(config: Config, source: str) -> None:
    count, sizes = config.shards.count, config.shards.sizes
    if count > 1 and config.schedule.name != "federated":
        raise UserError(f"{source}: shards.count = {count}: expected schedule.name = 'federated'")
    if sizes and len(sizes) != count:
        raise UserError(f"{source}: shards.sizes = {sizes}: expected {count}, one for each of shards.count, or none")
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
