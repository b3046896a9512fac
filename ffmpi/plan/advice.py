"""What would make a run faster: other numbers of ranks and other settings, each planned like the run itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..config.registries import SCHEDULES
from ..config.schema import Config
from ..errors import UserError
from .simulation import Plan

#: Plans the run with these settings, on so many ranks.
Variant = Callable[[list[str], int], Plan]
#: What would save less of the time is not told.
_WORTH = 0.03
_MOST_TRIED = 16


@dataclass(frozen=True)
class Advice:
    """A change, what it is for, and how much of the time the run would take with it.

    Attributes
    ----------
    change : in words, or as settings
    seconds : of the run with it
    same_bits : whether the weights would be the same
    idle : the share of time that ranks would wait
    """

    change: str
    seconds: float
    same_bits: bool
    idle: float
    wider: bool = False


def advise(config: Config, plan: Plan, variant: Variant) -> list[Advice]:
    """Return what would help, the most helpful first; what changes the weights after what does not."""
    found = list(_ranks(plan, variant))
    for change, settings, same in _changes(config, plan):
        try:
            other = variant(settings, plan.ranks)
        except UserError:
            continue
        found.append(Advice(change, other.seconds, same, other.idle))
    worth = [one for one in found if one.seconds < (1 - _WORTH) * plan.seconds]
    return sorted(worth, key=lambda one: (not one.same_bits, one.seconds)) + list(_wider(config, plan, variant))


def _ranks(plan: Plan, variant: Variant) -> Iterator[Advice]:
    """Yield the best of the numbers of ranks up to those of the plan."""
    best: Plan | None = None
    for count in numbers_to_try(plan.ranks):
        try:
            other = variant([], count)
        except UserError:
            continue
        if best is None or other.seconds < best.seconds:
            best = other
    if best is not None and best.seconds < plan.seconds:
        yield Advice(f"-n {best.ranks}", best.seconds, True, best.idle)


def numbers_to_try(ranks: int) -> list[int]:
    """Return numbers of ranks below `ranks` of which one may be better."""
    if ranks <= _MOST_TRIED:
        return list(range(1, ranks))
    powers = [1 << k for k in range(ranks.bit_length()) if 1 << k < ranks]
    return sorted({*powers, *(ranks * k // 8 for k in range(4, 8)), *range(ranks - 3, ranks)})


def _changes(config: Config, plan: Plan) -> Iterator[tuple[str, list[str], bool]]:
    """Yield other settings, and whether they leave the weights as they are."""
    own = type(config.schedule)
    exchanges = {"activations": "weights", "weights": "activations"}
    if "exchange" in own.__struct_fields__:
        other = exchanges[config.schedule.exchange]
        yield f"schedule.exchange = '{other}'", [f"schedule.exchange={other}"], True
    for name, kind in SCHEDULES.members().items():
        if kind.algorithm == own.algorithm and kind is not own and plan.ranks > 1:
            yield f"schedule.name = '{name}'", [f"schedule.name={name}"], True
    if config.schedule.by_batch and config.schedule.depth < _DEEPER:
        yield f"schedule.depth = {_DEEPER}", [f"schedule.depth={_DEEPER}"], True
    if config.chapters > _SELDOM * config.checkpoint.every:
        every = _SELDOM * config.checkpoint.every
        yield f"checkpoint.every = {every}", [f"checkpoint.every={every}"], True
    for key in ("softmax_every", "goodness_every"):
        if getattr(config.classify, key):
            yield f"classify.{key} = 0, scored at the end only", [f"classify.{key}=0"], True
    for size in (2 * config.train.batch_size, config.train.batch_size // 2):
        if size:
            yield f"train.batch_size = {size}", [f"train.batch_size={size}"], False


_DEEPER, _SELDOM = 6, 10


def _wider(config: Config, plan: Plan, variant: Variant) -> Iterator[Advice]:
    """Yield a network of twice the units, where more ranks would then have enough to do."""
    if plan.ranks == 1 or plan.idle < _WORTH:
        return
    layers = [2 * units for units in config.network.layers]
    try:
        other = variant([f"network.layers={layers}"], plan.ranks)
    except UserError:
        return
    if other.idle < plan.idle - _WORTH:
        yield Advice(f"network.layers = {layers}", other.seconds, False, other.idle, wider=True)
