"""The commands `plot`: what runs have left, as pictures."""

from __future__ import annotations

from functools import partial

from ..plots import curves as curve_plots
from ..plots import style
from ..run.history import histories


def curves(runs: list[str], out: str, width: float) -> None:
    """Draw how `runs` have learnt."""
    style.expect(out)
    found = curve_plots.curves_of(histories(runs))
    style.save(partial(curve_plots.draw, curves=found), out, width)
