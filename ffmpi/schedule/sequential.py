"""Schedule `sequential`: the paper's chapter algorithm on one rank.

In each chapter every layer in turn trains its C epochs on what the layers before it, already trained, put out; then
the head does. The samples' order and negatives are drawn once a chapter.
"""

from __future__ import annotations

from .pipeline import sweep
from .placement import Placement
from .steps import Batch, Collect, Compose, Forward, Learn, Renew, Report, Save, Steps, Update, Work


def steps(work: Work, rank: int, first_chapter: int = 0) -> Steps:
    """Yield what the only rank does from `first_chapter` to the end."""
    placement = Placement(work)
    for chapter in range(first_chapter, work.chapters):
        epochs = range(chapter * work.epochs_per_chapter, (chapter + 1) * work.epochs_per_chapter)
        yield Renew(epochs[0])
        for layer in range(work.layers):
            for epoch in epochs:
                for index in range(work.batches):
                    batch = Batch("pairs", index)
                    yield Compose(batch)
                    for below in range(layer + 1):
                        yield Forward(below, batch)
                    yield Update(layer, batch, epoch)
        if work.head_layers:
            for epoch in epochs:
                for index in range(work.batches):
                    batch = Batch("neutral", index)
                    yield Compose(batch)
                    for layer in range(work.layers):
                        yield Forward(layer, batch)
                        if layer in work.head_layers:
                            yield Collect(layer, batch)
                    yield Learn(batch, epoch)
        yield from sweep(placement, rank, work.held_out(chapter), epochs[-1])
        yield Report(chapter)
        if work.due(work.save_every, chapter):
            yield Save(chapter)
