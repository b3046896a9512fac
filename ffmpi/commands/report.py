"""The command `report`: one page on runs, with all that they have left and what their networks say now."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..network.methods import METHODS
from ..plots import curves as curve_plots
from ..plots import features as feature_plots
from ..plots import timeline as timeline_plots
from ..plots.window import excerpt_of, window_of
from ..report import page, tables
from ..report.confusion import confusion_table
from ..run.differences import labels
from ..run.directory import RunDirectory, put
from ..run.history import History, histories
from ..run.parts import left_in
from ..run.results import Result, result_of
from ..run.trace import Trace
from ..runtime.by_layer import spectra
from ..runtime.joined import Alone
from .confusion import confusion_matrix
from .layers import layers_of, ways_of
from .plot import features_of
from .samples import Samples, ask

#: Columns that can still be read beside each other.
_MOST = 12
#: Width in inches of pictures on the whole page, and of those of one run of several.
_PAGE, _PART = 7.0, 4.6
#: Samples that are classified at most, by the stream of rows that this takes: with every class it takes a row for each.
_SAMPLES_OF = {"softmax": 20_000, "plain": 20_000, "goodness": 5000}
#: Warnings of a run that are told.
_WARNINGS = 20
#: Samples of which goodness is drawn, and units of which weights are.
_FEW, _UNITS = 2000, 32


def report(runs: list[str], out: str, settings: list[str], with_data: bool) -> None:
    """Write a page on `runs` to the file `out`; `settings` may say where data are, for all of them."""
    page.expect()
    if not out.lower().endswith((".html", ".htm")):
        raise UserError(f"{out}: expected a page's name that ends in .html")
    found = histories(runs)
    if len(found) > _MOST:
        raise UserError(f"{len(found)} runs: at most {_MOST} can be read side by side; 'ffmpi table' has room for more")
    text = page.html(page_of(found, settings, with_data))
    try:
        put(Path(out), text)
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror or error}); expected a file such as report.html"
        ) from None
    print(f"{out}: {len(text) / 1e6:.1f} MB")


def page_of(runs: Sequence[History], settings: list[str], with_data: bool = True) -> page.Page:
    """Return what is on the page of `runs`."""
    results = [result_of(run.path, unfinished=True) for run in runs]
    names = _names(runs)
    titles = [name if len(runs) == 1 else f"{number}: {name}" for number, name in enumerate(names, 1)]
    curves = curve_plots.curves_of(runs)
    shown = page.picture(
        partial(curve_plots.draw, curves=curves),
        f"Loss, goodness and accuracy over epochs of {', '.join(each.name for each in curves)}",
        _PAGE,
        narrow=True,
    )
    chosen, everything = tables.settings_tables(titles, [run.config for run in runs])
    seeds = tables.seeds_table(results)
    first = tables.results_table(titles, results, runs)
    return page.Page(
        title=f"ffmpi: {', '.join(dict.fromkeys(run.name for run in runs))}",
        written=time.strftime("%Y-%m-%d %H:%M"),
        results=[first, *([seeds] if seeds else [])],
        pictures=[shown],
        settings=chosen,
        everything=everything,
        sections=[
            _section(run, result, title, settings, with_data, _PAGE if len(runs) == 1 else _PART)
            for run, result, title in zip(runs, results, titles, strict=True)
        ],
    )


def _names(runs: Sequence[History]) -> list[str]:
    """Return what tells the runs apart: the settings that differ, the seed among them, or else their directories."""
    by_settings = labels([run.config for run in runs], ())
    if len(runs) > 1 and len(set(by_settings)) == len(runs) and max(map(len, by_settings)) <= 60 and all(by_settings):
        return by_settings
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def _section(
    run: History, result: Result, title: str, settings: list[str], with_data: bool, width: float
) -> page.Section:
    told = run.chapters[-1].warnings
    section = page.Section(title, str(run.path.resolve()), warnings=[tables.text_of(text) for text in told[:_WARNINGS]])
    if len(told) > _WARNINGS:
        section.warnings.append(f"And {len(told) - _WARNINGS} more.")
    if result.epochs < run.config.train.epochs:
        section.warnings.append(f"{result.epochs} of {run.config.train.epochs} epochs are done.")
    facts = RunDirectory(run.path).facts()
    trace = _trace(run, section)
    owns = facts.get("owns")
    owned = [tables.text_of(text) for text in owns] if isinstance(owns, list) and not facts.get("continued") else []
    section.tables.append(tables.ranks_table(run, owned, trace))
    if trace:
        section.tables.append(tables.kinds_table(trace))
        section.pictures.extend(_timelines(trace, width))
    if with_data:
        try:
            _ask(run, section, settings, width)
        except UserError as error:
            section.missing.append(f"No confusion matrix and no weights: {error}")
    section.tables.append(tables.environment_table(facts))
    return section


def _trace(run: History, section: page.Section) -> Trace | None:
    """Return the run's trace, if it has one that can be read."""
    if not os.path.exists(run.path / "trace.h5") and not left_in(run.path):
        return None
    try:
        return Trace.read(run.path)
    except UserError as error:
        section.missing.append(f"No timeline: {error}")
        return None


def _timelines(trace: Trace, width: float) -> list[page.Picture]:
    """Return what ranks did in all the time that the trace has, and from near to."""
    return [
        page.picture(
            partial(timeline_plots.draw, windows=[window]),
            f"What each rank did from {window.start:.3f} to {window.stop:.3f} seconds after the start",
            width,
        )
        for window in ([window_of(trace), excerpt_of(trace)] if trace.end > 0 else [])
    ]


def _ask(run: History, section: page.Section, settings: list[str], width: float) -> None:
    """Add what the network takes for what, and what it has learnt to see."""
    method = run.config.methods[0]
    samples = ask(str(run.path), "test", settings, _SAMPLES_OF[METHODS[method].stream])
    section.tables.append(_confusion(samples, method))
    count = len(samples.images)
    few = np.arange(min(_FEW, count)) * count // min(_FEW, count)
    seen = replace(samples, images=samples.images[few], classes=samples.classes[few])
    section.tables.append(_layers(seen))
    section.pictures.append(
        page.picture(
            partial(feature_plots.draw, features=features_of(seen, _UNITS)),
            "Weights of units of the first layer, and histograms of what each layer says of right and wrong classes",
            width,
        )
    )


def _layers(samples: Samples) -> page.Table:
    """Return what each layer says alone, and how many directions and units it uses."""
    network, config = samples.network, samples.network.config
    ways = ways_of(config)
    accuracies = {
        way: 100.0 * (network.layer_predictions(samples.images, method) == samples.classes[:, None]).mean(axis=0)
        for way, method in ways.items()
    }
    spans = spectra(Alone(), network, samples.images, samples.classes, len(samples.images))
    rows = [
        page.Row(
            f"layer {layer['layer']}",
            [
                page.Cell(str(layer["units"])),
                *(page.Cell(f"{layer['accuracy'][way]:.2f} %" if way in layer["accuracy"] else "") for way in ways),
                page.Cell(f"{layer['effective_rank']:.1f}"),
                page.Cell(f"{100 * layer['dead_units']:.1f} %"),
            ],
        )
        for layer in layers_of(config, accuracies, spans)
    ]
    columns = ["", "units", *(f"right by {way} alone" for way in ways), "effective rank", "dead units"]
    note = f"Of {len(samples.images)} test samples, as 'ffmpi evaluate --by-layer' says of all."
    return page.Table("Layers", columns, rows, note, numbers=True)


def _confusion(samples: Samples, method: str) -> page.Table:
    network, names = samples.network, samples.header.names
    predicted = network.scores(samples.images, method).argmax(axis=1)
    matrix = confusion_matrix(samples.classes, predicted, len(names))
    part = f"{len(samples.classes)} of " if len(samples.classes) < samples.of else ""
    return confusion_table(names, matrix, method, f"{part}{samples.of} test samples")
