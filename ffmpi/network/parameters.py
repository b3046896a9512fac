"""Parameters: named arrays that are learnt or saved together, as a layer, a rule or a classifier declares them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from .. import kernels

if TYPE_CHECKING:
    from .optimisers import Optimiser

_WHOLE = slice(None)


@dataclass(frozen=True)
class Array:
    """One array of a block: what a checkpoint, a message and a rank's memory know of it.

    Attributes
    ----------
    name, shape : in a checkpoint; float32, (rows, units) or (units,)
    learnt : the optimiser changes it, so that its state lies beside it
    inference : a forward needs it, so that it travels where weights do
    scope : of each unit, to be cut with the units; or of the layer, the same wherever a part of the layer is
    axis : the one along which the units are
    start : the value it begins with, unless its owner initialises it otherwise
    nonnegative : what a file may hold
    """

    name: str
    shape: tuple[int, ...]
    learnt: bool = True
    inference: bool = True
    scope: Literal["unit", "layer"] = "unit"
    start: float = 0.0
    nonnegative: bool = False
    axis: int = -1

    def span(self, part: range | None) -> tuple[slice, ...]:
        """Return where the numbers of the panels in `part` of a layer are in the whole, None standing for all."""
        spans = [slice(0, size) for size in self.shape]
        if part is not None and self.scope == "unit":
            units = (min(panel * kernels.LANES, self.shape[self.axis]) for panel in (part.start, part.stop))
            spans[self.axis] = slice(*units)
        return tuple(spans)

    def cut(self, part: range | None) -> tuple[int, ...]:
        """Return the shape of that part."""
        return tuple(one.stop - one.start for one in self.span(part))


@dataclass(frozen=True)
class Block:
    """Arrays with one optimiser, which counts its steps; without one nothing in them is learnt by steps."""

    arrays: tuple[Array, ...]
    optimizer: Optimiser | None = None

    @property
    def moments(self) -> str:
        """The names of the optimiser's moments, m for the first and v for the second, which is a mean of squares."""
        return "mv"[: self.optimizer.moments] if self.optimizer else ""

    def stored(self) -> Iterator[Array]:
        """Yield all that a checkpoint holds in their order in it, but for the number of steps."""
        yield from self.arrays
        for moment in self.moments:
            for array in self.arrays:
                if array.learnt:
                    name = f"{array.name}_{moment}"
                    yield Array(name, array.shape, False, False, array.scope, 0.0, moment == "v", array.axis)

    def held(self, learns: bool = True) -> list[Array]:
        """Return what there is in memory, in this order, of a block that `learns`, or else of one that is only used."""
        every = list(self.stored()) if learns else [array for array in self.arrays if array.inference]
        return sorted(every, key=lambda array: not array.inference)

    def floats(self, learns: bool = True) -> int:
        """Return how many float32 that takes; a message of weights carries those of a block that does not learn."""
        steps = kernels.LANES if learns else 0
        return sum(math.prod(_panel_shape(array.shape)) for array in self.held(learns)) + steps

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of what a checkpoint holds; all float32 but `steps`, int64."""
        steps: dict[str, tuple[int, ...]] = {} if self.optimizer is None else {"steps": ()}
        return steps | {array.name: array.shape for array in self.stored()}

    def axes(self) -> dict[str, int]:
        """Return the names of what a checkpoint holds that is cut with the units, and along which axis."""
        return {array.name: array.axis % len(array.shape) for array in self.stored() if array.scope == "unit"}


def dense(inputs: int, units: int, optimizer: Optimiser | None) -> Block:
    """Return the declaration of weights (inputs, units) and bias (units,)."""
    return Block((Array("weights", (inputs, units)), Array("bias", (units,))), optimizer)


def _panel_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    rows = tuple(kernels.panels_of(size) * kernels.LANES for size in shape[:-1])
    return (kernels.panels_of(shape[-1]), *rows, kernels.LANES)


#: Of so many steps what the kernels need is made at once.
_AT_ONCE = 32


@lru_cache(64)
def _constants(optimizer: Optimiser, part: int, rate: float) -> list[np.ndarray]:
    """Return what the kernels need in each step of a part of them all; of an optimiser whose steps are alike, in any.

    It is the same for all blocks that are in these steps.
    """
    first = part * _AT_ONCE + 1
    return list(np.atleast_2d(optimizer.constants(np.arange(first, first + _AT_ONCE), rate)))


class Parameters:
    """The arrays of a block in memory, or the part of them that a piece of a layer has: in panels of 16 columns.

    Everything lies in one float32 array, what a forward needs first, so that a single message carries all or only this.

    Attributes
    ----------
    part : the panels of the layer whose units are here; None: all
    flat : (size,) float32, the memory itself; plain : the part of it that a forward needs
    panels : by name, (unit panels, rows padded, 16) or (unit panels, 16) float32
    w, bias, moments : of a dense block, the latter those of w, then those of bias; an optimiser with one has it
        twice, and the second is neither touched nor saved
    """

    def __init__(self, block: Block, *, learns: bool = True, part: range | None = None) -> None:
        """Make the arrays with the values they begin with; without `learns` only those that a forward needs.

        block : of the whole layer, also where only a part is here
        """
        self.block, self.learns, self.part = block, learns, part
        every = block.held(learns)
        #: What it has, which is all that a checkpoint holds but for the steps, or what a forward needs.
        self.held = tuple(every)
        sizes = [math.prod(_panel_shape(array.cut(part))) for array in every]
        self.flat = kernels.zeros(sum(sizes) + kernels.LANES)
        self.plain = self.flat[: sum(size for size, array in zip(sizes, every, strict=True) if array.inference)]
        memory = np.split(self.flat, np.cumsum(sizes))
        self._arrays, self._shapes = {array.name: array for array in every}, {a.name: a.cut(part) for a in every}
        self.panels = {
            name: own.reshape(_panel_shape(shape))
            for (name, shape), own in zip(self._shapes.items(), memory[:-1], strict=True)
        }
        self._steps = memory[-1].view(np.int64)
        for array in every:
            if array.start:
                self.set_array(array.name, np.full(self._shapes[array.name], array.start, np.float32))
        if "weights" in self.panels:
            self.w, self.bias = self.panels["weights"], self.panels["bias"]
            self.inputs, self.units = self._shapes["weights"]
            moments = block.moments if learns else ""
            of_w, of_bias = ([self.panels[f"{name}_{moment}"] for moment in moments] for name in ("weights", "bias"))
            if moments:
                self.moments = (of_w[0], of_w[-1], of_bias[0], of_bias[-1])

    def copy(self) -> Parameters:
        """Return the same numbers in memory of their own."""
        made = Parameters(self.block, learns=self.learns, part=self.part)
        made.flat[:] = self.flat
        return made

    @property
    def steps(self) -> int:
        """The number of updates."""
        return int(self._steps[0])

    @steps.setter
    def steps(self, count: int) -> None:
        self._steps[0] = count

    def span(self, name: str) -> tuple[slice, ...]:
        """Return where what `array` returns is in the array of the whole layer."""
        return () if name == "steps" else self._arrays[name].span(self.part)

    def array(self, name: str, part: slice = _WHOLE) -> np.ndarray:
        """Return what is here of what a checkpoint has under `name`, row-major; of a matrix the rows in `part`."""
        if name == "steps":
            return np.array(self.steps, np.int64)
        panels, shape = self.panels[name], self._shapes[name]
        if len(shape) == 1:
            return panels.reshape(-1)[: shape[0]].copy()
        start, stop, _ = part.indices(shape[0])
        return kernels.from_panels(panels, stop - start, shape[1], start)

    def set_array(self, name: str, value: np.ndarray) -> None:
        """Take over what `array` returned, whole; padding stays zero."""
        if name == "steps":
            self.steps = int(value)
            return
        panels, shape = self.panels[name], self._shapes[name]
        assert value.shape == shape
        if len(shape) == 1:
            panels.reshape(-1)[: shape[0]] = value
        else:
            panels[:] = kernels.to_panels(value, pitch=panels.shape[1])

    def array_part(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return of an array that is cut with the units what `array` returns of units `start` to `stop` here.

        start : a multiple of 16
        """
        panels, shape, first = self.panels[name], self._shapes[name], start // kernels.LANES
        if len(shape) == 1:
            return panels.reshape(-1)[start:stop].copy()
        if self._arrays[name].axis == 0:
            return kernels.from_panels(panels, stop - start, shape[1], start)
        return kernels.from_panels(panels[first:], shape[0], stop - start)

    def set_array_part(self, name: str, start: int, value: np.ndarray) -> None:
        """Take over what `array_part` returned of the units from `start` on; padding stays zero."""
        panels, shape, first = self.panels[name], self._shapes[name], start // kernels.LANES
        if len(shape) == 1:
            panels.reshape(-1)[start : start + len(value)] = value
        elif self._arrays[name].axis == 0:
            made = kernels.to_panels(value)
            panels[:, start : start + len(value)] = made
        else:
            made = kernels.to_panels(value, pitch=panels.shape[1])
            panels[first : first + len(made)] = made

    def next_step(self, rate: float) -> tuple[int, np.ndarray]:
        """Count one more step, and return the optimiser's kind and the constants of this step."""
        optimizer = self.block.optimizer
        assert optimizer is not None
        part, place = divmod(int(self._steps[0]), _AT_ONCE) if optimizer.by_step else (0, 0)
        self._steps[0] += 1
        return optimizer.kind, _constants(optimizer, part, rate)[place]

    def step(
        self, rate: float, a: np.ndarray, scale: np.ndarray, c: np.ndarray, z: np.ndarray,
        label_arguments: kernels.LabelArguments | None = None, nonzeros: kernels.Memory | None = None, threads: int = 1,
    ) -> int:  # fmt: skip
        """Take one optimiser step along dW = (scale c a)^T z and return how many rows took part: `kernels.update`."""
        optimizer = self.block.optimizer
        assert optimizer is not None
        part, place = divmod(int(self._steps[0]), _AT_ONCE) if optimizer.by_step else (0, 0)  # as `next_step`
        self._steps[0] += 1
        arguments = (
            optimizer.kind, a, scale, c, z, self.w, self.bias, self.moments, _constants(optimizer, part, rate)[place],
            label_arguments or kernels.NO_LABELS, nonzeros or kernels.DENSE,
        )  # fmt: skip
        active: int = kernels.update(*arguments) if threads == 1 else kernels.update_parallel(threads, *arguments)
        return active

    def step_vectors(self, rate: float, gradients: dict[str, np.ndarray]) -> None:
        """Take one optimiser step with the vectors called so, which do not decay; their gradients are zero afterwards.

        gradients : by name, (panels, 16) float32
        """
        kind, constants = self.next_step(rate)
        for name, gradient in gradients.items():
            moments = [self.panels[f"{name}_{moment}"] for moment in self.block.moments]
            kernels.step_vector(kind, gradient, (self.panels[name], moments[0], moments[-1]), constants)

    def zero_gradient(self) -> tuple[np.ndarray, np.ndarray]:
        """Return room for gradients to be added up: of the weights and of the bias, shaped like them."""
        return kernels.zeros(*self.w.shape), kernels.zeros(*self.bias.shape)

    def add_gradient(
        self, gradient: tuple[np.ndarray, np.ndarray], a: np.ndarray, scale: np.ndarray, c: np.ndarray, z: np.ndarray
    ) -> None:
        """Add dW = (scale c a)^T z and db to `gradient`; weights, moments and steps stay as they are."""
        gw, gb = gradient
        kernels.update(
            kernels.SGD, a, scale, c, z, self.w, self.bias, (gw, gw, gb, gb), kernels.ACCUMULATE,
            kernels.NO_LABELS, kernels.DENSE,
        )  # fmt: skip

    def step_along(self, rate: float, gradient: tuple[np.ndarray, np.ndarray]) -> None:
        """Take one optimiser step along a gradient that was added up, which then is zero again."""
        kind, constants = self.next_step(rate)
        kernels.step_along(kind, gradient, (self.w, self.bias, *self.moments), constants)
