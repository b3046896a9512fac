"""How fast a core is at what steps are made of: products, optimisers, copies, and what any step takes.

The figures are a machine's: those of `CORE` are nominal, `ffmpi bench machine` measures a host's own (plan/machine.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import field, structs

from ..config.fields import Count, NotNegative, Positive, Share, Table

_FLOAT = 4  # bytes
PANEL = 16  # units


class Cost(NamedTuple):
    """What a step takes.

    Attributes
    ----------
    flop : of its products, as if no zero were skipped
    bytes : of what it reads and writes in memory
    seconds : on a core
    """

    flop: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0

    def plus(self, *others: Cost) -> Cost:
        """Return the sum with `others`."""
        return Cost(*map(sum, zip(self, *others, strict=True)))


def traffic(rows: float, inputs: float, units: float, arrays: float) -> float:
    """Return the bytes of the rows' inputs and outputs and of `arrays` reads or writes of a weight matrix."""
    return _FLOAT * (rows * (inputs + units) + arrays * inputs * units)


class Product(Table, frozen=True, kw_only=True):
    """How fast one of a layer's two products is, a forward's or a gradient's.

    Attributes
    ----------
    rate : FLOP/s of a dense product with `columns` units or more
    columns : units that one pass over the rows computes; fewer take as long
    zeros : share of nonzero inputs below which a wide layer's zeros are skipped, as the kernels choose
    most, few : a gradient's also below so many nonzero inputs of a unit, but not above the share `most`; where `few` is
        0, `most` is the same share in layers so narrow that listing is dear
    listed : panels that are computed while what is not zero is listed
    nonzero, looked : where zeros are skipped, seconds of a nonzero input of a row for each unit, and of any
    listing : and of an input of a row, to list what is not zero
    weight : seconds of a weight, however many rows there are
    output : seconds of a unit of a row, beside its product
    """

    rate: Positive
    columns: Count
    zeros: Share
    most: Share
    few: NotNegative = 0.0
    listed: NotNegative = 0.0
    nonzero: NotNegative
    looked: NotNegative = 0.0
    listing: NotNegative = 0.0
    weight: NotNegative = 0.0
    output: NotNegative = 0.0

    def towards(self, other: Product, share: float) -> Product:
        """See `Core.towards`; what the kernels choose is the same."""
        names = ("rate", "nonzero", "looked", "listing", "weight", "output")
        mixed = {name: _mixed(name, getattr(self, name), getattr(other, name), share) for name in names}
        return structs.replace(self, **mixed)

    def skips(self, rows: float, units: float, density: float) -> bool:
        """Whether the zeros of `rows` rows are skipped, of whose inputs a share `density` is not zero."""
        left = 1 - self.listed / -(-units // PANEL)
        if self.few:
            return density < max(self.zeros, min(self.most, self.few / rows)) * left
        return density < min(self.zeros, self.most * left)

    def seconds(self, rows: float, inputs: float, units: float, density: float) -> float:
        """Return those of a product of `rows` x `inputs` by `inputs` x `units`."""
        if not (rows and units):
            return 0.0
        width = max(-(-units // PANEL) * PANEL, self.columns)
        beside = width * (rows * self.output + inputs * self.weight)
        if not self.skips(rows, units, density):
            return 2.0 * rows * inputs * width / self.rate + beside
        return rows * inputs * (self.listing + width * (self.looked + density * self.nonzero)) + beside


#: Of these figures more are faster.
_RATES = ("rate", "copying", "new", "pixels")


def _mixed(name: str, own: float, other: float, share: float) -> float:
    """Return the figure `name` between two, so that times are."""
    if name in _RATES:
        return 1 / ((1 - share) / own + share / other)
    return (1 - share) * own + share * other


class Core(Table, frozen=True, kw_only=True):
    """How fast a core is.

    Attributes
    ----------
    forward, gradient : of a layer
    one_moment, two_moments : seconds of a parameter that an optimiser with so many moments steps
    copying : bytes/s of rows that are copied, read and written counted
    new : bytes/s that are copied into new memory, as snapshots are
    shared : seconds of a unit of a row that is made from its image's product
    pixels : pixels/s that are scaled into inputs
    step : seconds of a step beside its arithmetic; steps : the same by kind of step, where it is another
    """

    forward: Product = Product(rate=1.05e11, columns=48, zeros=0.2, most=0.35, listed=0.8, nonzero=6e-11)
    gradient: Product = Product(rate=1.05e11, columns=48, zeros=0.1, most=0.5, few=13.0, listed=3.0, nonzero=6e-11)
    one_moment: NotNegative = 5e-10
    two_moments: NotNegative = 7.5e-10
    copying: Positive = 3.2e10
    new: Positive = 1.4e9
    shared: NotNegative = 5e-10
    pixels: Positive = 4.5e8
    step: NotNegative = 1.2e-5
    steps: dict[str, NotNegative] = field(default_factory=dict)

    def with_threads(self, count: int) -> Core:
        """Return as many cores that share out the units of a layer, and do all else one after another."""
        if count == 1:
            return self
        forward, gradient = (
            structs.replace(
                one, rate=count * one.rate, nonzero=one.nonzero / count, looked=one.looked / count,
                weight=one.weight / count, output=one.output / count,
            )
            for one in (self.forward, self.gradient)
        )  # fmt: skip
        each = {name: getattr(self, name) / count for name in ("one_moment", "two_moments", "shared")}
        return structs.replace(self, forward=forward, gradient=gradient, **each)

    def towards(self, other: Core, share: float) -> Core:
        """Return a core that takes for everything `share` of what `other` takes, and the rest of what this one does."""
        made: dict[str, Any] = {}
        for name in self.__struct_fields__:
            own, its = getattr(self, name), getattr(other, name)
            if isinstance(own, Product):
                made[name] = own.towards(its, share)
            elif isinstance(own, dict):
                kinds = own.keys() | its.keys()
                made[name] = {
                    kind: _mixed("", own.get(kind, self.step), its.get(kind, other.step), share) for kind in kinds
                }
            else:
                made[name] = _mixed(name, own, its, share)
        return Core(**made)

    def begin(self, kind: str) -> Cost:
        """Return what a step takes beside its arithmetic."""
        return Cost(0.0, 0.0, self.steps.get(kind, self.step))

    def product(self, rows: float, inputs: float, units: float, density: float = 1.0) -> Cost:
        """Return the cost of `rows` rows of `inputs` inputs times weights for `units` units.

        A share `density` of the inputs is not zero; where that pays the others are skipped.
        """
        seconds = self.forward.seconds(rows, inputs, units, density)
        return Cost(2.0 * rows * inputs * units, traffic(rows, inputs, units, 1), seconds)

    def update(self, rows: float, inputs: float, units: float, moments: int, density: float = 1.0) -> Cost:
        """Return the cost of the gradient of `rows` rows and the optimiser's step."""
        seconds = self.gradient.seconds(rows, inputs, units, density)
        learnt = Cost(2.0 * rows * inputs * units, traffic(rows, inputs, units, 1), seconds)
        return learnt.plus(self.optimiser(inputs * units, moments))

    def optimiser(self, parameters: float, moments: int) -> Cost:
        """Return the cost of a step of `parameters` parameters with `moments` moments each, all read and written."""
        moved = _FLOAT * 2.0 * (1 + moments) * parameters
        each = self.two_moments if moments > 1 else self.one_moment
        return Cost(0.0, moved, parameters * each)

    def copied(self, floats: float) -> Cost:
        """Return the cost of reading and writing so many float32."""
        moved = 2.0 * _FLOAT * floats
        return Cost(0.0, moved, moved / self.copying)

    def from_products(self, rows: float, units: float) -> Cost:
        """Return the cost of making `rows` rows of their images' products, or of adding them up by their images."""
        return Cost(0.0, 4.0 * _FLOAT * rows * units, rows * units * self.shared)

    def scaled(self, pixels: float) -> Cost:
        """Return the cost of making inputs of so many pixels, a byte each."""
        return Cost(0.0, (1 + _FLOAT) * pixels, pixels / self.pixels)


#: Medians of one core of an AMD EPYC with AVX-512. Where nothing was measured ranks are given work by its ratios.
CORE = Core()
