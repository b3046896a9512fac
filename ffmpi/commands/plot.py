"""The commands `plot`: what runs have left, as pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from ..data.assumed import Given
from ..errors import UserError, note, ranges
from ..network.layout import LAYOUTS
from ..plots import curves as curve_plots
from ..plots import features as feature_plots
from ..plots import roofline as roofline_plots
from ..plots import scaling as scaling_plots
from ..plots import style
from ..plots import timeline as timeline_plots
from ..plots.features import Features
from ..plots.scaling import Speeds
from ..plots.window import window_of
from ..run import chrome
from ..run.history import histories
from ..run.trace import Trace
from ..schedule.steps import Split
from .plan import Request
from .samples import Samples, ask

#: Ranks up to which is planned, unless runs or somebody say how many.
_LARGEST = 64


def curves(runs: list[str], out: str, width: float) -> None:
    """Draw how `runs` have learnt."""
    style.expect(out)
    found = curve_plots.curves_of(histories(runs))
    style.save(partial(curve_plots.draw, curves=found), out, width)


def features(run: str, out: str, width: float, split: Split, most: int, units: int, settings: list[str]) -> None:
    """Draw what the network of `run` sees, and what its layers say of `most` samples."""
    style.expect(out)
    found = features_of(ask(run, split, settings, most), units)
    style.save(partial(feature_plots.draw, features=found), out, width)


def features_of(samples: Samples, units: int) -> Features:
    """Return the weights of `units` units of the first layer, evenly spread, and what layers say of the samples.

    Each sample is shown with its class and with a wrong one, each of which comes equally often.
    """
    network, header, config = samples.network, samples.header, samples.network.config
    weights = network.blocks["layers/0"].array("weights")
    chosen = np.linspace(0, weights.shape[1] - 1, min(units, weights.shape[1])).round().astype(int)
    classes = len(header.names)
    others = (samples.classes + 1 + np.arange(len(samples.classes)) % max(classes - 1, 1)) % classes
    overlaid = LAYOUTS[config.rule.layout].labelled and config.data.label == "overlay"
    what = {"train": "training samples"}.get(samples.split, f"{samples.split} samples")
    return Features(
        feature_plots.fields_of(weights[:, chosen], header.shape, classes if overlaid else 0),
        chosen,
        weights.shape[1],
        network.goodness(samples.images, samples.classes),
        network.goodness(samples.images, others),
        [config.rule.boundary(each) for each in config.network.layers],
        feature_plots.words_of(config, classes),
        f"{len(samples.classes)} {what}",
    )


def scaling(runs: list[str], out: str, width: float, plans: list[str], most: int | None, machine: str, per_host: int,
            settings: list[str]) -> None:  # fmt: skip
    """Draw how many times as fast `runs` were on several ranks, and those of the configurations `plans` would be.

    Plans are made for the numbers of ranks of the runs, and of doublings up to `most`.
    """
    style.expect(out)
    if not (runs or plans):
        raise UserError("plot scaling: nothing to draw; expected run directories, or --plan CONFIG")
    found = histories(runs) if runs else []
    measured = scaling_plots.speeds_of(found) if found else []
    counts = {ranks for each in measured for ranks in each.measured} | {1}
    largest = most or (max(counts) if measured else _LARGEST)
    counts |= {1 << power for power in range(largest.bit_length())} | {largest}
    counts = {count for count in counts if count <= largest}
    planned = [planned_speeds(path, settings, machine, per_host, sorted(counts)) for path in plans]
    together = scaling_plots.together(measured, planned)
    style.save(partial(scaling_plots.draw, speeds=together), out, width)


def planned_speeds(path: str, settings: list[str], machine: str, per_host: int, counts: list[int]) -> Speeds:
    """Return the speed-ups that are planned of a configuration on those of `counts` ranks that it can use."""
    request, seconds, why = Request(path, settings, max(counts), per_host, machine, Given(), False), {}, ""
    for count in counts:
        try:
            seconds[count] = request.plan([], count).seconds
        except UserError as error:
            why = why or str(error)
    if len(seconds) < 2:
        raise UserError(why or f"{path}: planned on one rank only; expected -n 2 or more")
    if why:
        note(f"{path}: planned on {ranges(seconds)} ranks only: {why}")
    named = request.machine.name + ("" if request.machine.here else ", not measured here")
    return scaling_plots.planned_speeds(Path(path).stem, request.config, seconds, named)


def roofline(results: str, out: str, width: float) -> None:
    """Draw what 'bench kernels' has measured, as it stands in the file `results`."""
    style.expect(out)
    measured = roofline_plots.read(results)
    style.save(partial(roofline_plots.draw, measured=measured), out, width)


def timeline(
    run: str, out: str, width: float, plan: str | None, start: float | None, stop: float | None, epochs: range | None,
    batches: range | None,
) -> None:  # fmt: skip
    """Draw a part of the trace of `run`, below that of `plan`, or write all of it for Perfetto."""
    if out.endswith(".json"):
        chrome.write(Trace.read(run), out)
        return
    style.expect(out)
    traces = [Trace.read(path) for path in (plan, run) if path is not None]
    windows = [window_of(trace, start, stop, epochs, batches) for trace in traces]
    style.save(partial(timeline_plots.draw, windows=windows), out, width)
