"""The ways to classify: which stream of test rows each reads, and how often it is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One way to tell a sample's class.

    stream : of the test samples: neutral rows for the head (``softmax``), rows with every class (``goodness``), or
        images without labels (``plain``)
    every : the field of the table `classify` that says after how many chapters it is measured
    """

    name: str
    stream: str
    every: str = "softmax_every"


METHODS = {
    method.name: method
    for method in (
        Method("softmax", "softmax"),
        Method("goodness", "goodness", "goodness_every"),
        Method("last-layer", "plain"),
        Method("all-layers", "plain"),
    )
}

#: Their order where there is a number for each.
METHOD_NAMES = tuple(METHODS)
